//! The client of Resource Manager: sends requests, again where that is right, and follows operations to their end.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{
    Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH},
};
use serde_json::Value;

use crate::{
    Answer, Cloud, Credential, Kind, Method, Operation, Path, Progress, Request, RequestId, ServiceError, Token,
    Tokens,
    clock::{Clock, SystemClock},
    cloud::Audience,
    credential::CredentialError,
    http::{Http, HttpError, Reply},
    operation::{Question, Untold},
    retry::{Action, Event, Retry},
};

/// How long one answer may take: Resource Manager itself gives up on a provider after 60 s.
const LIMIT: Duration = Duration::from_secs(75);

/// How long a request is sent again, unless it is said otherwise.
const PATIENCE: Duration = Duration::from_secs(120);

/// Most pages of a list.
const MAX_PAGES: usize = 1_000;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-ms-correlation-request-id");

/// A client, cheap to clone; clones share connections and tokens.
#[derive(Clone, Debug)]
pub struct Arm {
    cloud: Cloud,
    http: Http,
    tokens: Arc<Tokens>,
    clock: Arc<dyn Clock>,
    patience: Duration,
    correlation: Option<RequestId>,
}

/// This machine's TLS cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot set up HTTPS: {0}")]
pub struct SetUpError(pub(crate) String);

/// Why there is no result. Holds no token, no secret, and no URL.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArmError {
    /// Azure says so.
    #[error("{error}")]
    Service {
        /// What it says.
        error: Box<ServiceError>,
        /// Whether an attempt before, whose answer was lost, may have been carried out. Then a 412 or 404 may be its doing.
        maybe_done: bool,
    },
    /// There is no token.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// No connection came about: nothing was done.
    #[error("cannot reach {host}: {why}")]
    Unreachable {
        /// Resource Manager's.
        host: String,
        /// How it failed.
        why: String,
    },
    /// No answer came, or none that can be read: whether it was done cannot be told.
    #[error("{host} gave no answer: {why}")]
    Unclear {
        /// Resource Manager's.
        host: String,
        /// How it failed.
        why: String,
    },
    /// Nothing tells how an operation ends.
    #[error(transparent)]
    Untold(#[from] Untold),
    /// An operation has not ended in the time it was given. It may go on.
    #[error("Azure has not finished after {} seconds", .0.as_secs())]
    Overdue(Duration),
}

impl ArmError {
    /// What a caller makes of it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service { error, .. } => error.kind(),
            Self::Credential(error) => error.kind(),
            Self::Unreachable { .. } | Self::Unclear { .. } | Self::Overdue(_) | Self::Untold(_) => Kind::Transient,
        }
    }

    /// What the person does about it; `None` if that is not known, or said already.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Service { error, .. } => error.remedy(),
            Self::Credential(_)
            | Self::Unreachable { .. }
            | Self::Unclear { .. }
            | Self::Overdue(_)
            | Self::Untold(_) => None,
        }
    }

    /// What Azure says, if it says anything.
    pub fn service(&self) -> Option<&ServiceError> {
        match self {
            Self::Service { error, .. } => Some(error),
            Self::Credential(_)
            | Self::Unreachable { .. }
            | Self::Unclear { .. }
            | Self::Overdue(_)
            | Self::Untold(_) => None,
        }
    }
}

impl Arm {
    /// For this cloud, as this credential. A proxy is taken from the environment (`HTTPS_PROXY`, `NO_PROXY`).
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up.
    pub fn new(cloud: Cloud, credential: Credential) -> Result<Self, SetUpError> {
        Self::with_clock(cloud, credential, Arc::new(SystemClock))
    }

    /// The same, in another time.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up.
    pub fn with_clock(cloud: Cloud, credential: Credential, clock: Arc<dyn Clock>) -> Result<Self, SetUpError> {
        let http = Http::new()?;
        let tokens = Tokens::new(credential, cloud.clone(), http.clone(), Arc::clone(&clock));
        Ok(Self {
            cloud,
            http,
            tokens: Arc::new(tokens),
            clock,
            patience: PATIENCE,
            correlation: None,
        })
    }

    /// Sends requests again for this long (by default two minutes).
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same for what belongs together, such as a lease: Azure's logs show it under this number.
    #[must_use]
    pub fn correlated(&self, id: RequestId) -> Self {
        Self {
            correlation: Some(id),
            ..self.clone()
        }
    }

    /// Which Azure it is.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// The tokens, for Azure's other services.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Sends a request, and gives the answer if it is none of an error.
    ///
    /// # Errors
    ///
    /// What Azure says; or that nothing was heard.
    pub async fn send(&self, request: &Request) -> Result<Answer, ArmError> {
        let mut headers = HeaderMap::new();
        for (name, value) in [(IF_MATCH, &request.if_match), (IF_NONE_MATCH, &request.if_none_match)] {
            if let Some(value) = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        let body = request.body.as_ref().map(|body| body.to_string().into_bytes());
        let url = request.url(&self.cloud);
        self.exchange(request.method, url, headers, body, request.is_repeatable())
            .await
    }

    /// Sends a request that may begin a long-running operation.
    ///
    /// # Errors
    ///
    /// As [`Arm::send`].
    pub async fn begin(&self, request: &Request) -> Result<Progress, ArmError> {
        let answer = self.send(request).await?;
        Ok(Operation::begin(request, &answer, &self.cloud))
    }

    /// Asks once how an operation is. One that was kept goes on where it was.
    ///
    /// # Errors
    ///
    /// That nothing was learnt: the operation is as it was, and may be asked again.
    pub async fn poll(&self, operation: &Operation) -> Result<Progress, ArmError> {
        let heard = if operation.is_of(&self.cloud) {
            match operation.next() {
                Question::Url(url) => self.exchange(Method::Get, url, HeaderMap::new(), None, true).await,
                Question::Request(request) => self.send(&request).await,
            }
        } else {
            // What was kept names a host of another: it is as if Azure had forgotten it.
            let error = Box::new(ServiceError {
                status: 410,
                ..ServiceError::default()
            });
            Err(ArmError::Service {
                error,
                maybe_done: false,
            })
        };
        let heard = match &heard {
            Ok(answer) => Ok(answer),
            Err(ArmError::Service { error, .. }) => Err(&**error),
            Err(error) => return Err(error.clone()),
        };
        operation
            .clone()
            .handle(heard, &self.cloud)
            .map_err(|(_, error)| ArmError::Service {
                error,
                maybe_done: false,
            })
    }

    /// Follows an operation to its end, for `limit` at most, and gives its result. `keep` is told of every state before it is
    /// waited: who keeps it can go on after a restart by [`Arm::poll`].
    ///
    /// # Errors
    ///
    /// How it failed, or [`ArmError::Overdue`]. Trouble in asking is no failure until the time is over.
    pub async fn finish(
        &self,
        mut progress: Progress,
        limit: Duration,
        mut keep: impl FnMut(&Operation),
    ) -> Result<Value, ArmError> {
        let deadline = self.clock.now() + limit;
        loop {
            let (operation, wait) = match progress {
                Progress::Done(result) => return Ok(result),
                Progress::Failed(error) => {
                    return Err(ArmError::Service {
                        error,
                        maybe_done: false,
                    });
                }
                Progress::Untold(untold) => return Err(untold.into()),
                Progress::Running(operation, wait) => (operation, wait),
            };
            keep(&operation);
            if self.clock.now() + wait >= deadline {
                return Err(ArmError::Overdue(limit));
            }
            if !wait.is_zero() {
                self.clock.sleep(wait).await;
            }
            progress = match self.poll(&operation).await {
                Ok(progress) => progress,
                Err(error) if error.kind() == Kind::Transient => {
                    Progress::Running(operation, wait.max(Duration::from_secs(5)))
                }
                Err(error) => return Err(error),
            };
        }
    }

    /// Begins an operation and follows it to its end.
    ///
    /// # Errors
    ///
    /// As [`Arm::begin`] and [`Arm::finish`].
    pub async fn carry_out(&self, request: &Request, limit: Duration) -> Result<Value, ArmError> {
        let progress = self.begin(request).await?;
        self.finish(progress, limit, |_| {}).await
    }

    /// Reads something; `None` if Azure is sure that there is no such thing.
    ///
    /// # Errors
    ///
    /// As [`Arm::send`], but for that.
    pub async fn find(&self, request: &Request) -> Result<Option<Value>, ArmError> {
        match self.send(request).await {
            Ok(answer) => Ok(Some(answer.body)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a resource group is there (HEAD: an answer without a body, which tells by its status).
    ///
    /// # Errors
    ///
    /// As [`Arm::send`], but for that.
    pub async fn exists(&self, path: impl Into<Path>, api_version: &str) -> Result<bool, ArmError> {
        match self.send(&Request::new(Method::Head, path, api_version)).await {
            Ok(_) => Ok(true),
            Err(ArmError::Service { error, .. }) if error.status == 404 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Everything in a list, over all its pages.
    ///
    /// # Errors
    ///
    /// As [`Arm::send`]; and if a page is none, or leads to another host, or the list has no end: no part of a list is given
    /// for the whole.
    pub async fn list(&self, request: &Request) -> Result<Vec<Value>, ArmError> {
        let mut answer = self.send(request).await?;
        let (mut items, mut seen) = (Vec::new(), HashSet::new());
        loop {
            let Some(Value::Array(page)) = answer.body.get_mut("value").map(Value::take) else {
                return Err(self.unclear("a page of the list has no items"));
            };
            items.extend(page);
            let next = match answer.body.get("nextLink").and_then(Value::as_str) {
                None | Some("") => return Ok(items),
                Some(next) => next,
            };
            let url = Url::parse(next).ok().filter(|url| self.cloud.owns(url));
            let url = url.ok_or_else(|| self.unclear("the list goes on at another host"))?;
            if seen.len() >= MAX_PAGES || !seen.insert(next.to_owned()) {
                return Err(self.unclear("the list has no end"));
            }
            answer = self.exchange(Method::Get, url, HeaderMap::new(), None, true).await?;
        }
    }

    async fn exchange(
        &self,
        method: Method,
        url: Url,
        mut headers: HeaderMap,
        body: Option<Vec<u8>>,
        is_repeatable: bool,
    ) -> Result<Answer, ArmError> {
        headers.insert(ACCEPT, JSON);
        if body.is_some() {
            headers.insert(CONTENT_TYPE, JSON);
        }
        if let Some(id) = self.correlation.and_then(header) {
            headers.insert(CORRELATION_ID, id);
        }
        let mut retry = Retry::new(self.clock.now() + self.patience, is_repeatable);
        let mut token = self.tokens.token(Audience::Arm).await?;
        loop {
            let heard = self.attempt(method, &url, &headers, body.as_deref(), &token).await;
            let event = match &heard {
                Ok(answer) => Event::Answered {
                    status: answer.status,
                    code: None,
                    retry_after: None,
                },
                Err((ArmError::Service { error, .. }, retry_after)) => Event::Answered {
                    status: error.status,
                    code: error.held_up(),
                    retry_after: *retry_after,
                },
                Err((ArmError::Unreachable { .. }, _)) => Event::Unsent,
                Err((
                    ArmError::Unclear { .. } | ArmError::Credential(_) | ArmError::Untold(_) | ArmError::Overdue(_),
                    _,
                )) => Event::Lost,
            };
            match retry.handle(self.clock.now(), event, getrandom::u32().unwrap_or(u32::MAX)) {
                Action::Accept => {
                    return heard.map_err(|(error, _)| match error {
                        ArmError::Service { error, .. } => ArmError::Service {
                            error,
                            maybe_done: retry.is_unclear() && !method.is_reading(),
                        },
                        other => other,
                    });
                }
                Action::Renew => token = self.tokens.instead_of(&token, Audience::Arm).await?,
                Action::Wait(wait) => {
                    tracing::debug!(wait_ms = wait.as_millis(), "azure is asked again");
                    self.clock.sleep(wait).await;
                    token = self.tokens.token(Audience::Arm).await?;
                }
            }
        }
    }

    /// Sends once. Beside an error, how long Azure asks to wait.
    async fn attempt(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
        body: Option<&[u8]>,
        token: &Token,
    ) -> Result<Answer, (ArmError, Option<Duration>)> {
        let verb = match method {
            Method::Get => reqwest::Method::GET,
            Method::Head => reqwest::Method::HEAD,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
            Method::Post => reqwest::Method::POST,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut request = reqwest::Request::new(verb, url.clone());
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert(AUTHORIZATION, token.header());
        let id = RequestId::random();
        if let Some(id) = id.and_then(header) {
            request.headers_mut().insert(CLIENT_REQUEST_ID, id);
        }
        *request.body_mut() = body.map(|body| body.to_vec().into());
        let start: Instant = self.clock.now();
        let sent = self.http.send(request, LIMIT).await;
        let took_ms = self.clock.now().saturating_duration_since(start).as_millis();
        let (method, path) = (method.as_str(), url.path());
        match sent {
            Ok(reply) => {
                let heard = self.read(&reply);
                let azure_id = match &heard {
                    Ok(answer) => answer.request_id.as_deref(),
                    Err((error, _)) => error.service().and_then(|error| error.request_id.as_deref()),
                };
                tracing::debug!(
                    method,
                    path,
                    status = reply.status,
                    took_ms,
                    ?id,
                    azure_id,
                    "azure answered"
                );
                heard
            }
            Err(error) => {
                tracing::debug!(method, path, %error, took_ms, ?id, "azure gave no answer");
                let (host, why) = (self.host(), error.to_string());
                Err(match error {
                    HttpError::Unsent(_) => (ArmError::Unreachable { host, why }, None),
                    HttpError::Lost(_) | HttpError::TooLong => (ArmError::Unclear { host, why }, None),
                })
            }
        }
    }

    fn read(&self, reply: &Reply) -> Result<Answer, (ArmError, Option<Duration>)> {
        let mut answer = Answer::from_headers(reply.status, &reply.headers, self.clock.time_of_day());
        if !(200..300).contains(&reply.status) {
            let error = Box::new(ServiceError::read(reply.status, &reply.body, answer.request_id));
            let maybe_done = false;
            return Err((ArmError::Service { error, maybe_done }, answer.retry_after));
        }
        match serde_json::from_slice(&reply.body) {
            Ok(body) => answer.body = body,
            // What is accepted, and what is not there, needs no body.
            Err(_) if reply.body.is_empty() || matches!(reply.status, 202 | 204) => {}
            Err(_) => return Err((self.unclear("what came is no JSON"), None)),
        }
        Ok(answer)
    }

    fn unclear(&self, why: &str) -> ArmError {
        ArmError::Unclear {
            host: self.host(),
            why: why.to_owned(),
        }
    }

    fn host(&self) -> String {
        self.cloud.management().host_str().unwrap_or_default().to_owned()
    }
}

fn header(id: RequestId) -> Option<HeaderValue> {
    HeaderValue::from_str(&id.to_string()).ok()
}
