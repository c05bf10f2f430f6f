//! Writes down that somebody was refused a change before anything of it began.
//!
//! What begins is in the audit before and after. What never begins, since its caller may not do it or asks too often, has a
//! row of its own here: `request.refused`. Reading changes nothing, and is not written down.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use crate::{
    App,
    audit::Entry,
    problem,
    sign_in::{Asker, authenticate::Found},
};

/// Codes of refusals that nobody else writes down: those of sign-in and of tokens have rows of their own.
const REFUSALS: [&str; 13] = [
    "admin_only",
    "beyond_owner",
    "forbidden",
    "no_tokens",
    "not_by_proxy",
    "scope_missing",
    "sign_in_needed",
    "too_many_attempts",
    "too_many_requests",
    "unauthorized",
    "wrong_csrf",
    "wrong_host",
    "wrong_origin",
];

/// Writes a row if the answer refuses a change.
pub(super) async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let asker = Asker::of(request.extensions());
    let found: Found = request.extensions().get().cloned().unwrap_or_default();
    let on = format!("{} {}", request.method(), request.uri().path());
    let response = next.run(request).await;
    let code = response.extensions().get::<problem::Code>();
    if let Some(problem::Code(code)) = code.filter(|code| REFUSALS.contains(&code.0.as_str())) {
        let entry = Entry {
            who: found.subject().unwrap_or_default().to_owned(),
            what: "request.refused",
            on,
            outcome: "refused",
            detail: code.clone(),
            request_id: asker.request_id,
            address: asker.address,
        };
        app.audit.refuse(entry).await;
    }
    response
}
