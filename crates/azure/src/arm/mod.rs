//! The client of Resource Manager: sends requests, again where that is right, and follows operations to their end.

mod error;
mod exchange;
mod follow;
mod list;

use std::{sync::Arc, time::Duration};

use reqwest::{
    Url,
    header::{HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH},
};
use serde_json::Value;

pub use self::error::{ArmError, SetUpError};
use crate::{
    Answer, Cloud, Credential, Kind, Method, Path, Request, RequestId, Tokens,
    clock::{Clock, SystemClock},
    cloud::Audience,
    http::Http,
};

/// How long one answer may take: Resource Manager itself gives up on a provider after 60 s.
const LIMIT: Duration = Duration::from_secs(75);

/// How long a request is sent again, unless it is said otherwise.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client, cheap to clone; clones share connections and tokens.
#[derive(Clone, Debug)]
pub struct Arm {
    cloud: Cloud,
    http: Http,
    tokens: Arc<Tokens>,
    clock: Arc<dyn Clock>,
    patience: Duration,
    limit: Duration,
    correlation: Option<RequestId>,
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
            limit: LIMIT,
            correlation: None,
        })
    }

    /// Sends requests again for this long (by default two minutes).
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Waits this long for each answer (by default 75 seconds).
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
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
            if let Some(value) = value {
                // What no header may hold is no resource's tag: the condition does not hold, rather than being left out.
                let value = HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
                headers.insert(name, value);
            }
        }
        let body = request.body.as_ref().map(|body| body.to_string().into_bytes());
        let url = request.url(&self.cloud);
        self.exchange(request.method, url, headers, body, request.is_repeatable())
            .await
    }

    /// Posts to another of Azure's services, whose tokens are for this audience. It is sent again as what may be done twice.
    ///
    /// # Errors
    ///
    /// As [`Arm::send`]. To another machine it is sent by HTTPS alone.
    pub async fn post(&self, audience: Audience, url: &Url, body: &Value) -> Result<Answer, ArmError> {
        let body = Some(body.to_string().into_bytes());
        self.exchange_as(audience, Method::Post, url.clone(), HeaderMap::new(), body, true)
            .await
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
            // Something between here and Azure would not number the request.
            Err(ArmError::Service { error, .. }) if error.status == 404 && error.request_id.is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
