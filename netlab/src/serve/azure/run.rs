//! Run Command: as an action, and as a resource.

use std::time::Duration;

use serde_json::{Value, json};

use super::call::Call;
use super::catalog::page;
use super::fault::Refusal;
use super::groups::look;
use super::machines::{Ran, Script};
use super::members;
use super::network::{id as resource_id, not_found};
use super::operation::{Outcome, Task, begun, deletion};
use super::request::Answer;
use super::state::{Resource, State};
use super::{Output, clock, vm};

const COMMAND: &str = "Microsoft.Compute/virtualMachines/runCommands";

/// How many bytes of an output come back: the last ones.
const TAIL: usize = 4096;

/// How long a script may take, unless it is said.
const LIMIT: Duration = Duration::from_secs(90 * 60);

fn tail(text: &str) -> String {
    let bytes = text.as_bytes();
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL)..]).into_owned()
}

fn pairs(values: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let values = values.as_array().into_iter().flatten();
    values.map(|pair| (text(&pair["name"]), text(&pair["value"]))).collect()
}

/// Refuses what cannot run now.
fn must_run(state: &State, id: &str) -> Result<(), Refusal> {
    let machine = state.resource(id).ok_or_else(|| vm::missing(id))?;
    if machine.state == "Creating" || machine.state == "Deleting" || machine.power != "running" {
        let message = "Cannot modify extensions in the VM when the VM is not running.";
        return Err(Refusal::new(409, "OperationNotAllowed", message));
    }
    Ok(())
}

/// `POST …/runCommand`.
pub(super) fn act(call: &Call<'_>) -> Result<Answer, Refusal> {
    let body = call.body(&members::RUN_COMMAND_INPUT)?;
    if !body["commandId"]
        .as_str()
        .is_some_and(|id| id.eq_ignore_ascii_case("RunShellScript"))
    {
        let message = format!("The entity was not found: command {}.", body["commandId"]);
        return Err(Refusal::new(404, "NotFound", message));
    }
    let id = vm::id(call);
    let mut state = call.state();
    must_run(&state, &id)?;
    // It is at no resource: the machine is not what it changes.
    let key = format!("{}#run", id.to_lowercase());
    if state.is_busy(&key) {
        let message =
            "Run command extension execution is in progress. Please wait for completion before invoking a run command.";
        return Err(Refusal::new(409, "Conflict", message));
    }
    let lines = body["script"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let script = Script {
        text: lines.collect::<Vec<_>>().join("\n"),
        parameters: pairs(&body["parameters"]),
        user: None,
        limit: LIMIT,
    };
    let (machines, shape) = (call.shared.machines.clone(), call.shared.settings.output);
    let work = move || Ok(answer(shape, &machines.run(&id, &script)));
    let end = |_: &mut State, answer: Value| {
        Ok(Outcome {
            output: Some(answer.clone()),
            ..Outcome::body(answer)
        })
    };
    let operation = state.begin(call, Task::new(&key, work, end));
    drop(state);
    Ok(begun(call, &operation, 202, None))
}

/// What the action answers.
fn answer(shape: Output, ran: &Ran) -> Value {
    let (stdout, stderr) = (tail(&ran.stdout), tail(&ran.stderr));
    match shape {
        Output::OneEntry => {
            // [guess] What follows on a failure is what the extension for scripts says then.
            let (code, level, word) = match ran.exit {
                0 => (
                    "ProvisioningState/succeeded".to_owned(),
                    "Info",
                    "Enable succeeded: ".to_owned(),
                ),
                exit => (
                    format!("ProvisioningState/failed/{exit}"),
                    "Error",
                    format!("Enable failed: failed to execute command: command terminated with exit status={exit}"),
                ),
            };
            let status = if ran.exit == 0 {
                "Provisioning succeeded"
            } else {
                "Provisioning failed"
            };
            let message = format!("{word}\n[stdout]\n{stdout}\n[stderr]\n{stderr}");
            json!({ "value": [{ "code": code, "level": level, "displayStatus": status, "message": message, "time": null }] })
        }
        Output::TwoEntries => {
            let entry = |name: &str, message: String| {
                json!({ "code": format!("ComponentStatus/{name}/succeeded"), "level": "Info",
                    "displayStatus": "Provisioning succeeded", "message": message })
            };
            json!({ "value": [entry("StdOut", stdout), entry("StdErr", stderr)] })
        }
    }
}

fn missing(id: &str) -> Refusal {
    not_found(id, COMMAND)
}

/// `PUT …/runCommands/x`.
pub(super) fn put(call: &Call<'_>) -> Result<Answer, Refusal> {
    let body = call.body(&members::RUN_COMMAND)?;
    if call.version() < "2020-06-01" {
        let message = "The resource type 'virtualMachines/runCommands' could not be found for this api-version.";
        return Err(Refusal::new(400, "NoRegisteredProviderFound", message));
    }
    let given = &body["properties"];
    let source = given["source"].as_object();
    if source.is_none_or(|source| source.len() != 1) {
        let message = "Exactly one of script, scriptUri and commandId is required in the source of a run command.";
        return Err(Refusal::new(400, "InvalidParameter", message).target("source"));
    }
    let (machine, id, lag) = (vm::id(call), resource_id(call, COMMAND), call.shared.settings.list_lag);
    let key = id.to_lowercase();
    let mut state = call.state();
    must_run(&state, &machine)?;
    // The same again runs nothing again.
    if let Some(existing) = state.resource(&id).filter(|existing| existing.wanted == body) {
        let (json, operation) = (existing.json(&Value::Null), existing.operation.clone());
        drop(state);
        return Ok(match operation {
            Some(operation) => begun(call, &operation, 200, Some(json)),
            None => Answer::json(200, json),
        });
    }
    let is_new = state.resource(&id).is_none();
    let mut resource = Resource::new(COMMAND, id.clone(), &body, lag);
    resource.properties = shown(given);
    resource.beside.remove("sku");
    state.insert(resource);
    let text = |name: &str| given[name].as_str().map(str::to_owned);
    let script = Script {
        text: given["source"]["script"].as_str().unwrap_or_default().to_owned(),
        parameters: [pairs(&given["parameters"]), pairs(&given["protectedParameters"])].concat(),
        user: text("runAsUser"),
        limit: given["timeoutInSeconds"].as_u64().map_or(LIMIT, Duration::from_secs),
    };
    let (shared, started) = (call.shared.clone(), clock::now(state.skew));
    let run = move || {
        view(
            &shared.machines.run(&machine, &script),
            started,
            clock::now(shared.state().skew),
        )
    };
    let must_succeed = given["treatFailureAsDeploymentFailure"] == true;
    let is_background = given["asyncExecution"] == true;
    let at = key.clone();
    let end = move |state: &mut State, seen: Value| {
        let failed = seen["exitCode"].as_i64().filter(|exit| *exit != 0 && must_succeed);
        let command = state.resource_mut(&at).ok_or_else(|| missing(&at))?;
        command.state = "Succeeded";
        // What runs on may have ended before.
        if command.properties["instanceView"].is_null() {
            command.properties["instanceView"] = seen;
        }
        match failed {
            Some(exit) => {
                let message = format!(
                    "VM has reported a failure when processing extension: command terminated with exit status={exit}"
                );
                Err(Refusal::new(409, "VMExtensionProvisioningError", message))
            }
            None => Ok(Outcome::body(command.json(&Value::Null))),
        }
    };
    let operation = if is_background {
        let (shared, at) = (call.shared.clone(), key.clone());
        std::thread::spawn(move || {
            let seen = run();
            if let Some(command) = shared.state().resource_mut(&at) {
                command.properties["instanceView"] = seen;
            }
        });
        let running = json!({ "executionState": "Running", "exitCode": 0, "output": "", "error": "", "startTime": clock::rfc3339(started) });
        state.begin(call, Task::new(&key, || Ok(running), end))
    } else {
        state.begin(call, Task::new(&key, move || Ok(run()), end))
    };
    let json = state.resource(&id).map(without_view);
    drop(state);
    Ok(begun(call, &operation, if is_new { 201 } else { 200 }, json))
}

/// The properties that the service shows of a body.
fn shown(given: &Value) -> Value {
    let mut shown = given.clone();
    if let Some(shown) = shown.as_object_mut() {
        shown.remove("protectedParameters");
        shown.remove("runAsPassword");
    }
    shown
}

/// What came of a script, as the resource shows it.
fn view(ran: &Ran, started: i64, ended: i64) -> Value {
    json!({
        "executionState": if ran.exit == 0 { "Succeeded" } else { "Failed" }, "executionMessage": "", "exitCode": ran.exit,
        "output": tail(&ran.stdout), "error": tail(&ran.stderr),
        "startTime": clock::rfc3339(started), "endTime": clock::rfc3339(ended),
    })
}

fn without_view(command: &Resource) -> Value {
    let mut json = command.json(&Value::Null);
    if let Some(properties) = json["properties"].as_object_mut() {
        properties.remove("instanceView");
    }
    json
}

pub(super) fn show(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = resource_id(call, COMMAND);
    let mut state = call.state();
    look(&mut state, &id);
    let command = state.resource(&id).ok_or_else(|| missing(&id))?;
    if call.request.parameter("$expand").eq_ignore_ascii_case("instanceView") {
        return Ok(Answer::json(200, command.json(&Value::Null)));
    }
    Ok(Answer::json(200, without_view(command)))
}

pub(super) fn list(call: &Call<'_>) -> Answer {
    let within = format!("{}/runcommands/", vm::id(call).to_lowercase());
    let found = call.state().listed(|resource| resource.key().starts_with(&within));
    page(call, found.iter().map(without_view).collect())
}

pub(super) fn delete(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = resource_id(call, COMMAND);
    let state = call.state();
    if state.resource(&vm::id_of(&id)).is_none() {
        return Err(vm::missing(&vm::id_of(&id)));
    }
    if state.resource(&id).is_none() {
        return Ok(Answer::new(204));
    }
    Ok(deletion(call, state, &id.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_of_an_output_come_back_in_both_shapes() {
        let ran = |exit| Ran {
            stdout: format!("{}end", "x".repeat(5000)),
            stderr: "oh".to_owned(),
            exit,
        };
        let kept = format!("{}end", "x".repeat(TAIL - 3));
        let one = answer(Output::OneEntry, &ran(0));
        assert_eq!(
            one["value"][0]["message"],
            format!("Enable succeeded: \n[stdout]\n{kept}\n[stderr]\noh")
        );
        assert_eq!(
            answer(Output::OneEntry, &ran(7))["value"][0]["code"],
            "ProvisioningState/failed/7"
        );
        let two = answer(Output::TwoEntries, &ran(0));
        assert_eq!(
            (&two["value"][0]["message"], &two["value"][1]["message"]),
            (&json!(kept), &json!("oh"))
        );
    }
}
