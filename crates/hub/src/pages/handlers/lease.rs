//! The page of one lease and its forms.

use std::{sync::Arc, time::Duration};

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
use crate::{
    App,
    api::{Done, Who},
    identity::Scope,
    problem::Problem,
};

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
    who.may_launch()?;
    let id = lease_id(&id)?;
    let secs = field(&fields, "by_secs").and_then(|secs| secs.parse().ok());
    let secs = secs.ok_or_else(|| Problem::invalid("by_secs", "by_secs: is not a number of seconds"))?;
    let work = async {
        app.launcher.extend(&who.caller, id, Duration::from_secs(secs)).await?;
        Ok(((), Done::with(format!("by {secs} s"))))
    };
    who.does(&app, "lease.extend", id.to_string(), work).await?;
    Ok(to_lease(id))
}

/// `POST /leases/{id}/end`.
pub(super) async fn end(State(app): State<Arc<App>>, who: Who, Path(id): Path<String>) -> Answer {
    who.may_launch()?;
    let id = lease_id(&id)?;
    let work = async {
        app.launcher.end(&who.caller, id).await?;
        Ok(((), Done::default()))
    };
    who.does(&app, "lease.end", id.to_string(), work).await?;
    Ok(to_lease(id))
}

/// `POST /leases/{id}/peers`.
pub(super) async fn add_peer(
    State(app): State<Arc<App>>,
    who: Who,
    Path(id): Path<String>,
    FormBody(fields): Fields,
) -> Answer {
    who.may_launch()?;
    let id = lease_id(&id)?;
    let name = field(&fields, "name").unwrap_or_default().to_owned();
    let peer = PeerRequest {
        name,
        public_key: key(&fields)?,
    };
    let work = async {
        app.launcher.add_peer(&who.caller, id, &peer).await?;
        Ok(((), Done::with(format!("peer {}", peer.name))))
    };
    who.does(&app, "peer.add", id.to_string(), work).await?;
    Ok(to_lease(id))
}

/// `POST /leases/{id}/peers/{name}/replace`.
pub(super) async fn replace_key(
    State(app): State<Arc<App>>,
    who: Who,
    Path((id, name)): Path<(String, String)>,
    FormBody(fields): Fields,
) -> Answer {
    who.may_launch()?;
    let id = lease_id(&id)?;
    let key = key(&fields)?.ok_or_else(|| Problem::invalid("public_key", "public_key: is missing"))?;
    let work = async {
        app.launcher.replace_key(&who.caller, id, &name, key).await?;
        Ok(((), Done::with(format!("peer {name}"))))
    };
    who.does(&app, "peer.replace_key", id.to_string(), work).await?;
    Ok(to_lease(id))
}

/// `POST /leases/{id}/peers/{name}/remove`.
pub(super) async fn remove_peer(
    State(app): State<Arc<App>>,
    who: Who,
    Path((id, name)): Path<(String, String)>,
) -> Answer {
    who.may_launch()?;
    let id = lease_id(&id)?;
    let work = async {
        app.launcher.remove_peer(&who.caller, id, &name).await?;
        Ok(((), Done::with(format!("peer {name}"))))
    };
    who.does(&app, "peer.remove", id.to_string(), work).await?;
    Ok(to_lease(id))
}

/// `POST /leases/{id}/peers/{name}/hand-over`: the answer is the only one that has the configuration.
pub(super) async fn hand_over(
    State(app): State<Arc<App>>,
    who: Who,
    Path((id, name)): Path<(String, String)>,
) -> Answer {
    who.may_launch()?;
    let id = lease_id(&id)?;
    let work = async {
        let secret = app.launcher.hand_over(&who.caller, id, &name).await?;
        Ok((secret, Done::with(format!("peer {name}"))))
    };
    let secret = who.does(&app, "peer.hand_over", id.to_string(), work).await?;
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
