//! What answers browsers: reads what a page shows, and does what a form asks for.

mod admin;
mod launch;
mod lease;
mod readable;
mod tokens;

use std::sync::Arc;

use ::launch::LeaseId;
use axum::{
    Router,
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};

pub use self::readable::readable;
use super::{assets, layout::Viewer};
use crate::{App, identity::Identity, problem::Problem};

/// What a handler answers.
type Answer = Result<Response, Problem>;

/// The fields of a form, in their order.
type Fields = axum::Form<Vec<(String, String)>>;

/// The routes of the pages.
pub fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(launch::show))
        .route("/launch", post(launch::launch))
        .route("/leases/{id}", get(lease::show))
        .route("/leases/{id}/extend", post(lease::extend))
        .route("/leases/{id}/end", post(lease::end))
        .route("/leases/{id}/peers", post(lease::add_peer))
        .route("/leases/{id}/peers/{name}/replace", post(lease::replace_key))
        .route("/leases/{id}/peers/{name}/remove", post(lease::remove_peer))
        .route("/leases/{id}/peers/{name}/hand-over", post(lease::hand_over))
        .route("/history", get(admin::history))
        .route("/tokens", get(tokens::show).post(tokens::make))
        .route("/tokens/{id}/revoke", post(tokens::revoke))
        .route("/admin", get(admin::show))
        .route("/admin/block", post(admin::block))
        .route("/admin/audit", get(admin::audit))
        .route("/assets/{version}/{name}", get(assets::serve))
}

impl Viewer {
    fn of(identity: &Identity) -> Self {
        Self {
            name: identity.name.clone(),
            is_admin: identity.is_admin(),
            csrf: identity.csrf().unwrap_or_default().to_owned(),
        }
    }
}

/// The last value that a form has under this name, without blanks at its ends.
fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields
        .iter()
        .rev()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.trim())
}

/// Shows a lease after a form has changed it.
fn to_lease(id: LeaseId) -> Response {
    Redirect::to(&format!("/leases/{id}")).into_response()
}
