//! The page of one lease and its forms.

use std::sync::Arc;

use axum::{
    Form as FormBody,
    extract::{Path, State},
    response::IntoResponse as _,
};
use launch::{LeaseId, State as LeaseState, launcher::Configuration, order::PeerRequest};
use wg::PublicKey;

use super::{
    super::{devices::HandedOver, layout::Viewer, lease::LeasePage},
    Answer, Fields, field, to_lease,
};
use crate::{App, actions, api::Who, identity::Scope, problem::Problem};

/// `GET /leases/{id}`.
pub(super) async fn show(State(app): State<Arc<App>>, who: Who, Path(id): Path<String>) -> Answer {
    who.may_read()?;
    let id = lease_id(&id)?;
    let launcher = &app.launcher;
    let lease = launcher.read(&who.caller, id).await?;
    let notices = launcher.notices(&who.caller, id, 0).await?;
    let mut configurations: Vec<Configuration> = Vec::new();
    if lease.state == LeaseState::Ready && !lease.makes_keys() && who.identity.require(Scope::Launch).is_ok() {
        configurations.extend(
            lease
                .peers
                .iter()
                .filter_map(|peer| launch::conf::configuration(&lease, peer)),
        );
    }
    Ok(LeasePage {
        viewer: &Viewer::of(&who.identity),
        lease: &lease,
        notices: &notices,
        place: launcher.places().iter().find(|place| place.name == lease.order.place),
        policy: launcher.policy(),
        configurations: &configurations,
        now: launcher.now(),
    }
    .render()
    .into_response())
}

/// `POST /leases/{id}/extend`.
pub(super) async fn extend(
    State(app): State<Arc<App>>,
    who: Who,
    Path(id): Path<String>,
    FormBody(fields): Fields,
) -> Answer {
    let id = lease_id(&id)?;
    let secs = field(&fields, "by_secs").and_then(|secs| secs.parse().ok());
    let secs = secs.ok_or_else(|| Problem::invalid("by_secs", "by_secs: is not a number of seconds"))?;
    actions::extend(&app, &who, id, secs).await?;
    Ok(to_lease(id))
}

/// `POST /leases/{id}/end`.
pub(super) async fn end(State(app): State<Arc<App>>, who: Who, Path(id): Path<String>) -> Answer {
    let id = lease_id(&id)?;
    actions::end(&app, &who, id).await?;
    Ok(to_lease(id))
}

/// `POST /leases/{id}/peers`.
pub(super) async fn add_peer(
    State(app): State<Arc<App>>,
    who: Who,
    Path(id): Path<String>,
    FormBody(fields): Fields,
) -> Answer {
    let id = lease_id(&id)?;
    let name = field(&fields, "name").unwrap_or_default().to_owned();
    let peer = PeerRequest {
        name,
        public_key: key(&fields)?,
    };
    actions::add_peer(&app, &who, id, &peer).await?;
    Ok(to_lease(id))
}

/// `POST /leases/{id}/peers/{name}/replace`.
pub(super) async fn replace_key(
    State(app): State<Arc<App>>,
    who: Who,
    Path((id, name)): Path<(String, String)>,
    FormBody(fields): Fields,
) -> Answer {
    let id = lease_id(&id)?;
    let key = key(&fields)?.ok_or_else(|| Problem::invalid("public_key", "public_key: is missing"))?;
    actions::replace_key(&app, &who, id, &name, key).await?;
    Ok(to_lease(id))
}

/// `POST /leases/{id}/peers/{name}/remove`.
pub(super) async fn remove_peer(
    State(app): State<Arc<App>>,
    who: Who,
    Path((id, name)): Path<(String, String)>,
) -> Answer {
    let id = lease_id(&id)?;
    actions::remove_peer(&app, &who, id, &name).await?;
    Ok(to_lease(id))
}

/// `POST /leases/{id}/peers/{name}/hand-over`: the answer is the only one that has the configuration.
pub(super) async fn hand_over(
    State(app): State<Arc<App>>,
    who: Who,
    Path((id, name)): Path<(String, String)>,
) -> Answer {
    let id = lease_id(&id)?;
    let secret = actions::hand_over(&app, &who, id, &name).await?;
    let viewer = Viewer::of(&who.identity);
    Ok(HandedOver {
        viewer: &viewer,
        lease: id,
        name: &name,
        configuration: &secret,
    }
    .render()
    .into_response())
}

/// The public key of a form; `None` if the field is empty or missing.
fn key(fields: &[(String, String)]) -> Result<Option<PublicKey>, Problem> {
    let Some(text) = field(fields, "public_key").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let problem = "is not a WireGuard public key: 44 characters, as `wg pubkey` prints them";
    text.parse()
        .map(Some)
        .map_err(|_| Problem::invalid("public_key", format!("public_key: {problem}")))
}

/// What is no id is no lease's: nobody learns more by trying.
fn lease_id(text: &str) -> Result<LeaseId, Problem> {
    text.parse().map_err(|_| Problem::not_found("there is no such lease"))
}
