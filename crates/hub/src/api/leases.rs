//! `/leases`: ask for a gateway, look at it, let it live longer, end it.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use launch::{
    LeaseId, State as LeaseState,
    launcher::{Filter, IdempotencyKey},
    order::Request,
};
use sha2::{Digest as _, Sha256};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    extract::{Body, LeasePath, Query, Who},
    words::{Extension, Lease, LeasePage, LeaseParams, LeaseRequest, ListParams},
};
use crate::{App, actions, problem::Problem};

/// Longest idempotency key.
const LONGEST_KEY: usize = 255;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, end))
        .routes(routes!(extend))
}

/// Asks for a lease
///
/// It is kept when this is answered, and set up from then on: follow its events, or read it again.
#[utoipa::path(
    post,
    path = "/leases",
    operation_id = "create_lease",
    tag = "leases",
    params(
        ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$",
            description = "Makes a repeated request the same request: it gets the same answer, and makes no second lease."),
    ),
    request_body = LeaseRequest,
    responses((
        status = 202,
        description = "It is kept, and being set up.",
        body = Lease,
        headers(("Location" = String, description = "Where the lease is read.")),
    )),
)]
async fn create(
    State(app): State<Arc<App>>,
    who: Who,
    headers: HeaderMap,
    Body(request): Body<LeaseRequest>,
) -> Result<impl IntoResponse, Problem> {
    who.may_launch()?;
    let key = idempotency_key(&headers, &request)?;
    let lease = actions::create(&app, &who, &Request::from(request), key.as_ref()).await?;
    let location = format!("/api/v1/leases/{}", lease.id);
    Ok((
        StatusCode::ACCEPTED,
        [(header::LOCATION, location)],
        Json(Lease::from(lease)),
    ))
}

/// Lists leases, the newest first
///
/// One's own; for admins everybody's, or those of one owner.
#[utoipa::path(
    get,
    path = "/leases",
    operation_id = "list_leases",
    tag = "leases",
    params(ListParams),
    responses((status = 200, description = "Some leases.", body = LeasePage)),
)]
async fn list(State(app): State<Arc<App>>, who: Who, mut query: Query) -> Result<Json<LeasePage>, Problem> {
    who.may_read()?;
    let filter = Filter {
        states: query
            .all::<StateWord>("state")?
            .into_iter()
            .map(|word| word.0)
            .collect(),
        running: query.one("running")?,
        owner: query.owner()?,
        after: query.one::<LeaseId>("cursor")?,
        limit: query.limit()?,
    };
    query.end()?;
    if filter
        .owner
        .as_ref()
        .is_some_and(|owner| *owner != who.identity.subject)
    {
        who.may_administer()?;
    }
    Ok(Json(app.launcher.list(&who.caller, &filter).await?.into()))
}

/// Reads a lease
#[utoipa::path(
    get,
    path = "/leases/{id}",
    operation_id = "read_lease",
    tag = "leases",
    params(LeaseParams),
    responses((status = 200, description = "The lease as it is.", body = Lease)),
)]
async fn read(State(app): State<Arc<App>>, who: Who, LeasePath(id): LeasePath) -> Result<Json<Lease>, Problem> {
    who.may_read()?;
    Ok(Json(app.launcher.read(&who.caller, id).await?.into()))
}

/// Ends a lease
///
/// One that is over stays as it is.
#[utoipa::path(
    delete,
    path = "/leases/{id}",
    operation_id = "end_lease",
    tag = "leases",
    params(LeaseParams),
    responses((status = 202, description = "It is about to be removed, or is.", body = Lease)),
)]
async fn end(
    State(app): State<Arc<App>>,
    who: Who,
    LeasePath(id): LeasePath,
) -> Result<(StatusCode, Json<Lease>), Problem> {
    let lease = actions::end(&app, &who, id).await?;
    Ok((StatusCode::ACCEPTED, Json(lease.into())))
}

/// Lets a lease live longer
#[utoipa::path(
    post,
    path = "/leases/{id}/extend",
    operation_id = "extend_lease",
    tag = "leases",
    params(LeaseParams),
    request_body = Extension,
    responses((status = 200, description = "The lease with its new end.", body = Lease)),
)]
async fn extend(
    State(app): State<Arc<App>>,
    who: Who,
    LeasePath(id): LeasePath,
    Body(extension): Body<Extension>,
) -> Result<Json<Lease>, Problem> {
    Ok(Json(actions::extend(&app, &who, id, extension.by_secs).await?.into()))
}

/// The key of a request; the same request is one that says the same, however it is written.
pub(super) fn idempotency_key(headers: &HeaderMap, request: &LeaseRequest) -> Result<Option<IdempotencyKey>, Problem> {
    const NAME: &str = "Idempotency-Key";
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
    let (Some(key), None) = (key, values.next()) else {
        let problem = Problem::invalid(NAME, "must be given once, with 1 to 255 visible ASCII characters");
        return Err(problem.with_remedy("use a fresh UUID for each new request"));
    };
    let said = serde_json::to_vec(request).map_err(|error| Problem::internal(&error))?;
    Ok(Some(IdempotencyKey {
        key: key.to_owned(),
        body_hash: Sha256::digest(said).into(),
    }))
}

/// A state in a query.
#[derive(Debug)]
struct StateWord(LeaseState);

impl std::str::FromStr for StateWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = LeaseState::ALL.into_iter().find(|state| state.as_str() == text);
        found.map(Self).ok_or_else(|| {
            let known = LeaseState::ALL.map(LeaseState::as_str).join(", ");
            format!("there is no such state; there are: {known}")
        })
    }
}
