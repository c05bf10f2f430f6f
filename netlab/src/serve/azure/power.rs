//! Machines switched on and off, and their serial console.

use serde_json::{Value, json};

use super::call::Call;
use super::fault::Refusal;
use super::operation::{Outcome, Task, begun};
use super::request::Answer;
use super::state::State;
use super::{Shared, vm};

/// `POST …/virtualMachines/x/start` and its kin.
pub(super) fn switch(call: &Call<'_>, action: &str) -> Result<Answer, Refusal> {
    let (power, switched) = match action {
        "start" => ("running", Some(true)),
        "poweroff" => ("stopped", Some(false)),
        "deallocate" => ("deallocated", Some(false)),
        "restart" => ("running", None),
        _ => {
            return Err(Refusal::new(
                404,
                "InvalidResourceType",
                format!("There is no action '{action}'."),
            ));
        }
    };
    let id = vm::id(call);
    let key = id.to_lowercase();
    let mut state = call.state();
    let machine = state.resource(&id).ok_or_else(|| vm::missing(&id))?;
    if machine.operation.is_some() {
        let message = "The request failed due to conflict with a concurrent request.";
        return Err(Refusal::new(409, "Conflict", message));
    }
    let machines = call.shared.machines.clone();
    let work = move || {
        for on in switched.map_or(vec![false, true], |on| vec![on]) {
            machines.power(&id, on);
        }
        Ok(Value::Null)
    };
    let at = key.clone();
    let end = move |state: &mut State, _| {
        if let Some(machine) = state.resource_mut(&at) {
            machine.power = power;
            machine.state = "Succeeded";
        }
        Ok(Outcome::empty(200))
    };
    let operation = state.begin(call, Task::new(&key, work, end));
    if let Some(machine) = state.resource_mut(&key) {
        machine.state = "Updating";
    }
    drop(state);
    Ok(begun(call, &operation, 202, None))
}

/// `POST …/retrieveBootDiagnosticsData`: where the serial console's output is, for whoever has the address.
pub(super) fn console(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = vm::id(call);
    let state = call.state();
    let machine = state.resource(&id).ok_or_else(|| vm::missing(&id))?;
    if machine.wanted["properties"]["diagnosticsProfile"]["bootDiagnostics"]["enabled"] != true {
        let message = format!("Boot diagnostics is not enabled for the VM '{}'.", machine.name);
        return Err(Refusal::new(409, "OperationNotAllowed", message));
    }
    let secret = &machine.properties["vmId"].as_str().unwrap_or_default();
    let at = |what: &str| format!("{}/{what}{id}?sig={secret}", call.base());
    Ok(Answer::json(
        200,
        json!({ "consoleScreenshotBlobUri": at("screenshot"), "serialConsoleLogBlobUri": at("serial") }),
    ))
}

/// `GET` of a serial console's output.
pub(super) fn serial(shared: &Shared, id: &str, signature: &str) -> Answer {
    let found = {
        let state = shared.state();
        let machine = state
            .resource(id)
            .filter(|machine| machine.properties["vmId"] == signature);
        machine.map(|machine| machine.id.clone())
    };
    match found {
        Some(id) => {
            let text = shared.machines.console(&id);
            Answer::json(200, text.into()).header("Content-Type", "text/plain")
        }
        None => Answer::new(404),
    }
}
