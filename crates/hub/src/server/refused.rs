//! Writes down that somebody was refused a change before anything of it began.
//!
//! What begins is in the audit before and after. What never begins, since its caller may not do it or asks too often, has a
//! row of its own here: `request.refused`. Reading changes nothing, and is not written down.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};

use crate::{
    App,
    audit::{Entry, scrub},
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

/// Most characters of a path that somebody asks for who is not signed in.
const LONGEST_PATH: usize = 100;

/// Writes a row if the answer refuses a change.
pub(super) async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let asker = Asker::of(request.extensions());
    let found: Found = request.extensions().get().cloned().unwrap_or_default();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let code = response.extensions().get::<problem::Code>();
    if let Some(problem::Code(code)) = code.filter(|code| REFUSALS.contains(&code.0.as_str())) {
        let who = found.subject();
        let entry = Entry {
            who: who.unwrap_or_default().to_owned(),
            what: "request.refused",
            on: on(&method, &path, who.is_some()),
            outcome: "refused",
            detail: code.clone(),
            request_id: asker.request_id,
            address: asker.address,
        };
        app.audit.refuse(entry).await;
    }
    response
}

/// What was asked for. Anybody can make a path as long as he likes.
fn on(method: &Method, path: &str, is_signed_in: bool) -> String {
    if is_signed_in {
        format!("{method} {path}")
    } else {
        // Cut in the midst, a key no longer looks like one.
        format!("{method} {}", scrub(path, LONGEST_PATH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_somebody_unknown_is_cut() {
        let (short, long) = ("/api/v1/leases".to_owned(), "/ä".repeat(120));
        let with_key = format!("{}/yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk", "/ä".repeat(40));
        // (path, signed in?, what is left of it)
        for (path, is_signed_in, expected) in [
            (&short, false, short.clone()),
            (&long, true, long.clone()),
            (&long, false, "/ä".repeat(50)),
            (&with_key, false, format!("{}[secret]", "/ä".repeat(40))),
        ] {
            let said = on(&Method::POST, path, is_signed_in);
            assert_eq!(said, format!("POST {expected}"), "{path}");
        }
    }
}
