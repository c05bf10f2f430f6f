//! Disks, which come with machines and may outlive them.

use serde_json::{Value, json};

use super::call::Call;
use super::catalog::{of_kind, page};
use super::fault::Refusal;
use super::groups::look;
use super::network::{id, not_found};
use super::operation::deletion;
use super::request::Answer;
use super::state::{Resource, State};

const DISK: &str = "Microsoft.Compute/disks";

/// Makes the disk that a machine boots from.
pub(super) fn make(state: &mut State, machine: &Resource, given: &Value, lag: u32) -> Resource {
    let drive = &given["storageProfile"]["osDisk"];
    let base = machine.id.split("/providers/").next().unwrap_or_default();
    let name = match drive["name"].as_str() {
        Some(name) => name.to_owned(),
        None => format!("{}_OsDisk_1_{}", machine.name, state.uuid().replace('-', "")),
    };
    let kind = drive["managedDisk"]["storageAccountType"]
        .as_str()
        .unwrap_or("Premium_LRS");
    let body = json!({ "location": machine.location, "sku": { "name": kind, "tier": kind.split('_').next() } });
    let mut disk = Resource::new(DISK, format!("{base}/providers/{DISK}/{name}"), &body, lag);
    disk.state = "Succeeded";
    disk.beside.insert("managedBy".to_owned(), machine.id.as_str().into());
    disk.properties = json!({
        "osType": "Linux", "diskState": "Attached", "uniqueId": state.uuid(),
        "diskSizeGB": drive["diskSizeGB"].as_u64().unwrap_or(30),
        "creationData": { "createOption": "FromImage", "imageReference": { "id": "/Subscriptions/x/Versions/latest" } },
    });
    state.insert(disk.clone());
    disk
}

/// Lets go of a disk whose machine is gone.
pub(super) fn detach(state: &mut State, id: &str) {
    if let Some(disk) = state.resource_mut(id) {
        disk.beside.remove("managedBy");
        disk.properties["diskState"] = "Unattached".into();
    }
}

pub(super) fn show(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = id(call, DISK);
    let mut state = call.state();
    look(&mut state, &id);
    let disk = state.resource(&id).ok_or_else(|| not_found(&id, DISK))?;
    Ok(Answer::json(200, disk.json(&Value::Null)))
}

pub(super) fn list(call: &Call<'_>) -> Answer {
    let (_, found) = of_kind(call, DISK);
    page(call, found.iter().map(|disk| disk.json(&Value::Null)).collect())
}

pub(super) fn delete(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = id(call, DISK);
    let state = call.state();
    let Some(disk) = state.resource(&id) else {
        return Ok(Answer::new(204));
    };
    if let Some(owner) = disk.beside.get("managedBy") {
        let message = format!("Disk {} is attached to VM {owner}.", disk.name);
        return Err(Refusal::new(409, "OperationNotAllowed", message));
    }
    Ok(deletion(call, state, &id.to_lowercase()))
}
