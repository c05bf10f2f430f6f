//! What the body of a virtual machine must be.

use base64ct::{Base64, Encoding as _};
use serde_json::Value;

use super::call::Call;
use super::fault::Refusal;
use super::interfaces::check_inline;
use super::network::referred;
use super::route::forbidden;
use super::state::State;

pub(super) fn invalid(target: &str, message: impl Into<String>) -> Refusal {
    Refusal::new(400, "InvalidParameter", message).target(target)
}

pub(super) fn check_system(system: &Value) -> Result<(), Refusal> {
    if !system.is_object() {
        return Err(invalid(
            "osProfile",
            "Required parameter 'osProfile' is missing (null).",
        ));
    }
    let text = |name: &str| system[name].as_str().unwrap_or_default();
    let (computer, admin) = (text("computerName"), text("adminUsername"));
    if computer.is_empty()
        || computer.len() > 64
        || !computer
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
    {
        return Err(invalid(
            "computerName",
            format!(
                "Linux host name '{computer}' cannot exceed 64 characters in length or contain the following characters: ` ~ ! @ # $ % ^ & * ( ) = + _ [ ] {{ }} \\ | ; : ' \" , < > / ?."
            ),
        ));
    }
    if admin.is_empty() || ["admin", "administrator", "root", "guest", "user", "test"].contains(&admin) {
        return Err(invalid("adminUsername", "The Admin Username specified is not allowed."));
    }
    if Base64::decode_vec(text("customData")).is_err() || text("customData").len() > 87_380 {
        let message =
            "Custom data in OSProfile must be in Base64 encoding and with a maximum length of 87380 characters.";
        return Err(invalid("customData", message));
    }
    let linux = &system["linuxConfiguration"];
    let has_password = !text("adminPassword").is_empty();
    let keys = linux["ssh"]["publicKeys"].as_array().cloned().unwrap_or_default();
    if linux["disablePasswordAuthentication"] == true && keys.is_empty() || keys.is_empty() && !has_password {
        let message = "Authentication using either SSH or by user name and password must be enabled in Linux profile.";
        return Err(invalid("linuxConfiguration", message));
    }
    for key in &keys {
        let path = format!("/home/{admin}/.ssh/authorized_keys");
        if key["path"] != path {
            let message = format!(
                "Destination path for SSH public keys is currently limited to its default value {path}  due to a known issue in Linux provisioning agent."
            );
            return Err(invalid("linuxConfiguration.ssh.publicKeys.path", message));
        }
        let mut words = key["keyData"].as_str().unwrap_or_default().split_whitespace();
        let is_key = words
            .next()
            .is_some_and(|word| ["ssh-rsa", "ssh-ed25519"].contains(&word));
        if !is_key || words.next().is_none_or(|data| Base64::decode_vec(data).is_err()) {
            let message = "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid.";
            return Err(invalid("linuxConfiguration.ssh.publicKeys.keyData", message));
        }
    }
    Ok(())
}

pub(super) fn check_network(call: &Call<'_>, state: &State, id: &str, given: &Value, at: &str) -> Result<(), Refusal> {
    if let Some(data) = given["userData"].as_str()
        && Base64::decode_vec(data).is_err()
    {
        return Err(invalid("userData", "User data must be in Base64 encoding."));
    }
    let profile = &given["networkProfile"];
    let (attached, inline) = (
        list_of(&profile["networkInterfaces"]),
        list_of(&profile["networkInterfaceConfigurations"]),
    );
    if attached.is_empty() == inline.is_empty() {
        return Err(invalid(
            "networkProfile",
            "A machine has network interfaces or describes them, and not both.",
        ));
    }
    if !inline.is_empty() && !profile["networkApiVersion"].is_string() {
        let message =
            "The value of parameter networkApiVersion is invalid: it is required with networkInterfaceConfigurations.";
        return Err(invalid("networkProfile.networkApiVersion", message));
    }
    for interface in &inline {
        check_inline(call, state, id, interface, at)?;
    }
    check_rights(call, state, id, &inline)?;
    for interface in &attached {
        let found = referred(state, interface["id"].as_str().unwrap_or_default(), id)?;
        if let Some(owner) = found.properties["virtualMachine"]["id"].as_str() {
            let message = format!("Network Interface {} is used by existing resource {owner}.", found.id);
            return Err(Refusal::new(400, "NicInUse", message));
        }
    }
    Ok(())
}

/// Refuses a machine whose parts the client may not make, or not join to each other.
fn check_rights(call: &Call<'_>, state: &State, id: &str, inline: &[Value]) -> Result<(), Refusal> {
    let group = id.split('/').take(5).collect::<Vec<_>>().join("/");
    let has_address = inline.iter().any(|interface| {
        let parts = list_of(&interface["properties"]["ipConfigurations"]);
        parts
            .iter()
            .any(|part| part["properties"]["publicIPAddressConfiguration"].is_object())
    });
    let interface = [
        "microsoft.network/networkinterfaces/write",
        "microsoft.network/networkinterfaces/join/action",
    ];
    let address = [
        "microsoft.network/publicipaddresses/write",
        "microsoft.network/publicipaddresses/join/action",
    ];
    let mut actions = vec!["microsoft.compute/disks/write"];
    actions.extend(interface.iter().filter(|_| !inline.is_empty()));
    actions.extend(address.iter().filter(|_| has_address));
    match actions.into_iter().find(|action| !state.allows(action, &group)) {
        Some(action) => Err(unlinked(call, id, action, &group)),
        None => Ok(()),
    }
}

/// The refusal of something whose parts take an action that the role does not allow.
pub(super) fn unlinked(call: &Call<'_>, by: &str, action: &str, at: &str) -> Refusal {
    let message = format!(
        "The client has permission to perform the action on scope '{by}'; however, {}",
        forbidden(call, action, at).message
    );
    Refusal::new(403, "LinkedAuthorizationFailed", message)
}

pub(super) fn list_of(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}
