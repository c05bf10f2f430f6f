//! The description of the API, OpenAPI 3.1: what every operation has in common.

use utoipa::openapi::{
    Components, ContentBuilder, HeaderBuilder, Info, License, ObjectBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    ResponseBuilder,
    path::Operation,
    schema::Type,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};
use utoipa::PartialSchema as _;

use crate::problem::{self, Problem};

/// Statuses that any operation may answer, and what they say.
const ANYWHERE: [(u16, &str); 8] = [
    (401, "Nobody is signed in."),
    (403, "Who is signed in may not."),
    (404, "There is no such thing, or none that the caller may see."),
    (405, "The path is not answered to this method; `Allow` names those that are."),
    (421, "The header Host names another host."),
    (429, "Too many requests, or a limit is reached."),
    (500, "The hub could not answer this."),
    (503, "The hub cannot answer this now."),
];

/// Those of operations with a body, or that change something.
const CHANGING: [(u16, &str); 5] = [
    (400, "The body cannot be read."),
    (408, "The body took too long."),
    (409, "It does not fit what is there."),
    (413, "The body is too large."),
    (422, "A value is wrong; `field` names it."),
];

/// Those of operations with a query.
const READING: [(u16, &str); 2] = [(400, "The query cannot be read."), (422, "A value is wrong; `field` names it.")];

/// The description without operations.
pub(super) fn new() -> OpenApi {
    let mut info = Info::new("adit hub", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "WireGuard gateways on demand: a lease is one gateway with an end time.\n\nErrors are problem+json (RFC 9457) with a \
         stable `code`. The API takes public keys only; private keys stay where they are made."
            .to_owned(),
    );
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some("MIT OR Apache-2.0".to_owned());
    info.license = Some(license);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API token.")).build();
    let cookie = ApiKey::Cookie(ApiKeyValue::with_description(
        "adit",
        "The session of a browser, `__Host-adit` over TLS. What changes something needs `X-CSRF-Token` with it.",
    ));
    let components = Components::builder()
        .schema("Problem", Problem::schema())
        .security_scheme("token", SecurityScheme::Http(bearer))
        .security_scheme("session", SecurityScheme::ApiKey(cookie))
        .build();
    let either = ["token", "session"].map(|name| SecurityRequirement::new::<_, [&str; 0], &str>(name, []));
    OpenApiBuilder::new().info(info).components(Some(components)).security(Some(either)).build()
}

/// Adds to every operation the problems that it may answer.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    for path in document.paths.paths.values_mut() {
        for (operation, changes) in [
            (&mut path.get, false),
            (&mut path.post, true),
            (&mut path.put, true),
            (&mut path.patch, true),
            (&mut path.delete, true),
        ] {
            if let Some(operation) = operation {
                add_problems(operation, changes);
            }
        }
    }
    document
}

fn add_problems(operation: &mut Operation, changes: bool) {
    let has_body = operation.request_body.is_some();
    let more: &[(u16, &str)] = if changes { &CHANGING } else { &READING };
    let statuses = ANYWHERE.iter().chain(more).chain(has_body.then_some(&(415, "The body is not JSON, or does not say so.")));
    for (status, description) in statuses {
        let status = status.to_string();
        operation.responses.responses.entry(status.clone()).or_insert_with(|| problem(&status, description));
    }
}

fn problem(status: &str, description: &str) -> RefOr<utoipa::openapi::Response> {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut response = ResponseBuilder::new().description(description).content(problem::CONTENT_TYPE, content);
    let header = |of: ObjectBuilder, text: &str| HeaderBuilder::new().schema(Some(of)).description(Some(text)).build();
    if matches!(status, "409" | "429" | "503") {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
        response = response.header("Retry-After", header(seconds, "Seconds after which to try again, if that is known."));
    }
    if status == "405" {
        let text = ObjectBuilder::new().schema_type(Type::String);
        response = response.header("Allow", header(text, "The methods that are answered."));
    }
    RefOr::T(response.build())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::super::document;

    #[test]
    fn the_description_is_what_it_was() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let text = document().to_pretty_json().unwrap() + "\n";
        if std::env::var_os("ADIT_UPDATE_SNAPSHOTS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            expected == text,
            "docs/openapi.json differs; if the change is meant, run the tests with ADIT_UPDATE_SNAPSHOTS=1"
        );
    }

    #[test]
    fn no_request_has_a_field_for_a_private_key() {
        let document = serde_json::to_value(document()).unwrap();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            let properties = schema["properties"].as_object().into_iter().flatten();
            for (property, _) in properties {
                assert!(!property.contains("private"), "{name}.{property}");
            }
        }
    }

    #[test]
    fn every_operation_has_a_name_and_says_how_it_fails() {
        let document = serde_json::to_value(document()).unwrap();
        let mut names = std::collections::BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name.to_owned()), "{name} is there twice");
                for status in ["401", "403", "404", "405", "429", "503"] {
                    assert!(operation["responses"][status].is_object(), "{method} {path}: {status}");
                }
            }
        }
        assert!(names.len() > 18, "{names:?}");
    }
}
