//! Container groups.

use serde_json::{Value, json};

use super::call::Call;
use super::catalog::{admit_group, page, region, visible};
use super::fault::Refusal;
use super::groups::{check_tags, id as group_id, look};
use super::machines::{Container, ContainerGroup, Life, Variable};
use super::members;
use super::network::{id as resource_id, must_stay, not_found};
use super::operation::{Outcome, Task, begun};
use super::request::Answer;
use super::state::{Resource, State};
use super::{Shared, clock};

const GROUP: &str = "Microsoft.ContainerInstance/containerGroups";

/// Ports that the service keeps for itself.
const RESERVED: [(u64, u64); 9] = [
    (22, 22),
    (1025, 1027),
    (3389, 3399),
    (9999, 9999),
    (19000, 19000),
    (19080, 19080),
    (19100, 19390),
    (20000, 30000),
    (49152, 65534),
];

fn id(call: &Call<'_>) -> String {
    resource_id(call, GROUP)
}

fn missing(id: &str) -> Refusal {
    not_found(id, GROUP)
}

fn list_of(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn refuse(code: &str, message: String) -> Result<(), Refusal> {
    Err(Refusal::new(400, code, message))
}

/// Refuses a body that no group can be made of. The codes that are not in public reports are guesses.
fn check(name: &str, given: &Value) -> Result<(), Refusal> {
    let is_name = |name: &str| {
        let is_fit = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        (1..=63).contains(&name.len()) && name.chars().all(is_fit) && !name.starts_with('-') && !name.ends_with('-')
    };
    if !is_name(name) {
        return refuse(
            "InvalidContainerGroupName",
            format!("The container group name '{name}' is invalid."),
        );
    }
    let containers = list_of(&given["containers"]);
    if containers.is_empty() {
        return refuse(
            "MissingContainers",
            format!("The 'containers' of container group '{name}' cannot be empty."),
        );
    }
    let mut opened = Vec::new();
    for container in &containers {
        let called = container["name"].as_str().unwrap_or_default();
        let properties = &container["properties"];
        if !is_name(called) {
            return refuse(
                "InvalidContainerName",
                format!("The container name '{called}' in container group '{name}' is invalid."),
            );
        }
        let requests = &properties["resources"]["requests"];
        let (cpu, memory) = (
            requests["cpu"].as_f64().unwrap_or(0.0),
            requests["memoryInGB"].as_f64().unwrap_or(0.0),
        );
        let is_tenths = |number: f64| ((number * 10.0).round() - number * 10.0).abs() < 1e-6;
        if !(cpu > 0.0 && cpu <= 4.0 && memory >= 0.1 && memory <= 16.0 && is_tenths(memory)) {
            return refuse(
                "InvalidResourceRequests",
                format!(
                    "The resource requests of container '{called}' in container group '{name}' are invalid: '{cpu}' CPU, '{memory}' GB."
                ),
            );
        }
        for variable in list_of(&properties["environmentVariables"]) {
            if variable["value"].is_string() == variable["secureValue"].is_string() {
                return refuse(
                    "InvalidEnvironmentVariable",
                    format!(
                        "The environment variable {} must have a value or a secure value.",
                        variable["name"]
                    ),
                );
            }
        }
        if given["sku"] != "Confidential" && !properties["securityContext"].is_null() {
            return refuse(
                "SecurityContextNotSupported",
                format!("The security context of container '{called}' needs the Confidential sku."),
            );
        }
        opened.extend(list_of(&properties["ports"]));
    }
    check_ports(name, given, &opened)
}

/// The protocol of a port, which is TCP unless it is said.
fn protocol(port: &Value) -> String {
    port["protocol"].as_str().unwrap_or("TCP").to_uppercase()
}

fn check_ports(name: &str, given: &Value, opened: &[Value]) -> Result<(), Refusal> {
    let address = &given["ipAddress"];
    let ports = list_of(&address["ports"]);
    if address.is_object() && ports.is_empty() {
        return refuse(
            "MissingIpAddressPorts",
            format!("The ports in the 'ipAddress' of container group '{name}' cannot be empty."),
        );
    }
    if ports.len() > 5 {
        return refuse(
            "TooManyPorts",
            format!("The container group '{name}' has more than 5 ports."),
        );
    }
    for port in ports.iter().chain(opened) {
        let number = port["port"].as_u64().unwrap_or(0);
        if RESERVED.iter().any(|(from, to)| (*from..=*to).contains(&number)) || !(1..=65535).contains(&number) {
            return refuse(
                "InvalidPort",
                format!("The port '{number}' in container group '{name}' is reserved or invalid."),
            );
        }
    }
    for port in &ports {
        let is_opened = opened
            .iter()
            .any(|known| known["port"] == port["port"] && protocol(known) == protocol(port));
        if !is_opened {
            return refuse(
                "PortNotExposed",
                format!(
                    "The port {} of the 'ipAddress' of container group '{name}' is opened by none of its containers.",
                    port["port"]
                ),
            );
        }
    }
    Ok(())
}

pub(super) fn put(call: &Call<'_>) -> Result<Answer, Refusal> {
    let body = call.body(&members::CONTAINER_GROUP)?;
    let at = body["location"].as_str().unwrap_or_default();
    region(call, at)?;
    check_tags(&body)?;
    let id = id(call);
    let name = id.rsplit('/').next().unwrap_or_default().to_owned();
    let given = &body["properties"];
    check(&name, given)?;
    let lag = call.shared.settings.list_lag;
    let mut state = call.state();
    let existing = state.resource(&id).cloned();
    must_stay(existing.as_ref(), &body)?;
    if let Some(existing) = &existing {
        if existing.operation.is_some() {
            return Err(transitioning(&name));
        }
        check_change(existing, &body)?;
        if existing.wanted == body {
            let json = existing.json(&Value::Null);
            return Ok(Answer::json(200, json));
        }
    } else {
        admit_group(&state, &body, at)?;
    }
    let is_new = existing.is_none();
    let mut resource = Resource::new(GROUP, id.clone(), &body, if is_new { lag } else { 0 });
    resource.state = "Pending";
    resource.properties = shown(given);
    resource.beside.remove("sku");
    let group = group(&resource);
    let key = resource.key();
    let only_tags = existing.is_some_and(|existing| existing.wanted["properties"] == body["properties"]);
    let kept = state.resource(&id).map(|old| old.properties["ipAddress"].clone());
    if let Some(kept) = kept.filter(|_| only_tags) {
        resource.properties["ipAddress"] = kept;
    }
    state.insert(resource);
    let operation = begin(call, &mut state, &key, group, only_tags);
    let json = state.resource(&id).map(|group| group.json(&Value::Null));
    drop(state);
    Ok(begun(call, &operation, if is_new { 201 } else { 200 }, json))
}

/// Begins to start a group's containers, if they do not run as they are.
fn begin(call: &Call<'_>, state: &mut State, key: &str, group: ContainerGroup, runs: bool) -> String {
    let is_action = call.request.method == "POST";
    let machines = call.shared.machines.clone();
    let work = move || {
        if runs {
            return Ok(Value::Null);
        }
        machines.start(&group).map(|address| address.to_string().into())
    };
    let at = key.to_owned();
    let end = move |state: &mut State, address: Value| {
        let group = state.resource_mut(&at).ok_or_else(|| missing(&at))?;
        group.state = "Succeeded";
        group.power = "running";
        if group.properties["ipAddress"].is_object() && address.is_string() {
            group.properties["ipAddress"]["ip"] = address;
        }
        Ok(if is_action {
            Outcome::empty(204)
        } else {
            Outcome::body(group.json(&Value::Null))
        })
    };
    state.begin(call, Task::new(key, work, end))
}

fn transitioning(name: &str) -> Refusal {
    let message = format!("The container group '{name}' is still transitioning, please retry later.");
    Refusal::new(409, "ContainerGroupTransitioning", message)
}

/// Refuses a change that takes a deletion first.
fn check_change(existing: &Resource, body: &Value) -> Result<(), Refusal> {
    let fixed = |body: &Value| {
        let given = &body["properties"];
        let requests = list_of(&given["containers"]);
        let requests: Vec<_> = requests
            .iter()
            .map(|container| container["properties"]["resources"].clone())
            .collect();
        (given["osType"].clone(), given["restartPolicy"].clone(), requests)
    };
    if fixed(&existing.wanted) == fixed(body) {
        return Ok(());
    }
    let message = format!(
        "The updates on container group '{}' are invalid. If you are going to update the os type, restart policy, network profile, CPU, memory or GPU resources for a container group, you must delete it first and then create a new one.",
        existing.name
    );
    Err(Refusal::new(400, "InvalidContainerGroupUpdate", message))
}

/// The properties that the service shows of a body: no secret among them.
fn shown(given: &Value) -> Value {
    let mut shown = given.clone();
    let containers = shown.get_mut("containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        let variables = container.pointer_mut("/properties/environmentVariables");
        let variables = variables.and_then(Value::as_array_mut);
        for variable in variables.into_iter().flatten() {
            if let Some(variable) = variable.as_object_mut() {
                variable.remove("secureValue");
            }
        }
    }
    let credentials = shown.get_mut("imageRegistryCredentials").and_then(Value::as_array_mut);
    for credential in credentials.into_iter().flatten() {
        if let Some(credential) = credential.as_object_mut() {
            credential.remove("password");
        }
    }
    let volumes = shown.get_mut("volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        if let Some(file) = volume.get_mut("azureFile").and_then(Value::as_object_mut) {
            file.remove("storageAccountKey");
        }
    }
    let analytics = shown.pointer_mut("/diagnostics/logAnalytics");
    if let Some(analytics) = analytics.and_then(Value::as_object_mut) {
        analytics.remove("workspaceKey");
    }
    if shown["sku"].is_null() {
        shown["sku"] = "Standard".into();
    }
    shown
}

/// What the machines behind the service are told.
fn group(resource: &Resource) -> ContainerGroup {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let given = &resource.wanted["properties"];
    let ports = |value: &Value| -> Vec<(u16, String)> {
        let ports = list_of(value);
        let port = |port: &Value| Some((u16::try_from(port["port"].as_u64()?).ok()?, protocol(port)));
        ports.iter().filter_map(port).collect()
    };
    let containers = list_of(&given["containers"]);
    let containers = containers.iter().map(|container| {
        let properties = &container["properties"];
        let requests = &properties["resources"]["requests"];
        Container {
            name: text(&container["name"]),
            image: text(&properties["image"]),
            command: list_of(&properties["command"]).iter().map(text).collect(),
            environment: list_of(&properties["environmentVariables"])
                .iter()
                .map(variable)
                .collect(),
            ports: ports(&properties["ports"]),
            cpu: requests["cpu"].as_f64().unwrap_or(1.0),
            memory_gb: requests["memoryInGB"].as_f64().unwrap_or(1.0),
            mounts: list_of(&properties["volumeMounts"])
                .iter()
                .map(|mount| (text(&mount["name"]), text(&mount["mountPath"])))
                .collect(),
        }
    });
    ContainerGroup {
        id: resource.id.clone(),
        name: resource.name.clone(),
        location: resource.location.clone().unwrap_or_default(),
        containers: containers.collect(),
        ports: ports(&given["ipAddress"]["ports"]),
        restart: given["restartPolicy"].as_str().unwrap_or("Always").to_owned(),
    }
}

fn variable(variable: &Value) -> Variable {
    let secret = variable["secureValue"].as_str();
    Variable {
        name: variable["name"].as_str().unwrap_or_default().to_owned(),
        value: secret
            .or_else(|| variable["value"].as_str())
            .unwrap_or_default()
            .to_owned(),
        is_secret: secret.is_some(),
    }
}

/// The group's JSON with how it is at present.
fn with_view(shared: &Shared, group: &Resource) -> Value {
    let time = clock::rfc3339(clock::now(shared.state().skew));
    let mut json = group.json(&Value::Null);
    let has_started = group.state == "Succeeded" || group.state == "Failed";
    let mut lives = Vec::new();
    for container in json["properties"]["containers"].as_array_mut().into_iter().flatten() {
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        let life = match group.power {
            "stopped" => Life::Ended(0),
            _ if has_started => shared.machines.life(&group.id, &name),
            _ => Life::Waiting,
        };
        lives.push(life);
        let (restarts, state) = match life {
            Life::Waiting => (0, json!({ "state": "Waiting", "detailStatus": "" })),
            Life::Running(restarts) => (
                restarts,
                json!({ "state": "Running", "startTime": time, "detailStatus": "" }),
            ),
            Life::Ended(exit) => {
                let status = if exit == 0 { "Completed" } else { "Error" };
                (
                    0,
                    json!({ "state": "Terminated", "startTime": time, "finishTime": time, "exitCode": exit, "detailStatus": status }),
                )
            }
        };
        container["properties"]["instanceView"] =
            json!({ "restartCount": restarts, "currentState": state, "events": [] });
    }
    let word = if group.power == "stopped" {
        "Stopped"
    } else if lives.contains(&Life::Waiting) {
        "Pending"
    } else if lives.iter().any(|life| matches!(life, Life::Running(_))) {
        "Running"
    } else if lives.iter().all(|life| *life == Life::Ended(0)) {
        "Succeeded"
    } else {
        "Failed"
    };
    json["properties"]["instanceView"] = json!({ "state": word, "events": [] });
    json
}

pub(super) fn show(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = id(call);
    let mut state = call.state();
    look(&mut state, &id);
    let group = state.resource(&id).ok_or_else(|| missing(&id))?.clone();
    drop(state);
    Ok(Answer::json(200, with_view(call.shared, &group)))
}

pub(super) fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let is_of_group = call
        .segment(2)
        .is_some_and(|segment| segment.eq_ignore_ascii_case("resourcegroups"));
    let within = if is_of_group {
        format!("{}/", group_id(call).to_lowercase())
    } else {
        String::new()
    };
    let found = call
        .state()
        .listed(|resource| resource.kind == GROUP && resource.key().starts_with(&within));
    let found = visible(call, found);
    Ok(page(call, found.iter().map(|group| group.json(&Value::Null)).collect()))
}

pub(super) fn patch(call: &Call<'_>) -> Result<Answer, Refusal> {
    let body = call.body(&members::CONTAINER_GROUP_UPDATE)?;
    check_tags(&body)?;
    let id = id(call);
    let mut state = call.state();
    let group = state.resource_mut(&id).ok_or_else(|| missing(&id))?;
    if body["tags"].is_object() {
        group.tags = Some(body["tags"].clone());
        group.wanted["tags"] = body["tags"].clone();
    }
    Ok(Answer::json(200, group.json(&Value::Null)))
}

pub(super) fn delete(call: &Call<'_>) -> Result<Answer, Refusal> {
    let (id, lag) = (id(call), call.shared.settings.list_lag);
    let key = id.to_lowercase();
    let mut state = call.state();
    let Some(group) = state.resource(&id) else {
        return Ok(Answer::new(204));
    };
    if let Some(operation) = group.operation.clone().filter(|_| group.state == "Deleting") {
        drop(state);
        return Ok(begun(call, &operation, 202, None));
    }
    state.preempt(&key);
    if let Some(group) = state.resource_mut(&key) {
        group.state = "Deleting";
    }
    let machines = call.shared.machines.clone();
    let (gone, at) = (id, key.clone());
    let work = move || {
        machines.removed(&gone);
        Ok(Value::Null)
    };
    let end = move |state: &mut State, _| {
        state.remove(&at, lag);
        Ok(Outcome::empty(204))
    };
    let operation = state.begin(call, Task::new(&key, work, end));
    drop(state);
    Ok(begun(call, &operation, 202, None))
}

/// `POST …/stop`, `start` and `restart`. To stop is done at once; to start takes its time.
pub(super) fn switch(call: &Call<'_>, action: &str) -> Result<Answer, Refusal> {
    let id = id(call);
    let key = id.to_lowercase();
    let mut state = call.state();
    let found = state.resource_mut(&id).ok_or_else(|| missing(&id))?;
    if found.operation.is_some() {
        return Err(transitioning(&found.name));
    }
    let group = group(found);
    match action {
        "start" => {
            found.state = "Pending";
            let operation = begin(call, &mut state, &key, group, false);
            drop(state);
            Ok(begun(call, &operation, 202, None))
        }
        "stop" | "restart" => {
            found.power = if action == "stop" { "stopped" } else { "running" };
            drop(state);
            call.shared.machines.stop(&id);
            if action == "restart" {
                let address = call.shared.machines.start(&group)?;
                if let Some(group) = call
                    .state()
                    .resource_mut(&id)
                    .filter(|group| group.properties["ipAddress"].is_object())
                {
                    group.properties["ipAddress"]["ip"] = address.to_string().into();
                }
            }
            Ok(Answer::new(204))
        }
        _ => Err(Refusal::new(
            404,
            "InvalidResourceType",
            format!("There is no action '{action}'."),
        )),
    }
}

/// Refuses a container that the group does not have, or does not have yet.
fn must_have(call: &Call<'_>, container: &str) -> Result<String, Refusal> {
    let id = id(call);
    let state = call.state();
    let group = state.resource(&id).ok_or_else(|| missing(&id))?;
    let containers = list_of(&group.wanted["properties"]["containers"]);
    if !containers.iter().any(|known| known["name"] == container) {
        let message = format!(
            "The container '{container}' does not exist in container group '{}'.",
            group.name
        );
        return Err(Refusal::new(404, "ContainerNotFound", message));
    }
    if group.operation.is_some() {
        return Err(transitioning(&group.name));
    }
    Ok(group.id.clone())
}

pub(super) fn logs(call: &Call<'_>, container: &str) -> Result<Answer, Refusal> {
    let id = must_have(call, container)?;
    let text = call.shared.machines.logs(&id, container);
    let tail = call.request.parameter("tail");
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let kept = tail.parse().unwrap_or(lines.len());
    let stamp = if call.request.parameter("timestamps").eq_ignore_ascii_case("true") {
        "2026-01-01T00:00:00.000000000Z "
    } else {
        ""
    };
    let lines = lines
        .iter()
        .skip(lines.len().saturating_sub(kept))
        .map(|line| format!("{stamp}{line}"));
    Ok(Answer::json(200, json!({ "content": lines.collect::<String>() })))
}

/// Where a command in a container would be spoken to. Nobody listens there.
pub(super) fn exec(call: &Call<'_>, container: &str) -> Result<Answer, Refusal> {
    let body = call.body(&members::EXEC)?;
    must_have(call, container)?;
    if body["command"].as_str().is_none_or(str::is_empty) {
        return Err(Refusal::new(
            400,
            "MissingCommand",
            "The command of the request is missing.",
        ));
    }
    Ok(Answer::json(
        200,
        json!({ "webSocketUri": "wss://bridge.example.org/exec/1", "password": "one-time" }),
    ))
}
