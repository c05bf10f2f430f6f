//! Errors as they are answered: RFC 9457, `application/problem+json`.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use launch::{launcher::Refusal, order::Invalid};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::request_id;

/// The media type of RFC 9457.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// What went wrong, for programs by `code`, for people by `detail` and `remedy`. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` says more.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    pub kind: String,
    /// The status in words.
    #[schema(example = "Unprocessable Content")]
    pub title: String,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// A stable word for programs.
    #[schema(pattern = "^[a-z][a-z0-9_]*$", example = "invalid")]
    pub code: String,
    /// What is wrong, for people.
    pub detail: String,
    /// The value that is wrong, such as `peers[0].name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub field: Option<String>,
    /// What would mend it, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub remedy: Option<String>,
    /// The request, as the log has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub request_id: Option<String>,
    /// When to try again.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem of this status and code.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: title(status).to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            field: None,
            remedy: None,
            request_id: None,
            retry_after: None,
        }
    }

    /// 401: nobody is signed in.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            .with_remedy("sign in, or send `Authorization: Bearer` with an API token")
    }

    /// 403: who is signed in may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404: there is no such thing, or none that this caller may see.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 422: a value is wrong.
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail).with_field(field)
    }

    /// 429: too much at once.
    pub fn too_many(code: &str, detail: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self {
            retry_after,
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail)
        }
    }

    /// 500: nothing that a caller could mend. What really happened goes to the log, with the request's id.
    pub fn internal(what: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %what, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the hub could not answer this",
        )
        .with_remedy("try again; if it stays, the hub's log has more under this request_id")
    }

    /// 503: the hub is about to end.
    pub fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the hub is about to end")
            .with_remedy("try again in a moment")
            .with_retry_after(Duration::from_secs(5))
    }

    /// The problem with the value that is wrong.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The problem with what would mend it; an empty text is none.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into()).filter(|text| !text.is_empty());
        self
    }

    /// The problem with a time before which trying again is of no use.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// RFC 9110 renamed two statuses that the library still has by their old names.
fn title(status: StatusCode) -> &'static str {
    match status.as_u16() {
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        _ => status.canonical_reason().unwrap_or("Error"),
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let status = self.status();
        self.request_id = self
            .request_id
            .or_else(|| request_id::current().map(|id| id.to_string()));
        let retry_after = self.retry_after;
        let code = self.code.clone();
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if let Some(after) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_secs(after)));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"adit\""),
            );
        }
        response.extensions_mut().insert(Code(code));
        response
    }
}

/// The code of the problem that a response is, for the log.
#[derive(Clone, Debug)]
pub(crate) struct Code(pub(crate) String);

/// Seconds, rounded up: whoever waits so long does not come too early.
fn whole_secs(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        // Where there is more to say than what is wrong, it says what would be right.
        let (wrong, right) = invalid
            .problem
            .split_once("; ")
            .unwrap_or((&invalid.problem, &invalid.problem));
        Self::invalid(&invalid.field, format!("{}: {wrong}", invalid.field)).with_remedy(right)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => Self::not_found("there is no such lease"),
            Refusal::NoPeer => Self::not_found("the lease has no peer of this name"),
            Refusal::Invalid(invalid) => invalid.into(),
            Refusal::Limit { message, retry_after } => Self::too_many("limit", message, retry_after),
            Refusal::Conflict { code, message } => Self::new(StatusCode::CONFLICT, code, message),
            Refusal::KeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "this Idempotency-Key came with another request before",
            )
            .with_field("Idempotency-Key")
            .with_remedy("make a new key for a new request"),
            Refusal::NotReady { message, retry_after } => {
                Self::new(StatusCode::CONFLICT, "not_ready", message).with_retry_after(retry_after)
            }
            Refusal::AlreadyHandedOver => Self::new(
                StatusCode::CONFLICT,
                "already_handed_over",
                "this configuration was handed over before, and is kept nowhere",
            )
            .with_remedy("add a peer of another name: it gets a key of its own"),
            Refusal::Over => {
                Self::new(StatusCode::CONFLICT, "lease_over", "the lease is over").with_remedy("launch another one")
            }
            Refusal::Place(fault) => {
                let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "place_unavailable", fault.message);
                Self {
                    retry_after: fault.after.or(Some(Duration::from_secs(5))),
                    ..problem.with_remedy(fault.remedy)
                }
            }
            Refusal::Store(error) => {
                tracing::error!(error = %error, "the store failed");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store_unavailable",
                    "the hub's store does not answer",
                )
                .with_remedy("try again; the hub's log says more")
                .with_retry_after(Duration::from_secs(5))
            }
            Refusal::Stopping => Self::stopping(),
        }
    }
}
