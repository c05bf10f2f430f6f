//! The HTTP API, `/api/v1`: thin handlers over the launcher, and the description of them all.
//!
//! Every error is a [`Problem`](crate::problem::Problem). What changes something is in the audit before it begins.

mod account;
mod document;
mod events;
mod extract;
#[cfg(fuzzing)]
pub mod fuzzing;
mod leases;
mod peers;
mod places;
mod streams;
mod tokens;
pub mod words;

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub(crate) use self::{
    extract::{Done, Who},
    streams::Streams,
};
use crate::{App, alias, health, metrics};

/// Where the API is described.
pub const DOCUMENT: &str = "/api/v1/openapi.json";

/// The routes of the API and of what is described with it.
pub(crate) fn router() -> Router<Arc<App>> {
    let (router, document) = routes().split_for_parts();
    // Words and numbers can be written.
    let text: Arc<str> = document::complete(document).to_pretty_json().unwrap_or_default().into();
    router.route(DOCUMENT, get(move || std::future::ready(describe(&text))))
}

/// The description of the API.
pub fn document() -> OpenApi {
    document::complete(routes().into_openapi())
}

fn routes() -> OpenApiRouter<Arc<App>> {
    let api = OpenApiRouter::new()
        .merge(leases::routes())
        .merge(peers::routes())
        .merge(events::routes())
        .merge(places::routes())
        .merge(account::routes())
        .merge(tokens::routes());
    OpenApiRouter::with_openapi(document::new())
        .nest("/api/v1", api)
        .merge(alias::routes())
        .merge(health::routes())
        .merge(metrics::routes())
}

fn describe(text: &str) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], text.to_owned()).into_response()
}
