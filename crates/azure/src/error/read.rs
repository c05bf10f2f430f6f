//! Reads errors in all the forms that Azure, and what stands before it, gives them. *ARM RPC: common API details, error response
//! content.*

use serde_json::{Map, Value};

use super::{Detail, ServiceError};

/// Errors within errors that are looked at, and how many in one.
const MAX_DEPTH: usize = 8;
const MAX_DETAILS: usize = 32;

/// Longest text that is kept, in characters.
const MAX_TEXT: usize = 2_000;

pub(super) fn body(status: u16, body: &[u8], request_id: Option<String>) -> ServiceError {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    let found = match serde_json::from_str::<Value>(text) {
        Ok(json) => envelope(&json, 0).unwrap_or_default(),
        Err(_) => Detail {
            message: plain(text),
            ..Detail::default()
        },
    };
    error(status, found, request_id)
}

pub(super) fn operation(end: &str, body: &Value, request_id: Option<String>) -> ServiceError {
    let properties = &body["properties"];
    let found = [&body["error"], &properties["error"], &properties["provisioningError"]]
        .into_iter()
        .find_map(|error| detail(error, 0))
        .or_else(|| instance(properties))
        .unwrap_or_default();
    let mut error = error(0, found, request_id);
    if error.code.is_empty() {
        error.code = clean(end);
    }
    error
}

fn error(status: u16, found: Detail, request_id: Option<String>) -> ServiceError {
    let mut details = found.details;
    if !found.policies.is_empty() {
        // Policies are with the details, wherever they were.
        details.push(Detail {
            policies: found.policies,
            ..Detail::default()
        });
    }
    ServiceError {
        status,
        code: found.code,
        message: found.message,
        target: found.target,
        details,
        request_id,
        retry_after: None,
    }
}

/// `{"error": {…}}`, `{"error": "code", "error_description": …}`, `{"code", "message"}`, `{"Message": …}`, `"text"`.
fn envelope(json: &Value, depth: usize) -> Option<Detail> {
    if depth >= MAX_DEPTH {
        return None;
    }
    match json {
        Value::Object(object) => {
            let inner = member(object, "error").or_else(|| member(object, "odata.error"));
            match inner {
                Some(Value::String(code)) => Some(Detail {
                    code: clean(code),
                    message: text_of(object, &["error_description", "message"]),
                    ..Detail::default()
                }),
                Some(inner @ (Value::Object(_) | Value::Array(_))) => detail(inner, depth + 1),
                Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => detail(json, depth),
            }
        }
        Value::Array(list) => list.iter().find_map(|json| envelope(json, depth + 1)),
        Value::String(text) => Some(Detail {
            message: clean(text),
            ..Detail::default()
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn detail(json: &Value, depth: usize) -> Option<Detail> {
    let Value::Object(object) = json else {
        return (depth < MAX_DEPTH && json.is_array())
            .then(|| envelope(json, depth))
            .flatten();
    };
    let mut found = Detail {
        code: text_of(object, &["code"]),
        message: text_of(object, &["message"]),
        target: Some(text_of(object, &["target"])).filter(|target| !target.is_empty()),
        ..Detail::default()
    };
    if depth < MAX_DEPTH {
        for name in ["details", "innererror"] {
            match member(object, name) {
                Some(Value::Array(list)) => {
                    found
                        .details
                        .extend(list.iter().take(MAX_DETAILS).filter_map(|json| detail(json, depth + 1)));
                }
                Some(inner @ Value::Object(_)) => found.details.extend(detail(inner, depth + 1)),
                Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {}
            }
        }
        // Deployments put the envelope of the resource's provider into the message, as text.
        let nested = member(object, "message").and_then(Value::as_str).and_then(quoted);
        if let Some(nested) = nested.and_then(|json| envelope(&json, depth + 1)) {
            found.details.push(nested);
        }
    }
    if let Some(Value::Array(list)) = member(object, "additionalInfo") {
        found.policies = list.iter().take(MAX_DETAILS).filter_map(policy).collect();
    }
    let is_something = !(found.code.is_empty() && found.message.is_empty() && found.details.is_empty());
    is_something.then_some(found)
}

/// `{"type": "PolicyViolation", "info": {…}}`: the policy's name, and the assignment's.
fn policy(json: &Value) -> Option<String> {
    let is_violation = json["type"].as_str()?.eq_ignore_ascii_case("PolicyViolation");
    let info = json["info"].as_object().filter(|_| is_violation)?;
    let named = |names: &[&str]| Some(text_of(info, names)).filter(|name| !name.is_empty());
    let policy = named(&[
        "policyDefinitionDisplayName",
        "policyDefinitionName",
        "policyDefinitionId",
    ]);
    let assignment = named(&[
        "policyAssignmentDisplayName",
        "policyAssignmentName",
        "policyAssignmentId",
    ]);
    match (policy, assignment) {
        (Some(policy), Some(assignment)) => Some(format!("{policy} (assignment {assignment})")),
        (policy, assignment) => policy.or(assignment),
    }
}

/// What machines and container groups say of themselves: statuses `ProvisioningState/failed/AllocationFailed`, and events.
fn instance(properties: &Value) -> Option<Detail> {
    let view = &properties["instanceView"];
    let statuses = view["statuses"].as_array().into_iter().flatten();
    let status = statuses
        .filter(|status| {
            status["level"]
                .as_str()
                .is_some_and(|level| level.eq_ignore_ascii_case("error"))
        })
        .find_map(|status| {
            let code = status["code"].as_str()?;
            let code = code
                .rsplit('/')
                .find(|part| part.parse::<u32>().is_err())
                .unwrap_or(code);
            Some(Detail {
                code: clean(code),
                message: clean(
                    status["message"]
                        .as_str()
                        .or(status["displayStatus"].as_str())
                        .unwrap_or_default(),
                ),
                ..Detail::default()
            })
        });
    let containers = properties["containers"].as_array().into_iter().flatten();
    let inner = containers.map(|container| &container["properties"]["instanceView"]);
    let events = inner
        .chain([view])
        .flat_map(|view| view["events"].as_array().into_iter().flatten());
    let event = || {
        let mut warnings = events.filter(|event| event["type"].as_str() == Some("Warning"));
        warnings.next_back().map(|event| Detail {
            code: clean(event["name"].as_str().unwrap_or_default()),
            message: clean(event["message"].as_str().unwrap_or_default()),
            ..Detail::default()
        })
    };
    status.or_else(event)
}

/// A message that is an envelope, written as text.
fn quoted(message: &str) -> Option<Value> {
    let message = message.trim();
    message
        .starts_with('{')
        .then(|| serde_json::from_str(message).ok())
        .flatten()
}

/// A member by name; the case of letters varies.
fn member<'o>(object: &'o Map<String, Value>, name: &str) -> Option<&'o Value> {
    object.get(name).or_else(|| {
        let mut members = object.iter();
        members.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    })
}

fn text_of(object: &Map<String, Value>, names: &[&str]) -> String {
    let values = names.iter().filter_map(|name| member(object, name));
    let text = values.map(|value| match value {
        Value::String(text) => clean(text),
        Value::Number(number) => number.to_string(),
        // OData: {"lang", "value"}.
        Value::Object(object) => member(object, "value")
            .and_then(Value::as_str)
            .map(clean)
            .unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Array(_) => String::new(),
    });
    text.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
}

/// On one line, within limits.
fn clean(text: &str) -> String {
    let words = text.split(|letter: char| letter.is_whitespace() || letter.is_control());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// What is no JSON. Of a page, its title.
fn plain(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let Some(start) = lower.find("<title>").map(|at| at + "<title>".len()) else {
        return if lower.starts_with('<') {
            String::new()
        } else {
            clean(text)
        };
    };
    let end = lower[start..].find('<').map_or(text.len(), |length| start + length);
    clean(&text[start..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::error::Kind;

    #[test]
    fn every_form_of_an_error_is_read() {
        // (status, body, code, message, kind)
        for (status, body, code, message, kind) in [
            (
                409,
                r#"{"error":{"code":"SkuNotAvailable","message":"The requested size is\r\n not available.","target":"vmSize"}}"#,
                "SkuNotAvailable",
                "The requested size is not available.",
                Kind::Refused,
            ),
            (
                400,
                r#"{"code":"BadThing","message":"so it is"}"#,
                "BadThing",
                "so it is",
                Kind::Refused,
            ),
            (
                400,
                r#"{"Code":"BadThing","Message":"so it is"}"#,
                "BadThing",
                "so it is",
                Kind::Refused,
            ),
            (
                400,
                r#"{"odata.error":{"code":"BadThing","message":{"lang":"en","value":"so it is"}}}"#,
                "BadThing",
                "so it is",
                Kind::Refused,
            ),
            (
                401,
                r#"{"error":"invalid_client","error_description":"AADSTS7000215: wrong"}"#,
                "invalid_client",
                "AADSTS7000215: wrong",
                Kind::Denied,
            ),
            (
                400,
                r#"[{"error":{"code":"BadThing","message":"so it is"}}]"#,
                "BadThing",
                "so it is",
                Kind::Refused,
            ),
            (500, r#""so it is""#, "", "so it is", Kind::Transient),
            (
                503,
                "The service is unavailable.",
                "",
                "The service is unavailable.",
                Kind::Transient,
            ),
            (
                502,
                "<html><head><TITLE>502 Bad\nGateway</TITLE></head></html>",
                "",
                "502 Bad Gateway",
                Kind::Transient,
            ),
            (502, "<h1>oh</h1>", "", "", Kind::Transient),
            (400, "", "", "", Kind::Refused),
            (400, "{}", "", "", Kind::Refused),
            (400, r#"{"error":null}"#, "", "", Kind::Refused),
            (400, r#"{"error":{}}"#, "", "", Kind::Refused),
            (400, "\u{feff}{\"error\":{\"code\":\"X\"}}", "X", "", Kind::Refused),
            (
                404,
                r#"{"error":{"code":"ResourceNotFound","message":"no"}}"#,
                "ResourceNotFound",
                "no",
                Kind::NotFound,
            ),
            (
                404,
                r#"{"error":{"code":"SomethingNotThere","message":"no"}}"#,
                "SomethingNotThere",
                "no",
                Kind::NotFound,
            ),
            (
                404,
                "<html><title>Not Found</title></html>",
                "",
                "Not Found",
                Kind::Transient,
            ),
            (
                404,
                r#"{"error":{"code":"SubscriptionNotFound","message":"no"}}"#,
                "SubscriptionNotFound",
                "no",
                Kind::Denied,
            ),
            (
                409,
                r#"{"error":{"code":"PropertyChangeNotAllowed"}}"#,
                "PropertyChangeNotAllowed",
                "",
                Kind::Conflict,
            ),
            (
                429,
                r#"{"error":{"code":"TooManyRequests"}}"#,
                "TooManyRequests",
                "",
                Kind::Transient,
            ),
            (
                409,
                r#"{"error":{"code":"AnotherOperationInProgress"}}"#,
                "AnotherOperationInProgress",
                "",
                Kind::Transient,
            ),
        ] {
            let error = ServiceError::read(status, body.as_bytes(), None);
            assert_eq!((error.code.as_str(), error.message.as_str()), (code, message), "{body}");
            assert_eq!(error.kind(), kind, "{status} {body}");
        }
    }

    #[test]
    fn the_cause_is_found_however_deep_it_lies() {
        let text = r#"{"error":{"code":"QuotaExceeded","message":"cores: 4 of 4"}}"#;
        for body in [
            json!({"error": {"code": "DeploymentFailed", "message": "At least one", "details": [
                {"code": "Conflict", "message": "see", "details": [{"code": "QuotaExceeded", "message": "cores: 4 of 4"}]}]}}),
            json!({"error": {"code": "Conflict", "message": "see", "innererror": {"code": "QuotaExceeded", "message": "cores: 4 of 4"}}}),
            json!({"error": {"code": "ResourceDeploymentFailure", "message": "see", "details": [{"code": "Conflict", "message": text}]}}),
            json!({"error": {"code": "Conflict", "details": [{"code": "Odd", "message": "x"}, {"code": "QuotaExceeded", "message": "cores: 4 of 4"}]}}),
        ] {
            let error = ServiceError::read(409, body.to_string().as_bytes(), Some("r-1".to_owned()));
            assert_eq!(error.cause(), ("QuotaExceeded", "cores: 4 of 4"), "{body}");
            assert!(error.has("quotaexceeded"));
            assert_eq!(error.kind(), Kind::Refused);
            assert_eq!(error.to_string(), "QuotaExceeded: cores: 4 of 4 (request r-1)");
        }
        // Nothing that is known: the innermost.
        let body = json!({"code": "Outer", "message": "outer", "details": [{"code": "Inner", "message": "inner"}]});
        assert_eq!(
            ServiceError::read(400, body.to_string().as_bytes(), None).cause(),
            ("Inner", "inner")
        );
    }

    #[test]
    fn an_operation_s_end_is_told_by_whatever_tells_it() {
        // (body, code, message)
        for (body, code, message) in [
            (
                json!({"status": "Failed", "error": {"code": "AllocationFailed", "message": "full"}}),
                "AllocationFailed",
                "full",
            ),
            (json!({"status": "Failed"}), "Failed", ""),
            (
                json!({"properties": {"error": {"code": "X", "message": "y"}}}),
                "X",
                "y",
            ),
            (
                json!({"properties": {"provisioningState": "Failed", "instanceView": {"statuses": [
                    {"code": "ProvisioningState/failed/OSProvisioningTimedOut/0", "level": "Error", "message": "it did not start"}]}}}),
                "OSProvisioningTimedOut",
                "it did not start",
            ),
            (
                json!({"properties": {"instanceView": {"events": []}, "containers": [{"properties": {"instanceView": {"events": [
                    {"type": "Normal", "name": "Pulling", "message": "pulling"},
                    {"type": "Warning", "name": "Failed", "message": "pull access denied"}]}}}]}}),
                "Failed",
                "pull access denied",
            ),
        ] {
            let error = ServiceError::of_operation("Failed", &body, None);
            assert_eq!((error.code.as_str(), error.message.as_str()), (code, message), "{body}");
        }
    }

    #[test]
    fn an_error_may_be_deep_wide_and_long() {
        let mut deep = json!({"code": "Inner", "message": "m"});
        for _ in 0..40 {
            deep = json!({"code": "Outer", "message": "m".repeat(3 * MAX_TEXT), "details": [deep]});
        }
        let error = ServiceError::read(400, deep.to_string().as_bytes(), None);
        assert_eq!(error.cause().0, "Outer", "the innermost lies too deep");
        assert_eq!(error.to_string().chars().count(), "Outer: ".len() + MAX_TEXT + 1);
        let wide = json!({"code": "Outer", "details": vec![json!({"code": "Inner", "message": "m"}); 1_000]});
        assert_eq!(
            ServiceError::read(400, wide.to_string().as_bytes(), None).details.len(),
            MAX_DETAILS
        );
    }

    proptest! {
        #[test]
        fn nothing_that_comes_is_too_odd(status: u16, body in proptest::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\":,a-c]{0,40}") {
            for body in [body.as_slice(), text.as_bytes(), format!("<title>{text}").as_bytes(), format!("{{\"error\":{text}}}").as_bytes()] {
                let error = ServiceError::read(status, body, None);
                let line = format!("{error}{:?}", error.remedy());
                prop_assert!(!line.contains('\n'));
                let _ = error.kind();
            }
        }
    }
}
