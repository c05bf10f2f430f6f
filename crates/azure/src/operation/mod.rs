//! A long-running operation, from the answer that began it to its result. *ARM RPC: async operations.*
//!
//! Pure, and kept between restarts: an [`Operation`] is all that is needed to go on. The caller asks what [`Operation::next`]
//! names, and tells [`Operation::handle`] what came.

mod begin;
mod state;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::state::State;
use crate::{Answer, Cloud, Kind, Method, Path, Request, ServiceError, answer::without_query};

/// Bounds of what the service asks to wait between two questions.
const MIN_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(600);

/// Seconds between questions if the service says nothing, the last for ever. Microsoft's SDKs differ there (Python and Go 30,
/// JavaScript 2, the RPC's text 60); this is what the one for .NET does in management, and short operations end soon by it.
const WAITS: [u64; 8] = [1, 1, 1, 2, 4, 8, 16, 32];

/// A long-running operation that has not ended. `Debug` hides the queries of its URLs, which are signed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    stage: Stage,
    /// What began it.
    purpose: Purpose,
    /// What it is about; `None` if only the operation's own URLs tell of it.
    resource: Option<Resource>,
    /// Where the result is, by `Location`.
    result: Option<String>,
    /// Questions so far.
    polls: u32,
}

/// What is asked next.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// The state of the operation, by `Azure-AsyncOperation`.
    Status(String),
    /// The result, by `Location`: 202 until it is there.
    Location(String),
    /// The resource, until its `provisioningState` is a last one.
    Resource,
    /// The resource, since the operation has succeeded.
    Fetch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Purpose {
    /// The resource as it is to be: its result is the resource.
    Make,
    /// Its end is that the resource is gone.
    Remove,
    /// An action, whose result is its own.
    Act,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Resource {
    path: Path,
    api_version: String,
}

/// What is asked next.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// This URL of the cloud, as it is.
    Url(Url),
    /// A resource.
    Request(Box<Request>),
}

/// How far an operation is.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// It goes on: ask again after this time.
    Running(Operation, Duration),
    /// It succeeded, with this result: the resource, what an action gave, or `Null`.
    Done(Value),
    /// It failed or was cancelled.
    Failed(Box<ServiceError>),
    /// It began, and nothing tells how it ends.
    Untold(Untold),
}

/// Why nothing tells how an operation ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    /// No URL that may be asked.
    #[error("Azure began it, and named no place of its own that tells how it ends")]
    Nowhere,
    /// It is known no more.
    #[error("Azure knows no more of the operation, whose result nothing else tells")]
    Forgotten,
}

impl Operation {
    /// What the answer to `request` began. Not for answers that are errors.
    pub fn begin(request: &Request, answer: &Answer, cloud: &Cloud) -> Progress {
        begin::begin(request, answer, cloud)
    }

    /// What is to be asked.
    pub fn next(&self) -> Question {
        match &self.stage {
            Stage::Status(url) | Stage::Location(url) => match Url::parse(url) {
                Ok(url) => Question::Url(url),
                Err(_) => self.resource_question(),
            },
            Stage::Resource | Stage::Fetch => self.resource_question(),
        }
    }

    /// Whether a restart may ask: the URLs are of this cloud. What was kept may have been kept for another.
    pub fn is_of(&self, cloud: &Cloud) -> bool {
        let urls = match &self.stage {
            Stage::Status(url) | Stage::Location(url) => [Some(url), self.result.as_ref()],
            Stage::Resource | Stage::Fetch => [None, self.result.as_ref()],
        };
        urls.into_iter()
            .flatten()
            .all(|url| Url::parse(url).is_ok_and(|url| cloud.owns(&url)))
    }

    /// Takes what came. An error that only says that it could not be read changes nothing, and is given back.
    ///
    /// # Errors
    ///
    /// The operation as it was, and why nothing was learnt.
    pub fn handle(
        self,
        heard: Result<&Answer, &ServiceError>,
        cloud: &Cloud,
    ) -> Result<Progress, (Self, Box<ServiceError>)> {
        match heard {
            Ok(answer) => match &self.stage {
                Stage::Status(_) => self.status(answer, cloud),
                Stage::Location(_) => Ok(self.location(answer, cloud)),
                Stage::Resource => Ok(self.resource(answer)),
                Stage::Fetch => Ok(Progress::Done(answer.body.clone())),
            },
            Err(error) => self.error(error),
        }
    }

    /// `Azure-AsyncOperation`: `status` says how it is, whatever the status of HTTP.
    fn status(mut self, answer: &Answer, cloud: &Cloud) -> Result<Progress, (Self, Box<ServiceError>)> {
        let told = answer.body.get("status").and_then(Value::as_str);
        match told.map(State::from).or_else(|| State::of_resource(&answer.body)) {
            Some(State::Running) => {
                if let Some(url) = begin::owned(answer.async_operation.as_deref(), cloud) {
                    self.stage = Stage::Status(url);
                }
                Ok(self.running(answer))
            }
            Some(State::Succeeded) => Ok(self.succeeded(answer)),
            Some(State::Ended(end)) => Ok(failed(&end, answer)),
            None => {
                let nothing = ServiceError {
                    status: answer.status,
                    message: "the answer tells no status of the operation".to_owned(),
                    request_id: answer.request_id.clone(),
                    ..ServiceError::default()
                };
                self.forgotten(nothing)
            }
        }
    }

    /// The operation has succeeded by its own account.
    fn succeeded(mut self, answer: &Answer) -> Progress {
        match (self.purpose, self.result.take()) {
            (Purpose::Remove, _) => Progress::Done(Value::Null),
            (Purpose::Make, _) => {
                self.stage = Stage::Fetch;
                Progress::Running(self, Duration::ZERO)
            }
            (Purpose::Act, Some(url)) => {
                self.stage = Stage::Location(url);
                Progress::Running(self, Duration::ZERO)
            }
            (Purpose::Act, None) => {
                let properties = &answer.body["properties"];
                let output = properties.get("output").unwrap_or(properties);
                Progress::Done(output.clone())
            }
        }
    }

    /// `Location`: 202 while it runs, then what the request would have been answered at once.
    fn location(mut self, answer: &Answer, cloud: &Cloud) -> Progress {
        if answer.status == 202 {
            if let Some(url) = begin::owned(answer.location.as_deref(), cloud) {
                self.stage = Stage::Location(url);
            }
            return self.running(answer);
        }
        match (self.purpose, State::of_resource(&answer.body)) {
            (Purpose::Act, _) => Progress::Done(answer.body.clone()),
            (Purpose::Remove, _) => Progress::Done(Value::Null),
            (Purpose::Make, Some(State::Running)) => self.running(answer),
            (Purpose::Make, Some(State::Ended(end))) => failed(&end, answer),
            (Purpose::Make, Some(State::Succeeded)) => Progress::Done(answer.body.clone()),
            (Purpose::Make, None) => {
                self.stage = Stage::Fetch;
                Progress::Running(self, Duration::ZERO)
            }
        }
    }

    fn resource(self, answer: &Answer) -> Progress {
        match (self.purpose, State::of_resource(&answer.body)) {
            // It is gone when it is not there: a state of before may still be shown.
            (Purpose::Remove, _) | (_, Some(State::Running)) => self.running(answer),
            (Purpose::Make | Purpose::Act, Some(State::Ended(end))) => failed(&end, answer),
            (Purpose::Make | Purpose::Act, Some(State::Succeeded) | None) => Progress::Done(answer.body.clone()),
        }
    }

    fn error(self, error: &ServiceError) -> Result<Progress, (Self, Box<ServiceError>)> {
        let is_gone = matches!(error.status, 404 | 410);
        match (&self.stage, self.purpose) {
            (Stage::Status(_), _) | (Stage::Location(_), _) if is_gone => self.forgotten(error.clone()),
            // What the request would have been answered at once, if Azure says it of the operation and not of the question.
            (Stage::Location(_), _) if is_verdict(error) => Ok(Progress::Failed(Box::new(error.clone()))),
            (Stage::Resource, Purpose::Remove) if error.kind() == Kind::NotFound => Ok(Progress::Done(Value::Null)),
            (Stage::Resource | Stage::Fetch, Purpose::Make) if error.kind() == Kind::NotFound => {
                Ok(Progress::Failed(Box::new(error.clone())))
            }
            (Stage::Status(_) | Stage::Location(_) | Stage::Resource | Stage::Fetch, _) => {
                Err((self, Box::new(error.clone())))
            }
        }
    }

    /// Azure tells nothing of the operation (any more): the resource does, if there is one.
    fn forgotten(mut self, error: ServiceError) -> Result<Progress, (Self, Box<ServiceError>)> {
        match (&self.stage, self.result.take()) {
            _ if self.resource.is_some() => {
                self.stage = Stage::Resource;
                Ok(Progress::Running(self, Duration::ZERO))
            }
            (Stage::Status(_), Some(url)) => {
                self.stage = Stage::Location(url);
                Ok(Progress::Running(self, Duration::ZERO))
            }
            // If it was Azure who said so.
            _ if matches!(error.status, 404 | 410) && !error.code.is_empty() => Ok(Progress::Untold(Untold::Forgotten)),
            (_, result) => {
                self.result = result;
                Err((self, Box::new(error)))
            }
        }
    }

    fn running(mut self, answer: &Answer) -> Progress {
        let usual = WAITS[usize::try_from(self.polls).unwrap_or(usize::MAX).min(WAITS.len() - 1)];
        let wait = answer.retry_after.unwrap_or(Duration::from_secs(usual));
        self.polls = self.polls.saturating_add(1);
        Progress::Running(self, wait.clamp(MIN_WAIT, MAX_WAIT))
    }

    fn resource_question(&self) -> Question {
        let (path, version) = match &self.resource {
            Some(resource) => (resource.path.clone(), resource.api_version.as_str()),
            // Only what somebody wrote into the store by hand has neither: Azure answers with an error.
            None => (Path::new(&["subscriptions"]).expect("it is a name"), "2022-12-01"),
        };
        Question::Request(Box::new(Request::new(Method::Get, path, version)))
    }
}

fn failed(end: &str, answer: &Answer) -> Progress {
    let error = ServiceError::of_operation(end, &answer.body, answer.request_id.clone());
    Progress::Failed(Box::new(error))
}

/// Whether an error at `Location` says how the operation ended. Others say that it could not be read.
fn is_verdict(error: &ServiceError) -> bool {
    let is_final = matches!(error.status, 400 | 402 | 405..=407 | 409 | 411..=428);
    is_final && !error.code.is_empty() && error.kind() != Kind::Transient
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stage, url) = match &self.stage {
            Stage::Status(url) => ("Status", Some(url)),
            Stage::Location(url) => ("Location", Some(url)),
            Stage::Resource => ("Resource", None),
            Stage::Fetch => ("Fetch", None),
        };
        f.debug_struct("Operation")
            .field("stage", &stage)
            .field("url", &url.map(|url| without_query(url)))
            .field("purpose", &self.purpose)
            .field("resource", &self.resource)
            .field("polls", &self.polls)
            .finish_non_exhaustive()
    }
}
