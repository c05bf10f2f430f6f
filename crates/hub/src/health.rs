//! `/healthz` and `/readyz`, for whatever keeps the hub running.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{App, problem::Problem};

pub(crate) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz))
}

pub(crate) fn router() -> Router<Arc<App>> {
    routes().into()
}

/// Says whether the process lives
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "healthz",
    tag = "health",
    security(()),
    responses((status = 200, description = "It does.", body = String, content_type = "text/plain")),
)]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Says whether leases can be kept and their doings audited
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "health",
    security(()),
    responses((status = 200, description = "They can.", body = String, content_type = "text/plain")),
)]
async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    if *app.stopping.borrow() {
        return Err(Problem::stopping());
    }
    let not_ready = |part: &str, why: String| {
        // Why is for the log: who asks need not have signed in.
        tracing::warn!(part, why, "not ready");
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            format!("the {part} cannot be written"),
        )
        .with_remedy("the hub's log says more")
    };
    app.launcher.is_well().await.map_err(|why| not_ready("store", why))?;
    app.audit.is_well().await.map_err(|why| not_ready("audit", why))?;
    Ok("ok\n")
}
