//! What the body of a container group must be, what is shown of it, and what the machines are told.

use serde_json::Value;

use super::fault::Refusal;
use super::machines::{Container, ContainerGroup, Variable};
use super::state::Resource;

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

pub(super) fn list_of(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn refuse(code: &str, message: String) -> Result<(), Refusal> {
    Err(Refusal::new(400, code, message))
}

/// Refuses a body that no group can be made of. The codes that are not in public reports are guesses.
pub(super) fn check(name: &str, given: &Value) -> Result<(), Refusal> {
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
        if !(cpu > 0.0 && cpu <= 4.0 && (0.1..=16.0).contains(&memory) && is_tenths(memory)) {
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

/// The properties that the service shows of a body: no secret among them.
pub(super) fn shown(given: &Value) -> Value {
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
pub(super) fn group(resource: &Resource) -> ContainerGroup {
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
