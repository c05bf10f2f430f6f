//! Operations that take time, and the ways in which a client follows them (*ARM RPC: asynchronous operations*).

use std::fmt;
use std::sync::{Arc, MutexGuard, OnceLock};
use std::time::Instant;

use serde_json::{Value, json};

use super::call::Call;
use super::clock;
use super::fault::{Fault, Refusal};
use super::request::Answer;
use super::state::State;

/// By what a client is told to follow an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `Azure-AsyncOperation` and `Location`.
    Both,
    /// `Azure-AsyncOperation`.
    AsyncOperation,
    /// `Location`.
    Location,
    /// Nothing but the resource's `provisioningState`; where there is no resource to ask, by `Location`.
    State,
    /// It has ended when it is answered.
    AtOnce,
}

/// What an operation came to: a status and a body for `Location`, and what `Azure-AsyncOperation` shows as output.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) status: u16,
    pub(super) body: Option<Value>,
    pub(super) output: Option<Value>,
}

impl Outcome {
    pub(super) const fn empty(status: u16) -> Self {
        Self {
            status,
            body: None,
            output: None,
        }
    }

    pub(super) const fn body(body: Value) -> Self {
        Self {
            status: 200,
            body: Some(body),
            output: None,
        }
    }
}

type Work = Arc<OnceLock<Result<Value, Refusal>>>;
type End = Box<dyn FnOnce(&mut State, Value) -> Result<Outcome, Refusal> + Send>;

/// An operation.
pub(super) struct Operation {
    id: String,
    /// What its addresses carry, so that nobody makes them up.
    secret: String,
    /// The resource that it is at, by its key.
    key: String,
    /// How many looks it takes until it may end.
    looks: u32,
    /// When it ends without being looked at.
    until: Instant,
    started: i64,
    work: Work,
    end: Option<End>,
    fault: Option<Fault>,
    outcome: Option<Result<Outcome, Refusal>>,
    /// How it calls itself while it goes on.
    word: &'static str,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {} at {}: {:?}", self.id, self.key, self.outcome)
    }
}

impl Operation {
    pub(super) const fn look(&mut self) {
        self.looks = self.looks.saturating_sub(1);
    }

    pub(super) const fn has_ended(&self) -> bool {
        self.outcome.is_some()
    }

    fn is_due(&self) -> bool {
        let is_stuck = matches!(self.fault, Some(Fault::NeverEnds));
        let has_time = self.looks == 0 || Instant::now() >= self.until;
        !self.has_ended() && !is_stuck && has_time && self.work.get().is_some()
    }
}

/// What an operation is to do.
pub(super) struct Task {
    /// The key of the resource that it is at.
    pub(super) key: String,
    /// What the machines behind the service do, on a thread of its own.
    pub(super) work: Box<dyn FnOnce() -> Result<Value, Refusal> + Send>,
    /// What the service does when that is done.
    pub(super) end: End,
}

impl Task {
    pub(super) fn new(
        key: &str,
        work: impl FnOnce() -> Result<Value, Refusal> + Send + 'static,
        end: impl FnOnce(&mut State, Value) -> Result<Outcome, Refusal> + Send + 'static,
    ) -> Self {
        Self {
            key: key.to_owned(),
            work: Box::new(work),
            end: Box::new(end),
        }
    }
}

impl State {
    /// Begins an operation, and gives its ID.
    pub(super) fn begin(&mut self, call: &Call<'_>, task: Task) -> String {
        let id = self.uuid();
        let work = Work::default();
        let fault = call.fault.clone();
        if let Some(Fault::OperationFails(refusal)) = &fault {
            let _is_first = work.set(Err(refusal.clone()));
        } else {
            let done = Arc::clone(&work);
            std::thread::spawn(move || done.set((task.work)()));
        }
        let settings = &call.shared.settings;
        let word = if call.namespace() == "microsoft.containerinstance" {
            "Pending"
        } else {
            "InProgress"
        };
        let operation = Operation {
            secret: format!("{:x}", self.number().wrapping_mul(0x5851_F42D_4C95_7F2D)),
            id: id.clone(),
            key: task.key.clone(),
            looks: settings.looks,
            until: Instant::now() + settings.longest,
            started: clock::now(self.skew),
            work,
            end: Some(task.end),
            fault,
            outcome: None,
            word,
        };
        if let Some(resource) = self.resources.get_mut(&task.key) {
            resource.operation = Some(id.clone());
        }
        self.operations.insert(id.clone(), operation);
        id
    }

    /// Whether an operation goes on at this key.
    pub(super) fn is_busy(&self, key: &str) -> bool {
        let mut operations = self.operations.values();
        operations.any(|operation| operation.key == key && !operation.has_ended())
    }

    /// Ends what is due.
    pub(super) fn progress(&mut self) {
        let due: Vec<_> = self
            .operations
            .values()
            .filter(|operation| operation.is_due())
            .collect();
        let due: Vec<_> = due.iter().map(|operation| operation.id.clone()).collect();
        for id in due {
            let Some((key, end, done)) = self.operations.get_mut(&id).and_then(|operation| {
                Some((
                    operation.key.clone(),
                    operation.end.take()?,
                    operation.work.get()?.clone(),
                ))
            }) else {
                continue;
            };
            let outcome = done.and_then(|done| end(self, done));
            // It may hold more than the resource that it is at.
            for resource in self
                .resources
                .values_mut()
                .filter(|resource| resource.operation.as_ref() == Some(&id))
            {
                resource.operation = None;
                if outcome.is_err() {
                    resource.state = if resource.key() == key {
                        "Failed"
                    } else {
                        resource.state
                    };
                }
            }
            if let Some(operation) = self.operations.get_mut(&id) {
                operation.outcome = Some(outcome);
            }
        }
    }

    /// Ends the operation at a resource as canceled, because another takes its place.
    pub(super) fn preempt(&mut self, key: &str) {
        let operation = self
            .resources
            .get_mut(key)
            .and_then(|resource| resource.operation.take());
        if let Some(operation) = operation.and_then(|id| self.operations.get_mut(&id)) {
            let message = "The operation has been preempted by a more recent operation.";
            operation.end = None;
            operation.outcome = Some(Err(Refusal::new(409, "OperationPreempted", message)));
        }
    }
}

/// Begins to delete what has this key, with which nothing else goes.
pub(super) fn deletion(call: &Call<'_>, mut state: MutexGuard<'_, State>, key: &str) -> Answer {
    if let Some(resource) = state.resource_mut(key) {
        resource.state = "Deleting";
    }
    let (gone, lag) = (key.to_owned(), call.shared.settings.list_lag);
    let end = move |state: &mut State, _| {
        state.remove(&gone, lag);
        Ok(Outcome::empty(204))
    };
    let operation = state.begin(call, Task::new(key, || Ok(Value::Null), end));
    drop(state);
    begun(call, &operation, 202, None)
}

/// The answer to a request that began an operation.
pub(super) fn begun(call: &Call<'_>, id: &str, status: u16, body: Option<Value>) -> Answer {
    let way = call.way();
    if way == Way::AtOnce {
        return finish(call, id, status);
    }
    let (way, settings) = (
        if way == Way::State && body.is_none() {
            Way::Location
        } else {
            way
        },
        &call.shared.settings,
    );
    let mut answer = Answer::new(status);
    answer.body = body;
    if matches!(way, Way::Both | Way::AsyncOperation) {
        answer = answer.header("Azure-AsyncOperation", address(call, id, false));
    }
    if matches!(way, Way::Both | Way::Location) {
        answer = answer.header("Location", address(call, id, true));
    }
    match (way, settings.retry_after) {
        (Way::State, _) | (_, None) => answer,
        (_, Some(secs)) => answer.header("Retry-After", secs.to_string()),
    }
}

/// Waits for the operation's end, and answers with what came of it.
fn finish(call: &Call<'_>, id: &str, status: u16) -> Answer {
    let outcome = crate::wait_until("an operation ends", call.shared.settings.patience, || {
        let mut state = call.state();
        if let Some(operation) = state.operations.get_mut(id) {
            operation.looks = 0;
        }
        state.progress();
        state.operations.get(id)?.outcome.clone()
    });
    match outcome {
        // What was made says so, and what was asked is answered.
        Ok(outcome) => Answer {
            status: if status == 201 { 201 } else { outcome.status },
            body: outcome.body,
            ..Answer::new(200)
        },
        Err(refusal) => refusal.answer(),
    }
}

/// Where an operation is asked for. It is long, and nobody can guess it.
fn address(call: &Call<'_>, id: &str, is_location: bool) -> String {
    let state = call.state();
    let operation = state.operations.get(id);
    let (secret, version) = (operation.map_or("", |operation| &operation.secret), call.version());
    let base = format!("{}/subscriptions/{}", call.base(), call.shared.settings.subscription);
    let namespace = match &*call.namespace() {
        "microsoft.compute" => "Microsoft.Compute",
        "microsoft.network" => "Microsoft.Network",
        "microsoft.containerinstance" => "Microsoft.ContainerInstance",
        _ => {
            return format!(
                "{base}/operationresults/{id}?t={secret}&c={}&api-version={version}",
                padding()
            );
        }
    };
    let location = operation.and_then(|operation| state.resources.get(&operation.key)?.location.clone());
    let location = location.unwrap_or_else(|| call.shared.settings.location.clone());
    let word = if is_location && namespace == "Microsoft.Network" {
        "operationResults"
    } else {
        "operations"
    };
    let monitor = if is_location { "&monitor=true" } else { "" };
    format!(
        "{base}/providers/{namespace}/locations/{location}/{word}/{id}?t={secret}{monitor}&c={}&api-version={version}",
        padding()
    )
}

/// What makes an address long: the service's carry certificates, and a client is to take 4 KB.
fn padding() -> String {
    "MIIHpTCCBo2gAwIBAgITfw".repeat(80)
}

/// `GET` of an operation's address.
pub(super) fn status(call: &Call<'_>, id: &str) -> Result<Answer, Refusal> {
    let missing = || Refusal::new(404, "OperationNotFound", format!("The operation '{id}' was not found."));
    let settings = &call.shared.settings;
    let is_location = call.request.path().to_lowercase().contains("/operationresults/")
        || call.request.parameter("monitor") == "true";
    let mut state = call.state();
    let now = clock::now(state.skew);
    let operation = state.operations.get_mut(id).ok_or_else(missing)?;
    let is_forgotten = matches!(operation.fault, Some(Fault::OperationForgotten));
    if operation.secret != call.request.parameter("t") || is_forgotten {
        return Err(missing());
    }
    let outcome = operation.outcome.clone();
    if outcome.is_none() {
        operation.look();
    }
    let (started, word) = (operation.started, operation.word);
    drop(state);
    let wait = |answer: Answer| match settings.retry_after {
        Some(secs) => answer.header("Retry-After", secs.to_string()),
        None => answer,
    };
    if is_location {
        return match outcome {
            None => Ok(wait(
                Answer::new(202).header("Location", format!("{}{}", call.base(), call.request.target)),
            )),
            Some(Ok(outcome)) => Ok(Answer {
                body: outcome.body,
                ..Answer::new(outcome.status)
            }),
            Some(Err(refusal)) => Err(refusal),
        };
    }
    let path = call.request.path();
    let mut body = json!({ "id": path, "name": id, "startTime": clock::rfc3339(started), "status": word });
    match outcome {
        None => return Ok(wait(Answer::json(200, body))),
        Some(Ok(outcome)) => {
            body["status"] = "Succeeded".into();
            body["percentComplete"] = 100.into();
            if let Some(output) = outcome.output {
                body["properties"] = json!({ "output": output });
            }
        }
        Some(Err(refusal)) => {
            let is_canceled = refusal.code == "OperationPreempted";
            body["status"] = if is_canceled { "Canceled" } else { "Failed" }.into();
            body["error"] = refusal.error();
        }
    }
    body["endTime"] = clock::rfc3339(now).into();
    Ok(Answer::json(200, body))
}
