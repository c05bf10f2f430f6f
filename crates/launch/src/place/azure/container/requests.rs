//! What is sent to Azure for a container group. Pure.

use azure::{Method, Path, Request, ResourceId, path::NameError};
use serde_json::{Map, Value, json};
use wg::PublicKey;

use super::{
    super::{EXPIRES_AT, INSTANCE, LEASE},
    config::{BlobAccess, Config, Persistence},
};
use crate::{LeaseId, Moment, place::Job};

/// The part of Azure.
pub(super) const NAMESPACE: &str = "Microsoft.ContainerInstance";

/// The version of its API: deployed long ago, in every cloud.
const VERSION: &str = "2023-05-01";

/// The container's name in its group.
pub(super) const CONTAINER: &str = "adit";

/// The program in the image.
const PROGRAM: &str = "/usr/bin/adit";

/// Where a share is mounted, and its name as a volume.
const FOLDER: &str = "/config";
const VOLUME: &str = "config";

pub(super) fn group(config: &Config, lease: LeaseId) -> ResourceId {
    config.site.of_lease(NAMESPACE, "containerGroups", lease)
}

/// Looks at a lease's group.
pub(super) fn find(config: &Config, lease: LeaseId) -> Request {
    Request::new(Method::Get, &group(config, lease), VERSION)
}

/// Reads all that its gateway has said: the line that counts is among the first.
pub(super) fn log(config: &Config, lease: LeaseId) -> Request {
    let path = ["containers", CONTAINER, "logs"]
        .iter()
        .try_fold(group(config, lease).path(), |path, segment| path.join(segment))
        .expect("they are names");
    Request::new(Method::Get, path, VERSION)
}

/// Removes it.
pub(super) fn remove(config: &Config, lease: LeaseId) -> Request {
    Request::new(Method::Delete, &group(config, lease), VERSION)
}

/// Lists all groups of the resource group, with their tags.
pub(super) fn list(config: &Config) -> Result<Request, NameError> {
    let path = ["providers", NAMESPACE, "containerGroups"]
        .iter()
        .try_fold(config.site.group_id().path(), |path, segment| path.join(segment))?;
    Ok(Request::new(Method::Get, path, VERSION))
}

/// What a region offers.
pub(super) fn capabilities(config: &Config, region: &str) -> Result<Request, NameError> {
    in_region(config, region, "capabilities")
}

/// What the subscription has used up there, and may.
pub(super) fn usages(config: &Config, region: &str) -> Result<Request, NameError> {
    in_region(config, region, "usages")
}

fn in_region(config: &Config, region: &str, what: &str) -> Result<Request, NameError> {
    let path = ["providers", NAMESPACE, "locations", region, what]
        .iter()
        .try_fold(Path::from(&config.site.whole()), |path, segment| path.join(segment))?;
    Ok(Request::new(Method::Get, path, VERSION))
}

/// Makes the group of a lease whose gateway is over at `until`.
pub(super) fn make(config: &Config, job: &Job, launcher: &PublicKey, until: Moment) -> Request {
    let mut secrets = Vec::new();
    let port = json!([{"port": port(config, job), "protocol": "UDP"}]);
    let (cpu, memory) = config.resources(job.order.size.as_deref());
    let variables = variables(config, &mut secrets);
    let mut container = json!({
        "image": config.image,
        "command": command(config, job, launcher, until),
        "ports": port,
        "resources": {"requests": {"cpu": cpu, "memoryInGB": memory}},
    });
    let mut properties = json!({
        "osType": "Linux",
        "restartPolicy": config.restart.as_str(),
        "ipAddress": {"type": "Public", "ports": port},
    });
    if !variables.is_empty() {
        container["environmentVariables"] = variables.into();
    }
    if let Some(registry) = &config.registry {
        properties["imageRegistryCredentials"] = json!([{
            "server": registry.server, "username": registry.user, "password": registry.password.danger_text(),
        }]);
        secrets.push("/properties/imageRegistryCredentials/0/password".to_owned());
    }
    if let Some(Persistence::Files {
        account, share, key, ..
    }) = &config.persistence
    {
        container["volumeMounts"] = json!([{"name": VOLUME, "mountPath": FOLDER}]);
        properties["volumes"] = json!([{"name": VOLUME, "azureFile": {
            "shareName": share, "storageAccountName": account, "storageAccountKey": key.danger_text(),
        }}]);
        secrets.push("/properties/volumes/0/azureFile/storageAccountKey".to_owned());
    }
    if let Some(logs) = &config.logs {
        properties["diagnostics"] = json!({"logAnalytics": {
            "workspaceId": logs.workspace_id, "workspaceKey": logs.workspace_key.danger_text(),
            "logType": "ContainerInstanceLogs",
        }});
        secrets.push("/properties/diagnostics/logAnalytics/workspaceKey".to_owned());
    }
    properties["containers"] = json!([{"name": CONTAINER, "properties": container}]);
    let mut body = json!({
        "location": config.site.region(&job.order),
        "tags": {INSTANCE: job.instance, LEASE: job.id.to_string(), EXPIRES_AT: until.to_string()},
        "properties": properties,
    });
    if let Some(identity) = identity(config) {
        body["identity"] = identity;
    }
    let request = Request::new(Method::Put, &group(config, job.id), VERSION).with_body(body);
    secrets
        .iter()
        .fold(request, |request, secret| request.with_secret(secret))
}

/// The port that clients connect to.
pub(super) fn port(config: &Config, job: &Job) -> u16 {
    job.order.port.unwrap_or(config.port)
}

fn command(config: &Config, job: &Job, launcher: &PublicKey, until: Moment) -> Vec<String> {
    let state = config.persistence.as_ref().map(|persistence| match persistence {
        Persistence::Files { .. } => FOLDER.to_owned(),
        Persistence::Blob { container_url, .. } => format!("blob:{container_url}"),
    });
    let options = [
        ("--lease", Some(job.id.to_string())),
        ("--lifetime", Some(job.remaining.as_secs().max(1).to_string())),
        ("--until", Some(until.to_string())),
        ("--listen", Some(port(config, job).to_string())),
        ("--plane", Some("netstack".to_owned())),
        ("--launcher", Some(launcher.to_string())),
        ("--mtu", job.order.mtu.map(|mtu| mtu.to_string())),
        ("--state", state),
    ];
    let options = options
        .into_iter()
        .filter_map(|(name, value)| Some([name.to_owned(), value?]));
    [PROGRAM, "node"]
        .map(str::to_owned)
        .into_iter()
        .chain(options.flatten())
        .collect()
}

/// The environment: secrets, which Azure never shows.
fn variables(config: &Config, secrets: &mut Vec<String>) -> Vec<Value> {
    let Some(persistence) = &config.persistence else {
        return Vec::new();
    };
    let mut named = vec![("ADIT_STATE_KEY", persistence.state_key())];
    if let Persistence::Blob {
        access: BlobAccess::ConnectionString(text),
        ..
    } = persistence
    {
        named.push(("AZURE_STORAGE_CONNECTION_STRING", text));
    }
    for at in 0..named.len() {
        secrets.push(format!(
            "/properties/containers/0/properties/environmentVariables/{at}/secureValue"
        ));
    }
    let variable =
        |(name, value): (&str, &crate::node::Secret)| json!({"name": name, "secureValue": value.danger_text().trim()});
    named.into_iter().map(variable).collect()
}

fn identity(config: &Config) -> Option<Value> {
    let Persistence::Blob {
        access: BlobAccess::Identity { resource_id },
        ..
    } = config.persistence.as_ref()?
    else {
        return None;
    };
    Some(match resource_id {
        None => json!({"type": "SystemAssigned"}),
        Some(id) => {
            let ids = Map::from_iter([(id.clone(), json!({}))]);
            json!({"type": "UserAssigned", "userAssignedIdentities": ids})
        }
    })
}
