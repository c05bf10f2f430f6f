//! Virtual networks, their subnets, and security groups with their rules.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::call::Call;
use super::catalog::{page, region, visible};
use super::fault::Refusal;
use super::groups::{check_tags, id as group_id, look};
use super::guards::{check_rules, openings, rule_json};
use super::members::{self, Body};
use super::operation::{Outcome, Task, begun, deletion};
use super::request::Answer;
use super::state::{Resource, State, location};

pub(super) const NETWORK: &str = "Microsoft.Network/virtualNetworks";
pub(super) const SUBNET: &str = "Microsoft.Network/virtualNetworks/subnets";
pub(super) const GUARD: &str = "Microsoft.Network/networkSecurityGroups";
pub(super) const ADDRESS: &str = "Microsoft.Network/publicIPAddresses";
pub(super) const INTERFACE: &str = "Microsoft.Network/networkInterfaces";

/// A type by its last word in lower case.
fn kind(word: &str) -> Result<(&'static str, &'static Body), Refusal> {
    match word {
        "virtualnetworks" => Ok((NETWORK, &members::VIRTUAL_NETWORK)),
        "subnets" => Ok((SUBNET, &members::SUBNET)),
        "networksecuritygroups" => Ok((GUARD, &members::SECURITY_GROUP)),
        "publicipaddresses" => Ok((ADDRESS, &members::PUBLIC_ADDRESS)),
        "networkinterfaces" => Ok((INTERFACE, &members::INTERFACE)),
        _ => {
            let message =
                format!("The resource type '{word}' could not be found in the namespace 'Microsoft.Network'.");
            Err(Refusal::new(404, "InvalidResourceType", message))
        }
    }
}

/// The ID of the resource that a path names, which is of this kind.
pub(super) fn id(call: &Call<'_>, kind: &str) -> String {
    let words: Vec<_> = kind.split('/').collect();
    let mut id = format!("{}/providers/{}", group_id(call), words[0]);
    for (index, word) in words[1..].iter().enumerate() {
        id += &format!("/{word}/{}", call.segment(7 + 2 * index).unwrap_or_default());
    }
    // As it was written when it was made.
    let state = call.state();
    state.resource(&id).map_or(id, |resource| resource.id.clone())
}

/// The key of what a subnet is part of, or of the resource itself.
fn holder(id: &str) -> String {
    let key = id.to_lowercase();
    key.split("/subnets/").next().unwrap_or_default().to_owned()
}

/// Refuses what another operation holds.
pub(super) fn must_be_free(state: &State, id: &str) -> Result<(), Refusal> {
    let held = state
        .resource(&holder(id))
        .filter(|resource| resource.operation.is_some());
    held.map_or(Ok(()), |held| Err(Refusal::locked(&held.id)))
}

/// Refuses a name that exists elsewhere.
pub(super) fn must_stay(existing: Option<&Resource>, body: &Value) -> Result<(), Refusal> {
    let wanted = body["location"].as_str().map(location);
    match existing {
        Some(existing) if wanted.is_some() && existing.location != wanted => {
            let (there, here) = (
                existing.location.clone().unwrap_or_default(),
                wanted.unwrap_or_default(),
            );
            let message = format!(
                "The resource '{}' already exists in location '{there}'. A resource with the same name cannot be created in location '{here}'. Please select a new resource name.",
                existing.name
            );
            Err(Refusal::new(409, "InvalidResourceLocation", message))
        }
        _ => Ok(()),
    }
}

/// The resource that another refers to, which must be ready.
pub(super) fn referred<'a>(state: &'a State, id: &str, by: &str) -> Result<&'a Resource, Refusal> {
    let Some(found) = state.resource(id) else {
        let message = format!(
            "Resource {id} referenced by resource {by} was not found. Please make sure that the referenced resource exists, and that both resources are in the same region."
        );
        return Err(Refusal::new(400, "InvalidResourceReference", message));
    };
    let holder = state.resource(&holder(id)).unwrap_or(found);
    if holder.operation.is_some() || found.state == "Updating" {
        let detail = format!(
            "Cannot proceed with operation because resource {id} used by resource {by} is not in Succeeded state. Resource is in Updating state and the last operation that updated/is updating the resource is PutSubnetOperation."
        );
        let refusal = Refusal::new(429, "RetryableError", "A retryable error occurred.");
        return Err(refusal
            .detail("ReferencedResourceNotProvisioned", detail)
            .header("Retry-After", "1"));
    }
    Ok(found)
}

pub(super) fn put(call: &Call<'_>, word: &str) -> Result<Answer, Refusal> {
    let (kind, members) = kind(word)?;
    let body = call.body(members)?;
    check_tags(&body)?;
    if kind != SUBNET {
        region(call, body["location"].as_str().unwrap_or_default())?;
    }
    let (id, lag) = (id(call, kind), call.shared.settings.list_lag);
    let mut state = call.state();
    if kind == SUBNET && state.resource(&holder(&id)).is_none() {
        return Err(not_found(&id, NETWORK));
    }
    must_be_free(&state, &id)?;
    must_stay(state.resource(&id), &body)?;
    match kind {
        NETWORK => set_subnets(&mut state, &id, &body, lag)?,
        SUBNET => check_subnet(&state, &id, &body)?,
        _ => check_rules(&body)?,
    }
    let is_new = state.resource(&id).is_none();
    let mut resource = Resource::new(kind, id.clone(), &body, if is_new { lag } else { 0 });
    resource.state = "Updating";
    resource.properties = properties(&mut state, kind, &id, &body);
    let etag = format!("W/\"{}\"", state.uuid());
    resource.beside.insert("etag".to_owned(), etag.into());
    let key = resource.key();
    state.insert(resource);
    let changed = if kind == GUARD {
        openings(&state, &id)
    } else {
        Vec::new()
    };
    let machines = call.shared.machines.clone();
    let work = move || {
        for (machine, open) in changed {
            machines.opened(&machine, &open);
        }
        Ok(Value::Null)
    };
    let end = move |state: &mut State, _| {
        // What it is part of is ready with it.
        let key = key.clone();
        for resource in state.resources.values_mut() {
            if resource.key() == key || resource.kind == SUBNET && resource.is_below(&key) {
                resource.state = "Succeeded";
            }
        }
        let json = state.resource(&key).map(|resource| render(state, resource));
        Ok(Outcome::body(json.unwrap_or_default()))
    };
    // A subnet's network is held, too.
    let operation = state.begin(call, Task::new(&id.to_lowercase(), work, end));
    if kind == SUBNET
        && let Some(network) = state.resource_mut(&holder(&id))
    {
        network.operation = Some(operation.clone());
    }
    let json = state.resource(&id).map(|resource| render(&state, resource));
    drop(state);
    Ok(begun(call, &operation, if is_new { 201 } else { 200 }, json))
}

/// The properties that the service shows of a body.
fn properties(state: &mut State, kind: &str, id: &str, body: &Value) -> Value {
    let mut properties = body["properties"].clone();
    if !properties.is_object() {
        properties = json!({});
    }
    properties["resourceGuid"] = state.uuid().into();
    match kind {
        NETWORK => {
            properties["enableDdosProtection"] = false.into();
            properties["virtualNetworkPeerings"] = json!([]);
        }
        GUARD => {
            let rules = body["properties"]["securityRules"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let rules = rules.iter().map(|rule| rule_json(id, rule));
            properties["securityRules"] = rules.collect();
            properties["defaultSecurityRules"] = json!([]);
        }
        _ => {
            properties["privateEndpointNetworkPolicies"] = "Disabled".into();
            properties["privateLinkServiceNetworkPolicies"] = "Enabled".into();
        }
    }
    properties
}

/// Makes the subnets of a network's body, and removes those that it does not name.
fn set_subnets(state: &mut State, id: &str, body: &Value, lag: u32) -> Result<(), Refusal> {
    let wanted = body["properties"]["subnets"].as_array().cloned().unwrap_or_default();
    let at = |subnet: &Value| format!("{id}/subnets/{}", subnet["name"].as_str().unwrap_or_default());
    for subnet in &wanted {
        check_range(body, subnet)?;
    }
    let names: Vec<_> = wanted.iter().map(|subnet| at(subnet).to_lowercase()).collect();
    let gone: Vec<_> = state
        .below(&id.to_lowercase())
        .into_iter()
        .filter(|subnet| !names.contains(&subnet.key()))
        .collect();
    for subnet in &gone {
        must_be_unused(state, subnet)?;
    }
    for subnet in gone {
        state.remove(&subnet.key(), 0);
    }
    for subnet in wanted {
        let mut resource = Resource::new(SUBNET, at(&subnet), &subnet, lag);
        resource.properties = properties(state, SUBNET, &resource.id, &subnet);
        resource.state = "Updating";
        state.insert(resource);
    }
    Ok(())
}

fn check_subnet(state: &State, id: &str, body: &Value) -> Result<(), Refusal> {
    let network = state.resource(&holder(id)).ok_or_else(|| not_found(id, NETWORK))?;
    let mut named = body.clone();
    named["name"] = id.rsplit('/').next().into();
    check_range(&network.wanted, &named)?;
    if let Some(guard) = body["properties"]["networkSecurityGroup"]["id"].as_str() {
        referred(state, guard, id)?;
    }
    Ok(())
}

/// An address and the number of its bits that count.
fn prefix(text: &str) -> Option<(u32, u32)> {
    let (address, bits) = text.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let bits = bits.parse().ok().filter(|bits| *bits <= 32)?;
    Some((address.to_bits(), bits))
}

/// Refuses a subnet that is not within its network.
fn check_range(network: &Value, subnet: &Value) -> Result<(), Refusal> {
    let name = &subnet["name"];
    let wanted = subnet["properties"]["addressPrefix"]
        .as_str()
        .or_else(|| subnet["properties"]["addressPrefixes"][0].as_str());
    let spaces = network["properties"]["addressSpace"]["addressPrefixes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let Some((address, bits)) = wanted.and_then(prefix) else {
        let message = format!("The address prefix of subnet {name} is not formatted correctly.");
        return Err(Refusal::new(400, "InvalidCIDRNotation", message));
    };
    let holds = |space: &Value| {
        let space = space.as_str().and_then(prefix);
        space.is_some_and(|(base, length)| {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            length <= bits && base & mask == address & mask
        })
    };
    if spaces.iter().any(holds) {
        return Ok(());
    }
    let message = format!(
        "Subnet {name} is not valid because its IP address range is outside the IP address range of its virtual network."
    );
    Err(Refusal::new(400, "NetcfgSubnetRangeOutsideVnet", message))
}

/// The interfaces, their parts, and the subnets that refer to a resource.
pub(super) fn users(state: &State, id: &str) -> Vec<String> {
    let is_it = |value: &Value| value["id"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(id));
    let mut users = Vec::new();
    for resource in state.resources.values() {
        if is_it(&resource.properties["networkSecurityGroup"]) {
            users.push(resource.id.clone());
        }
        let parts = resource.properties["ipConfigurations"].as_array().into_iter().flatten();
        let of = |part: &&Value| is_it(&part["properties"]["subnet"]) || is_it(&part["properties"]["publicIPAddress"]);
        users.extend(
            parts
                .filter(of)
                .filter_map(|part| part["id"].as_str().map(str::to_owned)),
        );
    }
    users
}

/// Refuses to delete what is in use.
fn must_be_unused(state: &State, resource: &Resource) -> Result<(), Refusal> {
    let id = &resource.id;
    let users = match resource.kind {
        NETWORK => {
            for subnet in state.below(&resource.key()) {
                must_be_unused(state, &subnet)?;
            }
            return Ok(());
        }
        INTERFACE => resource.properties["virtualMachine"]["id"]
            .as_str()
            .map(str::to_owned)
            .into_iter()
            .collect(),
        _ => users(state, id),
    };
    let Some(user) = users.first() else {
        return Ok(());
    };
    let name = &resource.name;
    let (code, message) = match resource.kind {
        SUBNET => (
            "InUseSubnetCannotBeDeleted",
            format!(
                "Subnet {name} is in use by {user} and cannot be deleted. In order to delete the subnet, delete all the resources within the subnet. See aka.ms/deletesubnet."
            ),
        ),
        GUARD => (
            "InUseNetworkSecurityGroupCannotBeDeleted",
            format!(
                "Network security group {id} cannot be deleted because it is in use by the following resources: {user}. In order to delete the Network security group, remove the association with the resource(s). To learn how to do this, see aka.ms/deletensg."
            ),
        ),
        ADDRESS => (
            "PublicIPAddressCannotBeDeleted",
            format!(
                "Public IP address {id} can not be deleted since it is still allocated to resource {user}. In order to delete the public IP, disassociate/detach the Public IP address from the resource."
            ),
        ),
        _ => (
            "NicInUse",
            format!(
                "Network Interface {id} is used by existing resource {user}. In order to delete the network interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic."
            ),
        ),
    };
    Err(Refusal::new(400, code, message))
}

/// The JSON of a resource of the network's, with what refers to it.
pub(super) fn render(state: &State, resource: &Resource) -> Value {
    let refer = |ids: Vec<String>| ids.into_iter().map(|id| json!({ "id": id })).collect::<Value>();
    let users = || users(state, &resource.id);
    let more = match resource.kind {
        NETWORK => {
            let subnets = state.below(&resource.key());
            json!({ "subnets": subnets.iter().map(|subnet| render(state, subnet)).collect::<Vec<_>>() })
        }
        SUBNET => json!({ "ipConfigurations": refer(users()) }),
        GUARD => {
            let (subnets, interfaces): (Vec<_>, Vec<_>) = users().into_iter().partition(|id| id.contains("/subnets/"));
            json!({ "networkInterfaces": refer(interfaces), "subnets": refer(subnets) })
        }
        ADDRESS => users()
            .first()
            .map_or(Value::Null, |id| json!({ "ipConfiguration": { "id": id } })),
        _ => Value::Null,
    };
    resource.json(&more)
}

pub(super) fn not_found(id: &str, kind: &str) -> Refusal {
    let part = |index| id.split('/').nth(index).unwrap_or_default();
    if kind == SUBNET || kind.ends_with("securityRules") {
        return Refusal::new(404, "NotFound", format!("Resource {id} not found."));
    }
    let message = format!(
        "The Resource '{kind}/{}' under resource group '{}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
        part(8),
        part(4)
    );
    Refusal::new(404, "ResourceNotFound", message)
}

pub(super) fn show(call: &Call<'_>, word: &str) -> Result<Answer, Refusal> {
    let (kind, _) = kind(word)?;
    let id = id(call, kind);
    let mut state = call.state();
    look(&mut state, &id);
    look(&mut state, &holder(&id));
    let resource = state.resource(&id).ok_or_else(|| not_found(&id, kind))?;
    Ok(Answer::json(200, render(&state, resource)))
}

pub(super) fn list(call: &Call<'_>, word: &str) -> Result<Answer, Refusal> {
    let (kind, _) = kind(word)?;
    let within = match (kind, call.segment(7)) {
        (SUBNET, _) => format!("{}/", id(call, NETWORK).to_lowercase()),
        _ if call.is_of_group() => format!("{}/", group_id(call).to_lowercase()),
        _ => String::new(),
    };
    let found = call
        .state()
        .listed(|resource| resource.kind == kind && resource.key().starts_with(&within));
    let found = visible(call, found);
    let state = call.state();
    let shown = found.iter().map(|resource| render(&state, resource)).collect();
    drop(state);
    Ok(page(call, shown))
}

/// Changes tags, at once.
pub(super) fn patch(call: &Call<'_>, word: &str) -> Result<Answer, Refusal> {
    let (kind, _) = kind(word)?;
    let body = call.body(&members::CONTAINER_GROUP_UPDATE)?;
    check_tags(&body)?;
    let id = id(call, kind);
    let mut state = call.state();
    let resource = state.resource_mut(&id).ok_or_else(|| not_found(&id, kind))?;
    if body["tags"].is_object() {
        resource.tags = Some(body["tags"].clone());
    }
    let json = state.resource(&id).map(|resource| render(&state, resource));
    Ok(Answer::json(200, json.unwrap_or_default()))
}

pub(super) fn delete(call: &Call<'_>, word: &str) -> Result<Answer, Refusal> {
    let (kind, _) = kind(word)?;
    let id = id(call, kind);
    let state = call.state();
    let Some(resource) = state.resource(&id) else {
        return Ok(Answer::new(204));
    };
    if let Some(operation) = resource.operation.clone().filter(|_| resource.state == "Deleting") {
        drop(state);
        return Ok(begun(call, &operation, 202, None));
    }
    must_be_free(&state, &id)?;
    must_be_unused(&state, resource)?;
    let key = resource.key();
    Ok(deletion(call, state, &key))
}
