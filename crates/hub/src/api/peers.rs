//! `/leases/{id}/peers`: who may connect, and with what configuration.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    extract::{Body, LeasePath, PeerPath, Who},
    words::{Configuration, KeyReplacement, Lease, LeaseParams, Peer, PeerList, PeerParams, PeerRequest},
};
use crate::{App, actions, problem::Problem};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(replace, remove))
        .routes(routes!(configuration))
        .routes(routes!(hand_over))
}

/// Lists a lease's peers
#[utoipa::path(
    get,
    path = "/leases/{id}/peers",
    operation_id = "list_peers",
    tag = "peers",
    params(LeaseParams),
    responses((status = 200, description = "Who may connect.", body = PeerList)),
)]
async fn list(State(app): State<Arc<App>>, who: Who, LeasePath(id): LeasePath) -> Result<Json<PeerList>, Problem> {
    who.may_read()?;
    let lease = app.launcher.read(&who.caller, id).await?;
    let items = lease.peers.into_iter().map(Into::into).collect();
    Ok(Json(PeerList { items }))
}

/// Lets another peer in
///
/// The same peer again changes nothing.
#[utoipa::path(
    post,
    path = "/leases/{id}/peers",
    operation_id = "add_peer",
    tag = "peers",
    params(LeaseParams),
    request_body = PeerRequest,
    responses((
        status = 202,
        description = "It is kept; the gateway is told.",
        body = Peer,
        headers(("Location" = String, description = "Where its configuration is read.")),
    )),
)]
async fn add(
    State(app): State<Arc<App>>,
    who: Who,
    LeasePath(id): LeasePath,
    Body(peer): Body<PeerRequest>,
) -> Result<Response, Problem> {
    let peer = peer.into();
    let lease = actions::add_peer(&app, &who, id, &peer).await?;
    // Somebody may have removed it in this very moment.
    let added = lease
        .peer(&peer.name)
        .cloned()
        .ok_or_else(|| Problem::not_found("the lease has no peer of this name"))?;
    let location = format!("/api/v1/leases/{id}/peers/{}/configuration", added.name);
    Ok((
        StatusCode::ACCEPTED,
        [(header::LOCATION, location)],
        Json(Peer::from(added)),
    )
        .into_response())
}

/// Gives a peer another key
///
/// For a device that has lost its private key: it keeps its name and its addresses. The same key again changes nothing.
#[utoipa::path(
    put,
    path = "/leases/{id}/peers/{name}",
    operation_id = "replace_key",
    tag = "peers",
    params(PeerParams),
    request_body = KeyReplacement,
    responses((status = 200, description = "It is kept; the gateway is told.", body = Lease)),
)]
async fn replace(
    State(app): State<Arc<App>>,
    who: Who,
    PeerPath(id, name): PeerPath,
    Body(replacement): Body<KeyReplacement>,
) -> Result<Json<Lease>, Problem> {
    let lease = actions::replace_key(&app, &who, id, &name, replacement.public_key).await?;
    Ok(Json(lease.into()))
}

/// Lets a peer in no more
#[utoipa::path(
    delete,
    path = "/leases/{id}/peers/{name}",
    operation_id = "remove_peer",
    tag = "peers",
    params(PeerParams),
    responses((status = 204, description = "It is no peer any more.")),
)]
async fn remove(State(app): State<Arc<App>>, who: Who, PeerPath(id, name): PeerPath) -> Result<StatusCode, Problem> {
    actions::remove_peer(&app, &who, id, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads a peer's configuration
///
/// For a client that made its keys itself: the private key is missing, and the client fills it in.
#[utoipa::path(
    get,
    path = "/leases/{id}/peers/{name}/configuration",
    operation_id = "read_configuration",
    tag = "peers",
    params(PeerParams),
    responses(
        (status = 200, description = "All but the private key.", body = Configuration),
        (status = 409, description = "It is not ready, or over, or its gateway makes the keys.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn configuration(
    State(app): State<Arc<App>>,
    who: Who,
    PeerPath(id, name): PeerPath,
) -> Result<Json<Configuration>, Problem> {
    who.may_launch()?;
    Ok(Json(app.launcher.configuration(&who.caller, id, &name).await?.into()))
}

/// Hands a configuration over, once
///
/// For a lease whose gateway makes the keys. The configuration is whole, private key included, and is kept nowhere.
#[utoipa::path(
    post,
    path = "/leases/{id}/peers/{name}/hand-over",
    operation_id = "hand_over",
    tag = "peers",
    params(PeerParams),
    responses((status = 200, description = "The configuration in wg-quick's form.", body = String, content_type = "text/plain")),
)]
async fn hand_over(State(app): State<Arc<App>>, who: Who, PeerPath(id, name): PeerPath) -> Result<Response, Problem> {
    let secret = actions::hand_over(&app, &who, id, &name).await?;
    let mut response = secret.danger_text().to_owned().into_response();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    Ok(response)
}
