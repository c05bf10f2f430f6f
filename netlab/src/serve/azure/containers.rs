//! Container groups.

use serde_json::{Value, json};

use super::call::Call;
use super::catalog::{admit_group, of_kind, page, region};
use super::fault::Refusal;
use super::groups::{check_tags, look};
use super::machines::{ContainerGroup, Life};
use super::members;
use super::network::{id as resource_id, must_stay, not_found};
use super::operation::{Outcome, Task, begun};
use super::recipe::{check, group, list_of, shown};
use super::request::Answer;
use super::state::{Resource, State};
use super::{Shared, clock};

const GROUP: &str = "Microsoft.ContainerInstance/containerGroups";

fn id(call: &Call<'_>) -> String {
    resource_id(call, GROUP)
}

fn missing(id: &str) -> Refusal {
    not_found(id, GROUP)
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

pub(super) fn list(call: &Call<'_>) -> Answer {
    let (_, found) = of_kind(call, GROUP);
    page(call, found.iter().map(|group| group.json(&Value::Null)).collect())
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

pub(super) fn delete(call: &Call<'_>) -> Answer {
    let (id, lag) = (id(call), call.shared.settings.list_lag);
    let key = id.to_lowercase();
    let mut state = call.state();
    let Some(group) = state.resource(&id) else {
        return Answer::new(204);
    };
    if let Some(operation) = group.operation.clone().filter(|_| group.state == "Deleting") {
        drop(state);
        return begun(call, &operation, 202, None);
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
    begun(call, &operation, 202, None)
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
