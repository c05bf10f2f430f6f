//! Every route of a hub, and the layers around them.
//!
//! ```text
//! request ─▶ id ─▶ where from ─▶ log, counts ─▶ headers ─▶ readable errors ─▶ task
//!                                                                          └─▶ refusals ─▶ host, rate ─▶ body ─▶ sign-in ─▶ handler
//! ```

use std::sync::Arc;

use axum::{
    Router,
    http::{StatusCode, Uri},
    middleware::from_fn_with_state,
    routing::get,
};

use super::{body, client, finish, headers, log, metrics::MetricsToken, refused};
use crate::{App, api, health, metrics, pages, problem::Problem, request_id, sign_in};

/// All that a hub answers.
pub fn router(app: Arc<App>) -> Router {
    let with = |app: &Arc<App>| Arc::clone(app);
    Router::new()
        .merge(api::router())
        .merge(sign_in::router())
        .merge(pages::router())
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(with(&app), sign_in::guard))
        .layer(from_fn_with_state(with(&app), body::layer))
        .layer(from_fn_with_state(with(&app), client::check))
        .layer(from_fn_with_state(with(&app), refused::layer))
        .layer(from_fn_with_state(with(&app), finish::layer))
        .layer(from_fn_with_state(with(&app), pages::readable))
        .layer(from_fn_with_state(with(&app), headers::layer))
        .layer(from_fn_with_state(with(&app), log::layer))
        .layer(from_fn_with_state(with(&app), client::note))
        .layer(from_fn_with_state(with(&app), request_id::layer))
        .with_state(app)
}

/// `/metrics` alone, for a listener of its own; `token` is what has to be brought for it.
pub(super) fn metrics_router(app: Arc<App>, token: Option<MetricsToken>) -> Router {
    let with = |app: &Arc<App>| Arc::clone(app);
    Router::new()
        .route("/metrics", get(metrics::open_page))
        .layer(from_fn_with_state(token, MetricsToken::check))
        .merge(health::router())
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(with(&app), client::check_rate))
        .layer(from_fn_with_state(with(&app), log::layer))
        .layer(from_fn_with_state(with(&app), client::note))
        .layer(from_fn_with_state(with(&app), request_id::layer))
        .with_state(app)
}

async fn unknown(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_such_route",
        format!("there is nothing at {}", uri.path()),
    )
    .with_remedy("the API is described at /api/v1/openapi.json")
}

async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this is not answered to this method",
    )
    .with_remedy("the header Allow names those that are")
}
