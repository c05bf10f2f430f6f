//! What is looked at before anything is made: read only, each with its remedy.

use azure::{Arm, Kind, Method, Path, Request};
use serde_json::Value;

use super::{
    fault::{fault, refused},
    site::Site,
};
use crate::place::{Fault, FaultKind};

/// The version of Resource Manager's own API.
const RESOURCES: &str = "2022-12-01";

/// The version of the API of roles.
const ROLES: &str = "2022-04-01";

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What, for people: `the resource group adit`.
    pub name: String,
    /// How it is, or what is wrong with it and what mends that.
    pub result: Result<String, Fault>,
}

impl Check {
    pub(super) fn new(name: impl Into<String>, result: Result<String, Fault>) -> Self {
        Self {
            name: name.into(),
            result,
        }
    }
}

/// The group is there.
pub(super) async fn group(arm: &Arm, site: &Site) -> Check {
    let name = format!("the resource group {}", site.group());
    let request = Request::new(Method::Get, site.group_id(), RESOURCES);
    let result = match arm.find(&request).await {
        Ok(Some(found)) => Ok(format!(
            "is there, in {}",
            found["location"].as_str().unwrap_or_default()
        )),
        Ok(None) => Err(refused(
            "ResourceGroupNotFound",
            format!(
                "there is no resource group {} in the subscription {}",
                site.group(),
                site.subscription()
            ),
            &format!(
                "az group create --name {} --location {}",
                site.group(),
                site.regions()[0]
            ),
        )),
        Err(error) => Err(fault(&error)),
    };
    Check::new(name, result)
}

/// The region is one of the subscription's.
pub(super) async fn region(arm: &Arm, site: &Site, region: &str) -> Check {
    let listed = match azure::location::request(site.subscription()) {
        Ok(request) => azure::location::list(arm, &request)
            .await
            .map_err(|error| fault(&error)),
        Err(error) => Err(refused("InvalidSubscriptionId", error.to_string(), "")),
    };
    let result = listed.and_then(|listed| match listed.iter().find(|found| found.name == region) {
        Some(found) => Ok(found.title.clone()),
        None => Err(refused(
            "LocationNotAvailable",
            format!("the subscription has no region {region}"),
            "choose one of az account list-locations --output table",
        )),
    });
    Check::new(format!("the region {region}"), result)
}

/// The subscription uses a part of Azure, such as `Microsoft.Compute`.
pub(super) async fn provider(arm: &Arm, site: &Site, namespace: &str) -> Check {
    let path = Path::from(&site.whole())
        .join("providers")
        .and_then(|path| path.join(namespace));
    let result = match path {
        Ok(path) => match arm.send(&Request::new(Method::Get, path, RESOURCES)).await {
            Ok(answer) => registered(namespace, &answer.body),
            Err(error) => Err(fault(&error)),
        },
        Err(error) => Err(refused("InvalidNamespace", error.to_string(), "")),
    };
    Check::new(format!("the provider {namespace}"), result)
}

fn registered(namespace: &str, found: &Value) -> Result<String, Fault> {
    match found["registrationState"].as_str().unwrap_or_default() {
        state if state.eq_ignore_ascii_case("Registered") => Ok("registered".to_owned()),
        state => Err(refused(
            "MissingSubscriptionRegistration",
            format!("the subscription does not use {namespace} yet: it is {state}"),
            &format!("az provider register --namespace {namespace}, and wait some minutes"),
        )),
    }
}

/// Who is signed in may do all of this in the group. What applies to the whole subscription is asked for there by Azure alone.
pub(super) async fn permissions(arm: &Arm, site: &Site, actions: &[&str]) -> Check {
    let name = format!("permissions in the resource group {}", site.group());
    let path = ["providers", "Microsoft.Authorization", "permissions"]
        .iter()
        .try_fold(group_path(site), |path, segment| path.join(segment));
    let Ok(path) = path else {
        return Check::new(name, Err(refused("InvalidGroup", "the group's name is none", "")));
    };
    let result = match arm.list(&Request::new(Method::Get, path, ROLES)).await {
        Ok(granted) => match missing(&granted, actions).as_slice() {
            [] => Ok(format!("all {} actions are allowed", actions.len())),
            missing => Err(refused(
                "AuthorizationFailed",
                format!("who is signed in may not {}", missing.join(", ")),
                &format!(
                    "give it a role with these actions: az role assignment create --assignee WHO --role ROLE --scope {}",
                    site.group_id()
                ),
            )),
        },
        Err(error) if error.kind() == Kind::NotFound => Err(refused("ResourceGroupNotFound", error.to_string(), "")),
        Err(error) => Err(fault(&error)),
    };
    Check::new(name, result)
}

/// A group's path as the parent of resources: Azure writes it otherwise than that of the group itself.
fn group_path(site: &Site) -> Path {
    Path::new(&["subscriptions", site.subscription(), "resourceGroups", site.group()]).expect("both are names")
}

/// The actions that no role allows.
fn missing<'a>(granted: &[Value], actions: &[&'a str]) -> Vec<&'a str> {
    let has = |role: &Value, name: &str, action: &str| {
        let patterns = role[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        patterns.into_iter().any(|pattern| covers(pattern, action))
    };
    let is_allowed = |action: &str| {
        granted
            .iter()
            .any(|role| has(role, "actions", action) && !has(role, "notActions", action))
    };
    actions.iter().copied().filter(|action| !is_allowed(action)).collect()
}

/// Whether a role's pattern covers an action; `*` stands for anything (*Azure RBAC: role definitions, wildcards*).
fn covers(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| action.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, inner)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in inner {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A check that nothing can be said of at this moment.
pub(super) fn unclear(name: &str, message: &str) -> Check {
    Check::new(name, Err(Fault::new(FaultKind::Unclear, "azure_unreadable", message)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_roles_pattern_covers_actions_as_azure_means_it() {
        let write = "Microsoft.Compute/virtualMachines/write";
        for (pattern, action, does) in [
            ("*", write, true),
            ("Microsoft.Compute/*", write, true),
            ("microsoft.compute/virtualmachines/*", write, true),
            ("*/write", write, true),
            ("Microsoft.Compute/*/write", write, true),
            (write, write, true),
            ("*/read", write, false),
            ("Microsoft.Network/*", write, false),
            ("Microsoft.Compute/virtualMachines", write, false),
            ("Microsoft.Compute/virtualMachines/write/x", write, false),
        ] {
            assert_eq!(covers(pattern, action), does, "{pattern}");
        }
        let granted = [
            json!({"actions": ["*"], "notActions": ["Microsoft.Compute/*/write"]}),
            json!({"actions": ["*/delete"]}),
        ];
        assert_eq!(missing(&granted, &[write, "A/b/read", "A/b/delete"]), [write]);
        assert_eq!(missing(&granted[1..], &["A/b/read", "A/b/delete"]), ["A/b/read"]);
        assert_eq!(missing(&[], &["A/b/read"]), ["A/b/read"]);
    }
}
