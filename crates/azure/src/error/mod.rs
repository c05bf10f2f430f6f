//! What Azure says when it does not do what it was asked.

mod read;
mod remedy;

use std::{fmt, time::Duration};

pub use self::remedy::{Remedy, remedy};
use crate::retry::is_held_up;

/// What a caller makes of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It may be asked again, soon; or it cannot be told.
    Transient,
    /// Something else is there, or is under way.
    Conflict,
    /// Who asks may not do it.
    Denied,
    /// It is not done as it was asked.
    Refused,
    /// There is no such thing, and Azure is sure of it.
    NotFound,
}

/// An error of the service, with all that it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceError {
    /// The status of HTTP; 0 if it is how an operation ended.
    pub status: u16,
    /// Azure's word for it; empty if the answer had none.
    pub code: String,
    /// For people.
    pub message: String,
    /// What it is about.
    pub target: Option<String>,
    /// What lies behind it.
    pub details: Vec<Detail>,
    /// Azure's number for the request.
    pub request_id: Option<String>,
    /// How long Azure asks to wait before it is asked again.
    pub retry_after: Option<Duration>,
}

/// What lies behind an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Azure's word for it.
    pub code: String,
    /// For people.
    pub message: String,
    /// What it is about.
    pub target: Option<String>,
    /// What lies behind that.
    pub details: Vec<Self>,
    /// The policies that forbid it.
    pub policies: Vec<String>,
}

impl ServiceError {
    /// Reads the body of an answer, whatever it is: Azure's envelope, a bare one, other text, nothing.
    pub fn read(status: u16, body: &[u8], request_id: Option<String>) -> Self {
        read::body(status, body, request_id)
    }

    /// How an operation ended that did not succeed: `end` is its last state, `body` the answer that told.
    pub fn of_operation(end: &str, body: &serde_json::Value, request_id: Option<String>) -> Self {
        read::operation(end, body, request_id)
    }

    /// Code and message of what it is really about: of the first of them, from outside to inside, for which there is a
    /// remedy; else of the innermost.
    pub fn cause(&self) -> (&str, &str) {
        let known = self.all().find(|(code, _)| remedy::find(code).is_some());
        let innermost = || {
            let mut last = (self.code.as_str(), self.message.as_str());
            let mut details = &self.details;
            while let Some(detail) = details.first() {
                if !detail.message.is_empty() {
                    last = (&detail.code, &detail.message);
                }
                details = &detail.details;
            }
            last
        };
        known.unwrap_or_else(innermost)
    }

    /// Whether it, or something behind it, has this code.
    pub fn has(&self, code: &str) -> bool {
        self.all().any(|(found, _)| found.eq_ignore_ascii_case(code))
    }

    /// The policies that forbid it.
    pub fn policies(&self) -> Vec<&str> {
        let mut policies = Vec::new();
        walk(&self.details, &mut |detail| {
            policies.extend(detail.policies.iter().map(String::as_str));
        });
        policies
    }

    /// The code by which it, or something behind it, says that another operation holds it up.
    pub(crate) fn held_up(&self) -> Option<&str> {
        self.all().map(|(code, _)| code).find(|code| is_held_up(code))
    }

    /// What a caller makes of it.
    pub fn kind(&self) -> Kind {
        if self.held_up().is_some() {
            return Kind::Transient;
        }
        if let Some(kind) = self
            .all()
            .find_map(|(code, _)| remedy::find(code))
            .map(|remedy| remedy.kind)
        {
            return kind;
        }
        match self.status {
            408 | 429 | 500..=599 => Kind::Transient,
            // Something between here and Azure may have said it. Only Azure knows what is not there.
            404 | 410 if self.code.is_empty() => Kind::Transient,
            404 | 410 => Kind::NotFound,
            401 | 403 => Kind::Denied,
            409 | 412 => Kind::Conflict,
            _ => Kind::Refused,
        }
    }

    /// What the person does about it, in a sentence or two; `None` if that is not known.
    pub fn remedy(&self) -> Option<String> {
        remedy::tell(self)
    }

    /// Codes and messages, from outside to inside.
    fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut all = vec![(self.code.as_str(), self.message.as_str())];
        walk(&self.details, &mut |detail| all.push((&detail.code, &detail.message)));
        all.into_iter()
    }
}

/// Visits details before what lies behind them.
fn walk<'d>(details: &'d [Detail], visit: &mut dyn FnMut(&'d Detail)) {
    for detail in details {
        visit(detail);
        walk(&detail.details, visit);
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, message) = self.cause();
        match (code, message) {
            ("", "") => write!(f, "Azure answers with status {}", self.status)?,
            ("", message) => write!(f, "status {}: {message}", self.status)?,
            (code, "") => f.write_str(code)?,
            (code, message) => write!(f, "{code}: {}", message.trim_end_matches('.'))?,
        }
        if let Some(id) = &self.request_id {
            write!(f, " (request {id})")?;
        }
        Ok(())
    }
}

impl std::error::Error for ServiceError {}
