//! What the service refuses, and what goes wrong on order.

use std::time::Duration;

use serde_json::{Value, json};

use super::request::Answer;

/// A refusal as the service writes it (*ARM RPC: common API details, errors*).
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The status, such as 409.
    pub status: u16,
    /// The code, such as `OperationNotAllowed`.
    pub code: String,
    /// What a person is told.
    pub message: String,
    more: Box<More>,
}

/// What few refusals have.
#[derive(Clone, Debug, Default)]
struct More {
    target: Option<String>,
    details: Vec<(String, String)>,
    info: Vec<Value>,
    headers: Vec<(String, String)>,
}

impl Refusal {
    /// One of a status, a code and a message.
    #[must_use]
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            more: Box::default(),
        }
    }

    /// Too many requests; `retry_after` in seconds.
    #[must_use]
    pub fn throttled(retry_after: u32) -> Self {
        let message = format!(
            "The request is being throttled as the limit has been reached for operation type. Retry after {retry_after} seconds."
        );
        Self::new(429, "TooManyRequests", message)
            .header("Retry-After", retry_after.to_string())
            .header("x-ms-ratelimit-remaining-subscription-writes", "0")
            .header("x-ms-ratelimit-remaining-subscription-reads", "0")
    }

    /// The network's own 429: another operation holds `resource`. The code that tells is among the details.
    #[must_use]
    pub fn locked(resource: &str) -> Self {
        let message = format!(
            "Operation PutSubnetOperation is updating resource {resource}. The call can be retried in 1 seconds."
        );
        Self::new(429, "RetryableError", "A retryable error occurred.")
            .detail("RetryableErrorDueToAnotherOperation", message)
            .header("Retry-After", "1")
    }

    /// A policy of the subscription's forbids `resource`.
    #[must_use]
    pub fn policy(resource: &str) -> Self {
        let message =
            format!("Resource '{resource}' was disallowed by policy. See error details for policy resource IDs.");
        let mut refusal = Self::new(403, "RequestDisallowedByPolicy", message).target(resource);
        refusal.more.info.push(json!({
            "type": "PolicyViolation",
            "info": { "policyDefinitionDisplayName": "Allowed locations", "policyAssignmentName": "places" },
        }));
        refusal
    }

    /// Names what it is about.
    #[must_use]
    pub fn target(mut self, target: &str) -> Self {
        self.more.target = Some(target.to_owned());
        self
    }

    /// Adds a code and a message to the details.
    #[must_use]
    pub fn detail(mut self, code: &str, message: impl Into<String>) -> Self {
        self.more.details.push((code.to_owned(), message.into()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.more.headers.push((name.to_owned(), value.into()));
        self
    }

    /// What stands beside `error`.
    pub(super) fn error(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(target) = &self.more.target {
            error["target"] = target.as_str().into();
        }
        if !self.more.details.is_empty() {
            let details = self.more.details.iter();
            error["details"] = details
                .map(|(code, message)| json!({ "code": code, "message": message }))
                .collect();
        }
        if !self.more.info.is_empty() {
            error["additionalInfo"] = self.more.info.clone().into();
        }
        error
    }

    pub(super) fn answer(&self) -> Answer {
        Answer {
            headers: self.more.headers.clone(),
            ..Answer::json(self.status, json!({ "error": self.error() }))
        }
    }
}

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection ends, and nothing was done.
    LostBefore,
    /// It is carried out, and the connection ends without an answer.
    LostAfter,
    /// It is carried out, and the connection ends within the answer's body.
    CutShort,
    /// Nothing is done, and this is the answer.
    Refused(Refusal),
    /// Nothing is done, and no answer comes as long as the service runs.
    Hangs,
    /// It is carried out, and answered after this time.
    Late(Duration),
    /// It is carried out, and its operation never ends.
    NeverEnds,
    /// It is accepted, and its operation ends with this; whatever it was for stays, as `Failed`.
    OperationFails(Refusal),
    /// It is carried out, and the addresses of its operation answer 404.
    OperationForgotten,
}

impl Fault {
    /// An answer of this status, such as 500, 502 or 503, with no body that says more.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Refused(Refusal::new(status, "ServerError", "The service is in trouble."))
    }

    /// 429, to come again after `retry_after` seconds.
    #[must_use]
    pub fn throttled(retry_after: u32) -> Self {
        Self::Refused(Refusal::throttled(retry_after))
    }
}

/// Faults that are on order.
#[derive(Debug, Default)]
pub(super) struct Orders(Vec<Order>);

#[derive(Debug)]
struct Order {
    pattern: String,
    /// How many matching requests pass before.
    skip: usize,
    times: usize,
    fault: Fault,
}

impl Orders {
    pub(super) fn add(&mut self, pattern: &str, skip: usize, times: usize, fault: Fault) {
        self.0.push(Order {
            pattern: pattern.to_owned(),
            skip,
            times,
            fault,
        });
    }

    /// The fault of this request, if there is one.
    pub(super) fn take(&mut self, method: &str, path: &str) -> Option<Fault> {
        let mut taken = None;
        for order in &mut self.0 {
            if !matches(&order.pattern, method, path) {
                continue;
            }
            if order.skip > 0 {
                order.skip -= 1;
            } else if taken.is_none() && order.times > 0 {
                order.times -= 1;
                taken = Some(order.fault.clone());
            }
        }
        self.0.retain(|order| order.times > 0);
        taken
    }
}

/// Whether a request matches `METHOD path`. In the path `*` stands for anything within a segment, `**` for anything, and
/// case for nothing; the method `*` is any.
pub(super) fn matches(pattern: &str, method: &str, path: &str) -> bool {
    let (wanted, pattern) = pattern.split_once(' ').unwrap_or((pattern, "**"));
    let is_method = wanted == "*" || wanted.eq_ignore_ascii_case(method);
    is_method && is_like(pattern.to_lowercase().as_bytes(), path.to_lowercase().as_bytes())
}

fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|from| is_like(rest, &text[from..])),
        [b'*', rest @ ..] => {
            let end = text.iter().position(|&byte| byte == b'/').unwrap_or(text.len());
            (0..=end).any(|from| is_like(rest, &text[from..]))
        }
        [first, rest @ ..] => text.first() == Some(first) && is_like(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_a_method_and_a_path_with_stars() {
        for (pattern, method, path, does) in [
            ("PUT /a/b", "PUT", "/A/b", true),
            ("PUT /a", "PUT", "/a/b", false),
            ("put **/virtualMachines/*", "PUT", "/x/virtualmachines/v", true),
            (
                "PUT **/virtualMachines/*",
                "PUT",
                "/x/virtualMachines/v/runCommands/r",
                false,
            ),
            (
                "PUT **/virtualMachines/**",
                "PUT",
                "/x/virtualMachines/v/runCommands/r",
                true,
            ),
            ("GET **/virtualMachines/*", "PUT", "/x/virtualmachines/v", false),
            ("* **/vms", "GET", "/vms/a/vms", true),
            ("* **/vms", "GET", "/vms/a", false),
            ("GET", "GET", "/anything", true),
        ] {
            assert_eq!(matches(pattern, method, path), does, "{pattern} {method} {path}");
        }
    }

    #[test]
    fn a_fault_comes_at_its_turn_and_as_often_as_ordered() {
        let mut orders = Orders::default();
        orders.add("GET /a", 1, 2, Fault::Hangs);
        let came: Vec<_> = (0..5).map(|_| orders.take("GET", "/a").is_some()).collect();
        assert_eq!(came, [false, true, true, false, false]);
    }
}
