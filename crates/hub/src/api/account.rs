//! `/me`, `/usage` and `/audit`: who asks, what he has, and what everybody did.

use std::sync::Arc;

use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    extract::{Query, Who},
    words::{AuditPage, Me, Usage, UsageList},
};
use crate::{App, problem::Problem};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(me))
        .routes(routes!(usage))
        .routes(routes!(audit))
}

/// Reads who asks
#[utoipa::path(
    get,
    path = "/me",
    operation_id = "read_me",
    tag = "accounts",
    responses((status = 200, description = "Who asks, and what he may.", body = Me)),
)]
async fn me(State(app): State<Arc<App>>, who: Who) -> Result<Json<Me>, Problem> {
    let identity = &who.identity;
    let usage = app.launcher.usage(&who.caller, Some(&identity.subject)).await?;
    let usage = usage.into_iter().find(|usage| usage.owner == identity.subject);
    Ok(Json(Me {
        subject: identity.subject.clone(),
        name: identity.name.clone(),
        roles: identity.roles.clone(),
        scopes: identity.scopes.clone(),
        limits: app.launcher.policy().into(),
        usage: usage.map_or_else(|| Usage::none(&identity.subject), Usage::from),
    }))
}

/// Reads what users have and had in the last 24 hours
///
/// One's own; for admins everybody's, or that of one owner.
#[utoipa::path(
    get,
    path = "/usage",
    operation_id = "read_usage",
    tag = "accounts",
    params(("owner" = Option<String>, Query, min_length = 1, max_length = 600, description = "Whose; others' only for admins.")),
    responses((status = 200, description = "By owner.", body = UsageList)),
)]
async fn usage(State(app): State<Arc<App>>, who: Who, mut query: Query) -> Result<Json<UsageList>, Problem> {
    who.may_read()?;
    let owner = query.owner()?;
    query.end()?;
    if owner.as_ref().is_some_and(|owner| *owner != who.identity.subject) {
        who.may_administer()?;
    }
    let usage = app.launcher.usage(&who.caller, owner.as_deref()).await?;
    let items = usage.into_iter().map(Into::into).collect();
    Ok(Json(UsageList { items }))
}

/// Reads the audit, the newest first
#[utoipa::path(
    get,
    path = "/audit",
    operation_id = "read_audit",
    tag = "accounts",
    params(
        ("cursor" = Option<u64>, Query, minimum = 1, maximum = 9_007_199_254_740_991_u64, description = "`next` of the page before."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 50."),
    ),
    responses((status = 200, description = "Some rows.", body = AuditPage)),
)]
async fn audit(State(app): State<Arc<App>>, who: Who, mut query: Query) -> Result<Json<AuditPage>, Problem> {
    who.may_administer()?;
    let before = query.number("cursor", 1)?;
    let limit = query.limit()?;
    query.end()?;
    let items = app
        .audit
        .page(before, limit)
        .await
        .map_err(|error| Problem::internal(&error))?;
    // A row further is there unless this page ends with the first.
    let next = items
        .last()
        .filter(|row| items.len() == limit && row.number > 1)
        .map(|row| row.number);
    Ok(Json(AuditPage { items, next }))
}
