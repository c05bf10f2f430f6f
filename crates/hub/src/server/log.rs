//! A line for each answer, and what is counted of it. Neither query, nor headers, nor bodies: there are secrets in them.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::StatusCode,
    middleware::Next,
    response::Response,
};

use super::Client;
use crate::{App, problem};

/// Logs and counts a request.
pub(super) async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let address = request.extensions().get::<Client>().map(|client| client.address);
    let response = next.run(request).await;
    let (status, took) = (response.status(), started.elapsed());
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    app.meters.answered(&method, route, status, took);
    let code = response.extensions().get::<problem::Code>().map(|code| code.0.as_str());
    let address = address.map(tracing::field::display);
    let (status, millis) = (status.as_u16(), u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    if matches!(route, "/healthz" | "/readyz" | "/metrics") && response.status() == StatusCode::OK {
        tracing::debug!(event = "answered", status, millis, code, address, "answered");
    } else {
        tracing::info!(event = "answered", status, millis, code, address, "answered");
    }
    // For the span alone: in a line they would be there twice.
    tracing::Span::current().record("route", route).record("status", status);
    response
}
