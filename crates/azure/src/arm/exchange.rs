//! One request and its answer, with all its repeats.

use std::time::{Duration, Instant};

use reqwest::{
    Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};

use super::{Arm, ArmError};
use crate::{
    Answer, Method, RequestId, ServiceError, Token,
    cloud::Audience,
    http::{HttpError, Reply},
    retry::{Action, Event, Retry},
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-ms-correlation-request-id");

impl Arm {
    /// Sends, again where that is right, until there is an answer to be taken.
    pub(super) async fn exchange(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<Vec<u8>>,
        is_repeatable: bool,
    ) -> Result<Answer, ArmError> {
        self.exchange_as(Audience::Arm, method, url, headers, body, is_repeatable)
            .await
    }

    /// The same with a service that tokens of this audience are for.
    pub(super) async fn exchange_as(
        &self,
        audience: Audience,
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
        let mut token = self.tokens.token(audience).await?;
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
                Err((ArmError::Unclear { .. }, _)) => Event::Lost,
                Err((
                    ArmError::Unreadable { .. } | ArmError::Credential(_) | ArmError::Untold(_) | ArmError::Overdue(_),
                    _,
                )) => return heard.map_err(|(error, _)| error),
            };
            match retry.handle(self.clock.now(), event, getrandom::u32().unwrap_or(u32::MAX)) {
                Action::Accept => {
                    return heard.map_err(|(mut error, _)| {
                        if let ArmError::Service { maybe_done, .. } = &mut error {
                            *maybe_done = retry.is_unclear() && !method.is_reading();
                        }
                        error
                    });
                }
                Action::Renew => token = self.tokens.instead_of(&token, audience).await?,
                Action::Wait(wait) => {
                    tracing::debug!(wait_ms = wait.as_millis(), "azure is asked again");
                    self.clock.sleep(wait).await;
                    token = self.tokens.token(audience).await?;
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
        let own_id = RequestId::random();
        if let Some(id) = own_id.and_then(header) {
            request.headers_mut().insert(CLIENT_REQUEST_ID, id);
        }
        *request.body_mut() = body.map(|body| body.to_vec().into());
        let start: Instant = self.clock.now();
        let sent = self.http.send(request, self.limit).await;
        let took_ms = self.clock.now().saturating_duration_since(start).as_millis();
        let own_id = own_id.map(tracing::field::display);
        let (method, path) = (method.as_str(), url.path());
        match sent {
            Ok(reply) => {
                let heard = self.read(&reply, url);
                let azure_id = match &heard {
                    Ok(answer) => answer.request_id.as_deref(),
                    Err((error, _)) => error.service().and_then(|error| error.request_id.as_deref()),
                };
                tracing::debug!(
                    method,
                    path,
                    status = reply.status,
                    took_ms,
                    own_id,
                    azure_id,
                    "azure answered"
                );
                heard
            }
            Err(error) => {
                tracing::debug!(method, path, %error, took_ms, own_id, "azure gave no answer");
                let (host, why) = (host(url), error.to_string());
                Err(match error {
                    HttpError::Unsent(_) => (ArmError::Unreachable { host, why }, None),
                    HttpError::Lost(_) => (ArmError::Unclear { host, why }, None),
                    HttpError::TooLong => (ArmError::Unreadable { host, why }, None),
                })
            }
        }
    }

    fn read(&self, reply: &Reply, url: &Url) -> Result<Answer, (ArmError, Option<Duration>)> {
        let mut answer = Answer::from_headers(reply.status, &reply.headers, self.clock.time_of_day());
        if !(200..300).contains(&reply.status) {
            let error = Box::new(ServiceError {
                retry_after: answer.retry_after,
                ..ServiceError::read(reply.status, &reply.body, answer.request_id)
            });
            let maybe_done = false;
            return Err((ArmError::Service { error, maybe_done }, answer.retry_after));
        }
        match serde_json::from_slice(&reply.body) {
            Ok(body) => answer.body = body,
            // What is accepted, and what is not there, needs no body.
            Err(_) if reply.body.is_empty() || matches!(reply.status, 202 | 204) => {}
            Err(_) => return Err((unreadable(url, "it is no JSON"), None)),
        }
        Ok(answer)
    }

    pub(super) fn unreadable(&self, why: &str) -> ArmError {
        unreadable(self.cloud.management(), why)
    }
}

fn unreadable(url: &Url, why: &str) -> ArmError {
    ArmError::Unreadable {
        host: host(url),
        why: why.to_owned(),
    }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

fn header(id: RequestId) -> Option<HeaderValue> {
    HeaderValue::from_str(&id.to_string()).ok()
}
