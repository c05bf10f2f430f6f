//! Public addresses and network interfaces, made by themselves or with a machine.

use serde_json::{Value, json};

use super::admission::unlinked;
use super::call::Call;
use super::catalog::{admit_address, region};
use super::fault::Refusal;
use super::groups::check_tags;
use super::members;
use super::network::{ADDRESS, INTERFACE, id, must_be_free, must_stay, referred, render};
use super::operation::{Outcome, Task, begun};
use super::request::Answer;
use super::state::{Resource, State};

/// Refuses an address that can no longer be had.
fn check_address(state: &State, body: &Value, at: &str) -> Result<(), Refusal> {
    let is = |value: &Value, word: &str| value.as_str().is_some_and(|value| value.eq_ignore_ascii_case(word));
    // The basic ones, which nothing said stands for, retired on 30 September 2025.
    if !is(&body["sku"]["name"], "Standard") {
        let message =
            "Cannot create more than 0 IPv4 Basic SKU public IP addresses for this subscription in this region.";
        return Err(Refusal::new(400, "IPv4BasicSkuPublicIpCountLimitReached", message));
    }
    if !is(&body["properties"]["publicIPAllocationMethod"], "Static") {
        // [guess] The code; that standard addresses are static is documented.
        let message = "Standard sku publicIp must have AllocationMethod set to Static.";
        return Err(Refusal::new(400, "PublicIPAddressStandardSkuMustBeStatic", message));
    }
    admit_address(state, at)
}

pub(super) fn put_address(call: &Call<'_>) -> Result<Answer, Refusal> {
    let body = call.body(&members::PUBLIC_ADDRESS)?;
    let at = body["location"].as_str().unwrap_or_default();
    region(call, at)?;
    check_tags(&body)?;
    let id = id(call, ADDRESS);
    let mut state = call.state();
    must_be_free(&state, &id)?;
    must_stay(state.resource(&id), &body)?;
    let existing = state.resource(&id).cloned();
    if existing.is_none() {
        check_address(&state, &body, at)?;
    }
    let mut resource = address(&mut state, &id, &body, call.shared.settings.list_lag);
    let number = state.number() % 250 + 1;
    let known = existing
        .as_ref()
        .map(|existing| existing.properties["ipAddress"].clone());
    resource.properties["ipAddress"] = known.unwrap_or_else(|| format!("198.51.100.{number}").into());
    Ok(made(call, state, resource, existing.is_none()))
}

/// A public address that is ready, but for its address.
fn address(state: &mut State, id: &str, body: &Value, lag: u32) -> Resource {
    let mut resource = Resource::new(ADDRESS, id.to_owned(), body, lag);
    resource.state = "Succeeded";
    let given = &body["properties"];
    resource.properties = json!({
        "publicIPAllocationMethod": given["publicIPAllocationMethod"], "publicIPAddressVersion": "IPv4",
        "idleTimeoutInMinutes": given["idleTimeoutInMinutes"].as_u64().unwrap_or(4), "ipTags": [], "resourceGuid": state.uuid(),
    });
    if given["deleteOption"].is_string() {
        resource.properties["deleteOption"] = given["deleteOption"].clone();
    }
    resource
        .beside
        .insert("sku".to_owned(), json!({ "name": "Standard", "tier": "Regional" }));
    resource
        .beside
        .insert("etag".to_owned(), format!("W/\"{}\"", state.uuid()).into());
    resource
}

/// Answers with a resource that is made, or changed.
fn made(call: &Call<'_>, mut state: std::sync::MutexGuard<'_, State>, mut resource: Resource, is_new: bool) -> Answer {
    resource.state = "Updating";
    let key = resource.key();
    state.insert(resource);
    let at = key.clone();
    let end = move |state: &mut State, _| {
        if let Some(resource) = state.resource_mut(&at) {
            resource.state = "Succeeded";
        }
        let json = state.resource(&at).map(|resource| render(state, resource));
        Ok(Outcome::body(json.unwrap_or_default()))
    };
    let operation = state.begin(call, Task::new(&key, || Ok(Value::Null), end));
    let json = state.resource(&key).map(|resource| render(&state, resource));
    drop(state);
    begun(call, &operation, if is_new { 201 } else { 200 }, json)
}

pub(super) fn put(call: &Call<'_>) -> Result<Answer, Refusal> {
    let body = call.body(&members::INTERFACE)?;
    region(call, body["location"].as_str().unwrap_or_default())?;
    check_tags(&body)?;
    let id = id(call, INTERFACE);
    let mut state = call.state();
    must_be_free(&state, &id)?;
    must_stay(state.resource(&id), &body)?;
    let given = &body["properties"];
    check_references(call, &state, &id, given)?;
    for part in given["ipConfigurations"].as_array().into_iter().flatten() {
        if let Some(address) = part["properties"]["publicIPAddress"]["id"].as_str() {
            referred(&state, address, &id)?;
        }
    }
    let existing = state.resource(&id).cloned();
    let mut resource = interface(&mut state, &id, &body, call.shared.settings.list_lag);
    let machine = existing
        .as_ref()
        .map(|existing| existing.properties["virtualMachine"].clone());
    if let Some(machine) = machine.filter(Value::is_object) {
        resource.properties["virtualMachine"] = machine;
    }
    Ok(made(call, state, resource, existing.is_none()))
}

/// Refuses subnets and security groups that are not there, not ready, or not for the client.
pub(super) fn check_references(call: &Call<'_>, state: &State, by: &str, given: &Value) -> Result<(), Refusal> {
    let parts = given["ipConfigurations"].as_array().into_iter().flatten();
    let subnets = parts.map(|part| {
        (
            &part["properties"]["subnet"],
            "microsoft.network/virtualnetworks/subnets/join/action",
        )
    });
    let guard = (
        &given["networkSecurityGroup"],
        "microsoft.network/networksecuritygroups/join/action",
    );
    for (reference, action) in subnets.chain(Some(guard)) {
        let Some(id) = reference["id"].as_str() else {
            if action.contains("subnets") {
                let message = format!("Subnet reference is required for ipconfiguration of {by}.");
                return Err(Refusal::new(400, "SubnetIsRequired", message));
            }
            continue;
        };
        let scope: Vec<_> = id.split('/').take(5).collect();
        if !state.allows(action, &scope.join("/")) {
            return Err(unlinked(call, by, action, id));
        }
        referred(state, id, by)?;
    }
    Ok(())
}

/// A network interface that is ready.
fn interface(state: &mut State, id: &str, body: &Value, lag: u32) -> Resource {
    let mut resource = Resource::new(INTERFACE, id.to_owned(), body, lag);
    resource.state = "Succeeded";
    let given = &body["properties"];
    let parts = given["ipConfigurations"].as_array().cloned().unwrap_or_default();
    let parts = parts.iter().map(|part| {
        let name = part["name"].as_str().unwrap_or_default();
        let mut properties = part["properties"].clone();
        properties["privateIPAllocationMethod"] = "Dynamic".into();
        properties["privateIPAddressVersion"] = "IPv4".into();
        properties["privateIPAddress"] = format!("10.0.0.{}", state.number() % 250 + 4).into();
        properties["provisioningState"] = "Succeeded".into();
        json!({ "id": format!("{id}/ipConfigurations/{name}"), "name": name, "etag": "W/\"1\"",
            "type": "Microsoft.Network/networkInterfaces/ipConfigurations", "properties": properties })
    });
    let parts: Vec<_> = parts.collect();
    resource.properties = json!({
        "ipConfigurations": parts, "resourceGuid": state.uuid(), "enableIPForwarding": given["enableIPForwarding"] == true,
        "enableAcceleratedNetworking": false, "primary": true, "macAddress": "00-0D-3A-00-00-01", "nicType": "Standard",
        "dnsSettings": { "dnsServers": [], "appliedDnsServers": [] }, "hostedWorkloads": [], "tapConfigurations": [],
    });
    if given["networkSecurityGroup"].is_object() {
        resource.properties["networkSecurityGroup"] = given["networkSecurityGroup"].clone();
    }
    resource
        .beside
        .insert("etag".to_owned(), format!("W/\"{}\"", state.uuid()).into());
    resource
}

/// Refuses what a machine's body says of an interface of its own.
pub(super) fn check_inline(
    call: &Call<'_>,
    state: &State,
    machine: &str,
    given: &Value,
    at: &str,
) -> Result<(), Refusal> {
    check_references(call, state, machine, &given["properties"])?;
    for part in given["properties"]["ipConfigurations"].as_array().into_iter().flatten() {
        let address = &part["properties"]["publicIPAddressConfiguration"];
        if address.is_object() {
            check_address(state, address, at)?;
        }
    }
    Ok(())
}

/// Makes an interface that a machine's body describes, with its public addresses; its ID.
///
/// The names get a suffix, so that a client finds them by the IDs only. [guess] The suffix's form.
pub(super) fn make_inline(state: &mut State, machine: &Resource, given: &Value, lag: u32) -> String {
    let base = machine.id.split("/providers/").next().unwrap_or_default().to_owned();
    let suffix = state.uuid()[..8].to_owned();
    let mut properties = given["properties"].clone();
    let name = |given: &Value| format!("{}-{suffix}", given["name"].as_str().unwrap_or_default());
    for part in properties["ipConfigurations"].as_array_mut().into_iter().flatten() {
        let wanted = part["properties"]["publicIPAddressConfiguration"].take();
        if let Some(properties) = part["properties"].as_object_mut() {
            properties.remove("publicIPAddressConfiguration");
        }
        if !wanted.is_object() {
            continue;
        }
        let id = format!("{base}/providers/{ADDRESS}/{}", name(&wanted));
        let mut body = wanted.clone();
        body["location"] = machine.location.clone().into();
        let made = address(state, &id, &body, lag);
        state.insert(made);
        let option = wanted["properties"]["deleteOption"].as_str().unwrap_or("Detach");
        part["properties"]["publicIPAddress"] = json!({ "id": id, "properties": { "deleteOption": option } });
    }
    let id = format!("{base}/providers/{INTERFACE}/{}", name(given));
    let body = json!({ "location": machine.location, "properties": properties, "tags": given["tags"] });
    let made = interface(state, &id, &body, lag);
    state.insert(made);
    id
}
