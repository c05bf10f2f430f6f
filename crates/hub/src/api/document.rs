//! The description of the API, OpenAPI 3.1: what every operation has in common.

use utoipa::PartialSchema as _;
use utoipa::openapi::{
    Components, ContentBuilder, HeaderBuilder, Info, License, ObjectBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    ResponseBuilder,
    path::Operation,
    schema::Type,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use crate::problem::{self, Problem};

/// Statuses that any operation may answer, and what they say.
const ANYWHERE: [(u16, &str); 8] = [
    (401, "Nobody is signed in."),
    (403, "Who is signed in may not."),
    (404, "There is no such thing, or none that the caller may see."),
    (
        405,
        "The path is not answered to this method; `Allow` names those that are.",
    ),
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
const READING: [(u16, &str); 2] = [
    (400, "The query cannot be read."),
    (422, "A value is wrong; `field` names it."),
];

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
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API token."))
        .build();
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
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .security(Some(either))
        .build()
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
    let statuses = ANYWHERE
        .iter()
        .chain(more)
        .chain(has_body.then_some(&(415, "The body is not JSON, or does not say so.")));
    for (status, description) in statuses {
        let status = status.to_string();
        operation
            .responses
            .responses
            .entry(status.clone())
            .or_insert_with(|| problem(&status, description));
    }
}

fn problem(status: &str, description: &str) -> RefOr<utoipa::openapi::Response> {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    let mut response = ResponseBuilder::new()
        .description(description)
        .content(problem::CONTENT_TYPE, content);
    let header = |of: ObjectBuilder, text: &str| HeaderBuilder::new().schema(Some(of)).description(Some(text)).build();
    if matches!(status, "409" | "429" | "503") {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
        response = response.header(
            "Retry-After",
            header(seconds, "Seconds after which to try again, if that is known."),
        );
    }
    if status == "405" {
        let text = ObjectBuilder::new().schema_type(Type::String);
        response = response.header("Allow", header(text, "The methods that are answered."));
    }
    RefOr::T(response.build())
}
