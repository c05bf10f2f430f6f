//! What a hub counts, as a page for Prometheus (text format 0.0.4).

mod page;
mod requests;

use std::sync::Arc;

use axum::{
    extract::State,
    http::{Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::page::METRICS;
use self::requests::Requests;
use crate::{App, api::Who, problem::Problem, server::Client};

/// What is counted of requests. What is counted of leases is the launcher's.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Requests,
}

/// One metric, for the page and for whoever draws it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What it says.
    pub help: &'static str,
}

impl Metrics {
    /// Counts a request that was answered.
    pub(crate) fn answered(&self, method: &Method, route: &str, status: StatusCode, took: std::time::Duration) {
        self.requests.add(method, route, status, took);
    }
}

pub(crate) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(page))
}

/// Reads the metrics, for Prometheus
///
/// Answered to this machine, where no proxy is between, and to admins; to everybody on a listener of its own, if there is one.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "health",
    security((), ("token" = []), ("session" = [])),
    responses((status = 200, description = "In text format 0.0.4.", body = String, content_type = "text/plain")),
)]
async fn page(State(app): State<Arc<App>>, client: Client, who: Result<Who, Response>) -> Response {
    if !client.is_this_machine() {
        let may = match who {
            Ok(who) => who.may_administer().map_err(Problem::into_response),
            Err(response) => Err(response),
        };
        if let Err(response) = may {
            return response;
        }
    }
    open_page(State(app)).await
}

/// The page for everybody.
pub(crate) async fn open_page(State(app): State<Arc<App>>) -> Response {
    let text = page::write(&app).await;
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}
