//! The subscription and its regions, resource groups, providers, permissions and the list of all resources.

use serde_json::{Value, json};

use super::call::Call;
use super::catalog::{page, region, visible};
use super::fault::Refusal;
use super::members;
use super::operation::{Outcome, Task, begun};
use super::request::Answer;
use super::state::{Resource, State, location};

/// The type of a resource group.
pub(super) const GROUP: &str = "Microsoft.Resources/resourceGroups";

/// The providers that there are, and their types.
const PROVIDERS: [(&str, &[&str]); 5] = [
    (
        "Microsoft.Compute",
        &["virtualMachines", "virtualMachines/runCommands", "disks"],
    ),
    (
        "Microsoft.Network",
        &[
            "virtualNetworks",
            "networkSecurityGroups",
            "publicIPAddresses",
            "networkInterfaces",
        ],
    ),
    ("Microsoft.ContainerInstance", &["containerGroups"]),
    ("Microsoft.MarketplaceOrdering", &["agreements"]),
    ("Microsoft.Resources", &["resourceGroups"]),
];

/// The ID of the resource group that a path names.
pub(super) fn id(call: &Call<'_>) -> String {
    let name = call.segment(3).unwrap_or_default();
    let id = format!(
        "/subscriptions/{}/resourceGroups/{name}",
        call.shared.settings.subscription
    );
    let state = call.state();
    // As it was written when it was made.
    state.resource(&id).map_or(id, |group| group.id.clone())
}

/// Refuses what is in a group that is not there, or on its way out.
pub(super) fn must_be(call: &Call<'_>) -> Result<(), Refusal> {
    let (id, name) = (id(call), call.segment(3).unwrap_or_default());
    let state = call.state();
    let Some(group) = state.resource(&id) else {
        return Err(missing(name));
    };
    if group.state == "Deleting" && call.request.method == "PUT" {
        let message =
            format!("The resource group '{name}' is in deprovisioning state and cannot perform this operation.");
        return Err(Refusal::new(409, "ResourceGroupBeingDeleted", message));
    }
    Ok(())
}

fn missing(name: &str) -> Refusal {
    Refusal::new(
        404,
        "ResourceGroupNotFound",
        format!("Resource group '{name}' could not be found."),
    )
}

/// Refuses tags that the service does not take.
pub(super) fn check_tags(body: &Value) -> Result<(), Refusal> {
    let tags = body["tags"].as_object();
    let tags = tags.into_iter().flatten();
    for (name, value) in tags.clone() {
        if name.len() > 512 || value.as_str().is_some_and(|value| value.len() > 256) {
            return Err(Refusal::new(
                400,
                "InvalidTagNameOrValueLength",
                format!("The tag '{name}' or its value is too long."),
            ));
        }
        if name.contains(['<', '>', '%', '&', '\\', '?', '/']) {
            let message = format!("The tag names '{name}' have reserved characters '<,>,%,&,\\,?,/'.");
            return Err(Refusal::new(400, "InvalidTagNameCharacters", message));
        }
    }
    if tags.count() > 50 {
        return Err(Refusal::new(
            400,
            "TooManyTags",
            "Too many tags on the resource. Max allowed number is 50.",
        ));
    }
    Ok(())
}

pub(super) fn put(call: &Call<'_>) -> Result<Answer, Refusal> {
    let body = call.body(&members::RESOURCE_GROUP)?;
    let at = body["location"].as_str().unwrap_or_default();
    region(call, at)?;
    check_tags(&body)?;
    let name = call.segment(3).unwrap_or_default();
    let is_fit = |letter: char| letter.is_alphanumeric() || "-_.()".contains(letter);
    if name.len() > 90 || name.ends_with('.') || !name.chars().all(is_fit) {
        let message = format!("The provided resource group name '{name}' has these invalid characters or is too long.");
        return Err(Refusal::new(400, "InvalidResourceGroup", message));
    }
    let id = id(call);
    let lag = call.shared.settings.list_lag;
    let mut state = call.state();
    let status = match state.resource_mut(&id) {
        Some(group) if group.state == "Deleting" => {
            let message =
                format!("The resource group '{name}' is in deprovisioning state and cannot perform this operation.");
            return Err(Refusal::new(409, "ResourceGroupBeingDeleted", message));
        }
        Some(group) if group.location != Some(location(at)) => {
            let message = format!(
                "Invalid resource group location '{at}'. The Resource group already exists in location '{}'.",
                group.location.as_deref().unwrap_or_default()
            );
            return Err(Refusal::new(409, "InvalidResourceGroupLocation", message));
        }
        Some(group) => {
            group.tags = body["tags"].is_object().then(|| body["tags"].clone());
            200
        }
        None => {
            let mut group = Resource::new(GROUP, id.clone(), &body, lag);
            group.state = "Succeeded";
            state.insert(group);
            201
        }
    };
    let group = state.resource(&id).map(|group| group.json(&Value::Null));
    Ok(Answer::json(status, group.unwrap_or_default()))
}

pub(super) fn patch(call: &Call<'_>) -> Result<Answer, Refusal> {
    let body = call.body(&members::CONTAINER_GROUP_UPDATE)?;
    check_tags(&body)?;
    let id = id(call);
    let mut state = call.state();
    let group = state
        .resource_mut(&id)
        .ok_or_else(|| missing(call.segment(3).unwrap_or_default()))?;
    if body["tags"].is_object() {
        group.tags = Some(body["tags"].clone());
    }
    Ok(Answer::json(200, group.json(&Value::Null)))
}

pub(super) fn show(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = id(call);
    let mut state = call.state();
    look(&mut state, &id);
    let group = state
        .resource(&id)
        .ok_or_else(|| missing(call.segment(3).unwrap_or_default()))?;
    Ok(Answer::json(200, group.json(&Value::Null)))
}

/// Counts as a look at the operation that is at a resource, and ends it if it is due.
pub(super) fn look(state: &mut State, id: &str) {
    let operation = state.resource(id).and_then(|resource| resource.operation.clone());
    if let Some(operation) = operation.and_then(|id| state.operations.get_mut(&id)) {
        operation.look();
    }
}

pub(super) fn head(call: &Call<'_>) -> Answer {
    let id = id(call);
    let is_there = call.state().resource(&id).is_some();
    Answer::new(if is_there { 204 } else { 404 })
}

pub(super) fn delete(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = id(call);
    let key = id.to_lowercase();
    let machines = call.shared.machines.clone();
    let lag = call.shared.settings.list_lag;
    let mut state = call.state();
    let group = state
        .resource_mut(&id)
        .ok_or_else(|| missing(call.segment(3).unwrap_or_default()))?;
    group.state = "Deleting";
    let real: Vec<_> = state
        .below(&key)
        .into_iter()
        .filter(|resource| {
            [
                "Microsoft.Compute/virtualMachines",
                "Microsoft.ContainerInstance/containerGroups",
            ]
            .contains(&resource.kind)
        })
        .map(|resource| resource.id)
        .collect();
    let at = key.clone();
    let work = move || {
        for id in real {
            machines.removed(&id);
        }
        Ok(Value::Null)
    };
    let end = move |state: &mut State, _| {
        state.remove(&at, lag);
        Ok(Outcome::empty(200))
    };
    let operation = state.begin(call, Task::new(&key, work, end));
    drop(state);
    Ok(begun(call, &operation, 202, None))
}

/// What a filter such as `tagName eq 'a' and tagValue eq 'b'` asks for.
#[derive(Debug, Default)]
struct Filter {
    tag: Option<String>,
    value: Option<String>,
    kind: Option<String>,
    group: Option<String>,
}

impl Filter {
    fn read(text: &str) -> Result<Self, Refusal> {
        let invalid = || {
            let message = format!("Invalid $filter '{text}' specified in the query string.");
            Refusal::new(400, "InvalidFilterInQueryString", message)
        };
        let mut filter = Self::default();
        for term in text.split(" and ").filter(|term| !term.trim().is_empty()) {
            let (name, value) = term.split_once(" eq ").ok_or_else(invalid)?;
            let value = value
                .trim()
                .strip_prefix('\'')
                .and_then(|value| value.strip_suffix('\''))
                .ok_or_else(invalid)?;
            let value = Some(value.replace("''", "'"));
            match name.trim() {
                "tagName" | "tagname" => filter.tag = value,
                "tagValue" | "tagvalue" => filter.value = value,
                "resourceType" => filter.kind = value,
                "resourceGroup" => filter.group = value,
                _ => return Err(invalid()),
            }
        }
        // By tag and by anything else at once is refused.
        let is_mixed = filter.tag.is_some() && (filter.kind.is_some() || filter.group.is_some());
        if is_mixed || filter.value.is_some() && filter.tag.is_none() {
            Err(invalid())
        } else {
            Ok(filter)
        }
    }

    fn takes(&self, resource: &Resource) -> bool {
        let has = |wanted: &str| {
            let tags = resource.tags.as_ref().and_then(Value::as_object).into_iter().flatten();
            let mut named = tags.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            named.any(|(_, value)| self.value.as_deref().is_none_or(|wanted| value == wanted))
        };
        let is_kind = |kind: &String| resource.kind.eq_ignore_ascii_case(kind);
        let is_in = |group: &String| {
            resource
                .id
                .split('/')
                .nth(4)
                .is_some_and(|name| name.eq_ignore_ascii_case(group))
        };
        self.tag.as_deref().is_none_or(has)
            && self.kind.as_ref().is_none_or(is_kind)
            && self.group.as_ref().is_none_or(is_in)
    }
}

pub(super) fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let filter = Filter::read(call.request.parameter("$filter"))?;
    let groups = call
        .state()
        .listed(|resource| resource.kind == GROUP && filter.takes(resource));
    let groups = visible(call, groups);
    Ok(page(
        call,
        groups.iter().map(|group| group.json(&Value::Null)).collect(),
    ))
}

/// The list of all resources, which says little of each; without their tags, if it was asked for by tag.
pub(super) fn resources(call: &Call<'_>) -> Result<Answer, Refusal> {
    let filter = Filter::read(call.request.parameter("$filter"))?;
    let within = call.segment(3).map(|_| format!("{}/", id(call).to_lowercase()));
    let is_shown = |resource: &Resource| {
        let is_child = resource.kind.matches('/').count() > 1;
        let is_in = within.as_ref().is_none_or(|within| resource.key().starts_with(within));
        resource.kind != GROUP && !is_child && is_in && filter.takes(resource)
    };
    let found = call.state().listed(is_shown);
    let found = visible(call, found);
    let shown = found.iter().map(|resource| {
        let mut json = resource.json(&Value::Null);
        let all = json.as_object_mut().expect("a resource is an object");
        all.retain(|name, _| ["id", "name", "type", "location", "tags", "sku", "plan", "zones"].contains(&&**name));
        if filter.tag.is_some() {
            all.remove("tags");
        }
        json
    });
    Ok(page(call, shown.collect()))
}

pub(super) fn subscription(call: &Call<'_>) -> Answer {
    let settings = &call.shared.settings;
    let body = json!({
        "id": format!("/subscriptions/{}", settings.subscription), "subscriptionId": settings.subscription,
        "displayName": "A subscription", "tenantId": settings.tenant, "state": "Enabled", "authorizationSource": "RoleBased",
        "subscriptionPolicies": { "locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off" },
    });
    Answer::json(200, body)
}

pub(super) fn locations(call: &Call<'_>) -> Answer {
    let settings = &call.shared.settings;
    let value = settings.locations.iter().map(|name| {
        json!({ "id": format!("/subscriptions/{}/locations/{name}", settings.subscription), "name": name, "displayName": name,
            "regionalDisplayName": name, "type": "Region",
            "metadata": { "regionType": "Physical", "regionCategory": "Recommended", "geographyGroup": "Europe" } })
    });
    Answer::json(200, json!({ "value": value.collect::<Vec<_>>() }))
}

fn provider_json(call: &Call<'_>, namespace: &str, kinds: &[&str]) -> Value {
    let settings = &call.shared.settings;
    let is_registered = !call.state().unregistered.contains(&namespace.to_lowercase());
    let kinds = kinds
        .iter()
        .map(|kind| json!({ "resourceType": kind, "locations": settings.locations, "apiVersions": ["2024-11-01"] }));
    json!({
        "id": format!("/subscriptions/{}/providers/{namespace}", settings.subscription), "namespace": namespace,
        "registrationState": if is_registered { "Registered" } else { "NotRegistered" },
        "registrationPolicy": "RegistrationRequired", "resourceTypes": kinds.collect::<Vec<_>>(),
    })
}

pub(super) fn providers(call: &Call<'_>) -> Answer {
    let value: Vec<_> = PROVIDERS
        .iter()
        .map(|(namespace, kinds)| provider_json(call, namespace, kinds))
        .collect();
    page(call, value)
}

pub(super) fn provider(call: &Call<'_>) -> Result<Answer, Refusal> {
    let name = call.segment(3).unwrap_or_default();
    let found = PROVIDERS
        .iter()
        .find(|(namespace, _)| namespace.eq_ignore_ascii_case(name));
    let (namespace, kinds) = found.ok_or_else(|| {
        let message = format!("The resource namespace '{name}' is invalid.");
        Refusal::new(404, "InvalidResourceNamespace", message)
    })?;
    Ok(Answer::json(200, provider_json(call, namespace, kinds)))
}

/// Registers a provider. It says that it is on its way, and is registered when it is asked for next.
pub(super) fn register(call: &Call<'_>) -> Result<Answer, Refusal> {
    if !call.request.body.is_empty() {
        call.body(&members::PROVIDER_REGISTRATION)?;
    }
    let answer = provider(call)?;
    let was_not = call
        .state()
        .unregistered
        .remove(&call.segment(3).unwrap_or_default().to_lowercase());
    let mut body = answer.body.unwrap_or_default();
    if was_not {
        body["registrationState"] = "Registering".into();
    }
    Ok(Answer::json(200, body))
}

pub(super) fn permissions(call: &Call<'_>) -> Answer {
    let scope = format!("/{}", call.request.segments.join("/").to_lowercase());
    let state = call.state();
    let roles = state.roles.iter().filter(|(at, _)| scope.starts_with(&**at));
    let value = roles
        .map(|(_, actions)| json!({ "actions": actions, "notActions": [], "dataActions": [], "notDataActions": [] }));
    Answer::json(200, json!({ "value": value.collect::<Vec<_>>() }))
}
