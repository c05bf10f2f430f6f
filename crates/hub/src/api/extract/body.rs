//! A body that is JSON.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, error::Category};

use crate::{App, problem::Problem};

/// A body that is JSON and fits its type.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "the body has to be JSON, and to say so",
            )
            .with_remedy("send the header `Content-Type: application/json`"));
        }
        // It is read already, and no longer than it may be.
        let bytes = axum::body::to_bytes(request.into_body(), app.config.limits.body_bytes)
            .await
            .map_err(|_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is too large"))?;
        read(&bytes).map(Self)
    }
}

/// `application/json` and every `application/…+json`, whatever the parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let Some(media) = value.and_then(|value| value.split(';').next()) else {
        return false;
    };
    let media = media.trim().to_ascii_lowercase();
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
    if !value.is_object() {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
            "the body has to be an object",
        ));
    }
    if let Some(field) = unnamed(&value) {
        return Err(Problem::invalid(field, "has to be an object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let (field, error) = (Some(path).filter(|path| path != "."), error.into_inner());
        match (error.classify(), field) {
            (Category::Data, Some(field)) => Problem::invalid(field, without_position(&error)),
            (Category::Data, None) => {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", without_position(&error))
            }
            (Category::Syntax | Category::Eof | Category::Io, _) => malformed(&error),
        }
    })
}

/// A list in a list of an object's field, which would be read as the values of an object whose names were left out.
fn unnamed(object: &Value) -> Option<String> {
    object.as_object()?.iter().find_map(|(name, value)| {
        let list = value.as_array()?;
        let index = list.iter().position(Value::is_array)?;
        Some(format!("{name}[{index}]"))
    })
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "malformed_json",
        format!("the body is not JSON: {error}"),
    )
}

/// Where in the text it was says less than the field.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::words::LeaseRequest;

    #[test]
    fn a_wrong_body_is_refused_with_the_field_that_is_wrong() {
        let long = "9".repeat(40);
        let cases: [(&str, u16, &str, Option<&str>); 16] = [
            // (body, status, code, field)
            ("", 400, "malformed_json", None),
            ("{", 400, "malformed_json", None),
            ("{}x", 400, "malformed_json", None),
            ("{\"peers\":[]}{}", 400, "malformed_json", None),
            ("[]", 422, "invalid", None),
            ("null", 422, "invalid", None),
            ("[\"work\"]", 422, "invalid", None),
            ("{\"peers\":[[\"a\",null]]}", 422, "invalid", Some("peers[0]")),
            ("{\"port\":1,\"port\":2}", 422, "invalid", None),
            ("{\"private_key\":\"x\"}", 422, "invalid", Some("private_key")),
            ("{\"port\":70000}", 422, "invalid", Some("port")),
            ("{\"port\":\"1\"}", 422, "invalid", Some("port")),
            ("{\"lifetime_secs\":-1}", 422, "invalid", Some("lifetime_secs")),
            (
                "{\"peers\":[{\"name\":\"a\",\"private_key\":\"x\"}]}",
                422,
                "invalid",
                Some("peers[0].private_key"),
            ),
            (
                "{\"peers\":[{\"name\":\"a\",\"public_key\":\"x\"}]}",
                422,
                "invalid",
                Some("peers[0].public_key"),
            ),
            (
                "{\"allowed_ips\":[\"10.0.0.0/8\",\"10\"]}",
                422,
                "invalid",
                Some("allowed_ips[1]"),
            ),
        ];
        for (body, status, code, field) in cases {
            let problem = read::<LeaseRequest>(body.as_bytes()).unwrap_err();
            let found = (problem.status, problem.code.as_str(), problem.field.as_deref());
            assert_eq!(found, (status, code, field), "{body} {problem:?}");
            assert!(!problem.detail.contains(" at line ") || status == 400, "{problem:?}");
        }
        assert!(read::<LeaseRequest>(format!("{{\"mtu\":{long}}}").as_bytes()).is_err());
        assert!(read::<LeaseRequest>(b"{\"peers\":[{\"name\":\"a\xff\"}]}").is_err());
    }

    #[test]
    fn json_says_that_it_is_json() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/merge-patch+json", true),
            ("text/json", false),
            ("application/x-www-form-urlencoded", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(is_json(&headers), expected, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
