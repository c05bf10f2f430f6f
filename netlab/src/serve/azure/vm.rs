//! Virtual machines.

use base64ct::{Base64, Encoding as _};
use serde_json::{Map, Value, json};

use super::admission::{check_network, check_system, invalid, list_of};
use super::call::Call;
use super::catalog::{self, Size, of_kind, page, region};
use super::fault::Refusal;
use super::groups::{check_tags, look};
use super::interfaces::make_inline;
use super::machines::Machine;
use super::members;
use super::network::{self, must_stay, not_found};
use super::operation::{Outcome, Task, begun};
use super::request::Answer;
use super::state::{Resource, State, location};
use super::{clock, disks, guards};

pub(super) const MACHINE: &str = "Microsoft.Compute/virtualMachines";

/// The version since which a machine can have its interface made with it, and take things along.
const INLINE_SINCE: &str = "2021-03-01";

/// The ID of the machine that a path names.
pub(super) fn id(call: &Call<'_>) -> String {
    network::id(call, MACHINE)
}

pub(super) fn missing(id: &str) -> Refusal {
    not_found(id, MACHINE)
}

pub(super) fn put(call: &Call<'_>) -> Result<Answer, Refusal> {
    let body = call.body(&members::MACHINE)?;
    check_tags(&body)?;
    region(call, body["location"].as_str().unwrap_or_default())?;
    if call.version() < INLINE_SINCE {
        for name in ["deleteOption", "networkInterfaceConfigurations", "userData"] {
            if String::from_utf8_lossy(&call.request.body).contains(&format!("\"{name}\"")) {
                let message = format!(
                    "The request content was invalid and could not be deserialized: 'Could not find member '{name}' on object of type 'VirtualMachine'.'."
                );
                return Err(Refusal::new(400, "InvalidRequestContent", message));
            }
        }
    }
    let id = id(call);
    let state = call.state();
    if let Some(existing) = state.resource(&id) {
        if call.is_only_new() {
            let message = format!(
                "The resource '{}' exists, which the condition '*' of If-None-Match excludes.",
                existing.name
            );
            return Err(Refusal::new(412, "PreconditionFailed", message));
        }
        must_stay(Some(existing), &body)?;
        let existing = existing.clone();
        return change(call, state, existing, &body);
    }
    create(call, state, &id, &body)
}

fn create(
    call: &Call<'_>,
    mut state: std::sync::MutexGuard<'_, State>,
    id: &str,
    body: &Value,
) -> Result<Answer, Refusal> {
    let lag = call.shared.settings.list_lag;
    let at = location(body["location"].as_str().unwrap_or_default());
    let given = &body["properties"];
    let size = given["hardwareProfile"]["vmSize"].as_str().unwrap_or_default();
    let size = catalog::find(size).ok_or_else(|| {
        let message = format!("The value {size} provided for the VM size is not valid. The valid sizes in the current region are: Standard_B1s,Standard_B2s and others.");
        invalid("vmSize", message)
    })?;
    let image = catalog::admit_image(&state, id, body, size)?;
    check_system(&given["osProfile"])?;
    check_network(call, &state, id, given, &at)?;
    catalog::admit_machine(&state, size, &at)?;
    let mut resource = Resource::new(MACHINE, id.to_owned(), body, lag);
    let interfaces = interfaces(&mut state, &resource, given, lag);
    let disk = disks::make(&mut state, &resource, given, lag);
    resource.properties = properties(&mut state, given, &image, &interfaces, &disk);
    resource.beside.insert("etag".to_owned(), "\"1\"".into());
    let machine = machine(&state, &resource, size, image, &interfaces);
    state.insert(resource);
    let machines = call.shared.machines.clone();
    let work = move || machines.boot(&machine).map(|address| address.to_string().into());
    let (key, first) = (
        id.to_lowercase(),
        interfaces[0]["id"].as_str().unwrap_or_default().to_owned(),
    );
    let end = move |state: &mut State, address: Value| {
        let public = state.resource(&first).and_then(|interface| {
            let parts = &interface.properties["ipConfigurations"];
            parts[0]["properties"]["publicIPAddress"]["id"]
                .as_str()
                .map(str::to_owned)
        });
        if let Some(public) = public.and_then(|id| state.resource_mut(&id)) {
            public.properties["ipAddress"] = address;
        }
        ready(state, &key)
    };
    let operation = state.begin(call, Task::new(&id.to_lowercase(), work, end));
    let json = state.resource(id).map(|machine| machine.json(&Value::Null));
    drop(state);
    Ok(begun(call, &operation, 201, json))
}

/// Lets a machine be ready, and gives its JSON.
fn ready(state: &mut State, key: &str) -> Result<Outcome, Refusal> {
    let machine = state.resource_mut(key).ok_or_else(|| missing(key))?;
    machine.state = "Succeeded";
    Ok(Outcome::body(machine.json(&Value::Null)))
}

/// A `PUT` of what is there: tags change, and little else can.
fn change(
    call: &Call<'_>,
    mut state: std::sync::MutexGuard<'_, State>,
    existing: Resource,
    body: &Value,
) -> Result<Answer, Refusal> {
    if existing.state == "Deleting" {
        let message = "The request failed due to conflict with a concurrent request. To resolve it, please refer to https://aka.ms/activitylog to get more details on the conflicting requests.";
        return Err(Refusal::new(409, "Conflict", message));
    }
    for path in [
        "/properties/osProfile/customData",
        "/properties/osProfile/adminUsername",
        "/properties/osProfile/computerName",
        "/properties/storageProfile/imageReference",
    ] {
        let given = body.pointer(path);
        if given.is_some() && given != existing.wanted.pointer(path) {
            let target = path.trim_start_matches("/properties/").replace('/', ".");
            let message = format!("Changing property '{target}' is not allowed.");
            return Err(Refusal::new(409, "PropertyChangeNotAllowed", message).target(&target));
        }
    }
    let key = existing.key();
    if let Some(machine) = state.resource_mut(&key) {
        machine.tags = body["tags"].is_object().then(|| body["tags"].clone());
    }
    // The same again while it is made is answered by what is under way.
    let operation = match existing.operation {
        Some(operation) => operation,
        None => touch(call, &mut state, &key),
    };
    let json = state.resource(&key).map(|machine| machine.json(&Value::Null));
    drop(state);
    Ok(begun(call, &operation, 200, json))
}

/// Begins an operation that changes a machine's record only.
fn touch(call: &Call<'_>, state: &mut State, key: &str) -> String {
    if let Some(machine) = state.resource_mut(key) {
        machine.state = "Updating";
    }
    let at = key.to_owned();
    state.begin(
        call,
        Task::new(key, || Ok(Value::Null), move |state, _| ready(state, &at)),
    )
}

/// The machine's interfaces: what its body names, and what it describes and is made here.
fn interfaces(state: &mut State, machine: &Resource, given: &Value, lag: u32) -> Vec<Value> {
    let profile = &given["networkProfile"];
    let mut interfaces = Vec::new();
    for interface in list_of(&profile["networkInterfaces"]) {
        let option = interface["properties"]["deleteOption"].as_str().unwrap_or("Detach");
        interfaces.push(json!({ "id": interface["id"], "properties": { "primary": true, "deleteOption": option } }));
    }
    for interface in list_of(&profile["networkInterfaceConfigurations"]) {
        let id = make_inline(state, machine, &interface, lag);
        let option = interface["properties"]["deleteOption"].as_str().unwrap_or("Detach");
        interfaces.push(json!({ "id": id, "properties": { "primary": true, "deleteOption": option } }));
    }
    for interface in &interfaces {
        if let Some(interface) = interface["id"].as_str().and_then(|id| state.resource_mut(id)) {
            interface.properties["virtualMachine"] = json!({ "id": machine.id });
        }
    }
    interfaces
}

/// The properties that the service shows of a body: with what became of it, without what is secret.
fn properties(state: &mut State, given: &Value, image: &str, interfaces: &[Value], disk: &Resource) -> Value {
    let mut properties = given.as_object().cloned().unwrap_or_else(Map::new);
    properties.remove("userData");
    let mut system = given["osProfile"].clone();
    if let Some(system) = system.as_object_mut() {
        system.remove("customData");
        system.remove("adminPassword");
        system.insert("secrets".to_owned(), json!([]));
        system.insert("allowExtensionOperations".to_owned(), true.into());
        system.insert("requireGuestProvisionSignal".to_owned(), true.into());
    }
    let mut reference = given["storageProfile"]["imageReference"].clone();
    reference["exactVersion"] = image.rsplit(':').next().into();
    let drive = &given["storageProfile"]["osDisk"];
    let storage = json!({ "imageReference": reference, "dataDisks": [], "osDisk": {
        "osType": "Linux", "name": disk.name, "createOption": "FromImage", "caching": "ReadWrite",
        "deleteOption": drive["deleteOption"].as_str().unwrap_or("Detach"), "diskSizeGB": disk.properties["diskSizeGB"],
        "managedDisk": { "id": disk.id, "storageAccountType": disk.beside.get("sku").map(|sku| sku["name"].clone()) } } });
    properties.insert("osProfile".to_owned(), system);
    properties.insert("storageProfile".to_owned(), storage);
    properties.insert("networkProfile".to_owned(), json!({ "networkInterfaces": interfaces }));
    properties.insert("vmId".to_owned(), state.uuid().into());
    properties.insert("timeCreated".to_owned(), clock::rfc3339(clock::now(state.skew)).into());
    properties.into()
}

/// What the machines behind the service are told.
fn machine(state: &State, resource: &Resource, size: &Size, image: String, interfaces: &[Value]) -> Machine {
    let given = &resource.wanted["properties"];
    let system = &given["osProfile"];
    let decoded = |value: &Value| value.as_str().and_then(|text| Base64::decode_vec(text).ok());
    let interface = interfaces[0]["id"].as_str().unwrap_or_default();
    let found = state.resource(interface);
    let guard = found.and_then(|interface| {
        let own = interface.properties["networkSecurityGroup"]["id"].as_str();
        let subnet = interface.properties["ipConfigurations"][0]["properties"]["subnet"]["id"].as_str();
        let of_subnet = || state.resource(subnet?)?.properties["networkSecurityGroup"]["id"].as_str();
        state.resource(own.or_else(of_subnet)?)
    });
    let keys = list_of(&system["linuxConfiguration"]["ssh"]["publicKeys"]);
    Machine {
        id: resource.id.clone(),
        name: resource.name.clone(),
        location: resource.location.clone().unwrap_or_default(),
        size: size.name.to_owned(),
        image,
        custom_data: decoded(&system["customData"]),
        user_data: decoded(&given["userData"]),
        admin: system["adminUsername"].as_str().unwrap_or_default().to_owned(),
        ssh_keys: keys
            .iter()
            .filter_map(|key| key["keyData"].as_str().map(str::to_owned))
            .collect(),
        interface: interface.to_owned(),
        open: guard.map(guards::open).unwrap_or_default(),
    }
}

pub(super) fn view(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = id(call);
    let state = call.state();
    let machine = state.resource(&id).ok_or_else(|| missing(&id))?;
    Ok(Answer::json(200, instance(&state, machine)))
}

/// What a machine is at present, as its agent says.
fn instance(state: &State, machine: &Resource) -> Value {
    let time = clock::rfc3339(clock::now(state.skew));
    let word = machine.state.to_lowercase();
    let mut statuses = vec![json!({ "code": format!("ProvisioningState/{word}"), "level": "Info",
        "displayStatus": format!("Provisioning {word}"), "time": time })];
    let is_up = machine.state != "Creating" && machine.power == "running";
    if machine.state != "Creating" {
        statuses.push(json!({ "code": format!("PowerState/{}", machine.power), "level": "Info", "displayStatus": format!("VM {}", machine.power) }));
    }
    let agent = if is_up {
        ("ProvisioningState/succeeded", "Ready", "Guest Agent is running")
    } else {
        (
            "ProvisioningState/Unavailable",
            "Not Ready",
            "VM status blob is found but not yet populated.",
        )
    };
    json!({
        "computerName": machine.properties["osProfile"]["computerName"], "osName": "flatcar", "hyperVGeneration": "V2",
        "vmAgent": { "vmAgentVersion": if is_up { "2.9.1.1" } else { "Unknown" },
            "statuses": [{ "code": agent.0, "level": "Info", "displayStatus": agent.1, "message": agent.2, "time": time }] },
        "disks": [{ "name": machine.properties["storageProfile"]["osDisk"]["name"],
            "statuses": [{ "code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded", "time": time }] }],
        "statuses": statuses,
    })
}

pub(super) fn show(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = id(call);
    let mut state = call.state();
    look(&mut state, &id);
    let machine = state.resource(&id).ok_or_else(|| missing(&id))?;
    let expand = call.request.parameter("$expand").to_lowercase();
    let more = match &*expand {
        "instanceview" => json!({ "instanceView": instance(&state, machine) }),
        "userdata" => json!({ "userData": machine.wanted["properties"]["userData"] }),
        "" => Value::Null,
        other => {
            return Err(invalid(
                "expand",
                format!("The value {other} of parameter $expand is not allowed."),
            ));
        }
    };
    Ok(Answer::json(200, machine.json(&more)))
}

/// A list, of a group or of the subscription. That of the subscription writes groups in capitals.
pub(super) fn list(call: &Call<'_>) -> Answer {
    let (is_of_group, found) = of_kind(call, MACHINE);
    let state = call.state();
    let shown = found.iter().map(|machine| {
        let status = call.request.parameter("statusOnly") == "true";
        let more = if status {
            json!({ "instanceView": instance(&state, machine) })
        } else {
            Value::Null
        };
        let mut json = machine.json(&more);
        if !is_of_group {
            let mut parts: Vec<_> = machine.id.split('/').map(str::to_owned).collect();
            parts[4] = parts[4].to_uppercase();
            json["id"] = parts.join("/").into();
        }
        json
    });
    let shown = shown.collect();
    drop(state);
    page(call, shown)
}

pub(super) fn patch(call: &Call<'_>) -> Result<Answer, Refusal> {
    let body = call.body(&members::MACHINE_UPDATE)?;
    check_tags(&body)?;
    let id = id(call);
    let mut state = call.state();
    let machine = state.resource_mut(&id).ok_or_else(|| missing(&id))?;
    if body["tags"].is_object() {
        machine.tags = Some(body["tags"].clone());
    }
    let operation = machine.operation.clone();
    let operation = operation.unwrap_or_else(|| touch(call, &mut state, &id.to_lowercase()));
    let json = state.resource(&id).map(|machine| machine.json(&Value::Null));
    drop(state);
    Ok(begun(call, &operation, 200, json))
}

pub(super) fn delete(call: &Call<'_>) -> Answer {
    let (id, lag) = (id(call), call.shared.settings.list_lag);
    let key = id.to_lowercase();
    let mut state = call.state();
    let Some(machine) = state.resource(&id) else {
        return Answer::new(204);
    };
    if let Some(operation) = machine.operation.clone().filter(|_| machine.state == "Deleting") {
        drop(state);
        return begun(call, &operation, 202, None);
    }
    state.preempt(&key);
    if let Some(machine) = state.resource_mut(&key) {
        machine.state = "Deleting";
    }
    let machines = call.shared.machines.clone();
    let (gone, at) = (id, key.clone());
    let work = move || {
        machines.removed(&gone);
        Ok(Value::Null)
    };
    let end = move |state: &mut State, _| {
        cascade(state, &at, lag);
        state.remove(&at, lag);
        Ok(Outcome::empty(204))
    };
    let operation = state.begin(call, Task::new(&key, work, end));
    drop(state);
    begun(call, &operation, 202, None)
}

/// Removes what goes with a machine, and lets go of what does not.
fn cascade(state: &mut State, key: &str, lag: u32) {
    let Some(machine) = state.resource(key).cloned() else {
        return;
    };
    let goes = |value: &Value| {
        value["deleteOption"]
            .as_str()
            .is_some_and(|option| option.eq_ignore_ascii_case("Delete"))
    };
    for interface in list_of(&machine.properties["networkProfile"]["networkInterfaces"]) {
        let id = interface["id"].as_str().unwrap_or_default().to_lowercase();
        if !goes(&interface["properties"]) {
            if let Some(interface) = state
                .resource_mut(&id)
                .and_then(|interface| interface.properties.as_object_mut())
            {
                interface.remove("virtualMachine");
            }
            continue;
        }
        let parts = state
            .resource(&id)
            .map(|interface| list_of(&interface.properties["ipConfigurations"]));
        state.remove(&id, lag);
        for part in parts.unwrap_or_default() {
            let address = &part["properties"]["publicIPAddress"];
            if let Some(id) = address["id"].as_str().filter(|_| goes(&address["properties"])) {
                state.remove(&id.to_lowercase(), lag);
            }
        }
    }
    let drive = &machine.properties["storageProfile"]["osDisk"];
    let id = drive["managedDisk"]["id"].as_str().unwrap_or_default().to_lowercase();
    if goes(drive) {
        state.remove(&id, lag);
    } else {
        disks::detach(state, &id);
    }
}

/// The ID of the machine that something is part of.
pub(super) fn id_of(part: &str) -> String {
    part.split('/').take(9).collect::<Vec<_>>().join("/")
}
