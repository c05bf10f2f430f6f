//! What somebody does with leases, for the API, its aliases and the pages alike: allowed, in the audit, done, in the audit.

use std::time::Duration;

use launch::{
    Lease, LeaseId,
    launcher::{Created, IdempotencyKey},
    node::Secret,
    order::{PeerRequest, Request},
};
use wg::PublicKey;

use crate::{
    App,
    api::{Done, Who},
    problem::Problem,
};

/// Asks for a lease.
pub(crate) async fn create(
    app: &App,
    who: &Who,
    request: &Request,
    key: Option<&IdempotencyKey>,
) -> Result<Lease, Problem> {
    who.may_launch()?;
    let work = async {
        let (lease, is) = match app.launcher.create(&who.caller, request, key).await? {
            Created::New(lease) => (lease, "new"),
            Created::Again(lease) => (lease, "the same request as before"),
        };
        let detail = format!("{is}, on {}, {} s", lease.order.place, lease.order.lifetime_secs);
        let done = Done::on(lease.id, detail);
        Ok((lease, done))
    };
    who.does(app, "lease.create", "", work).await
}

/// Lets a lease live longer.
pub(crate) async fn extend(app: &App, who: &Who, id: LeaseId, by_secs: u64) -> Result<Lease, Problem> {
    who.may_launch()?;
    let work = async {
        let by = Duration::from_secs(by_secs);
        let lease = app.launcher.extend(&who.caller, id, by).await?;
        Ok((lease, Done::with(format!("by {by_secs} s"))))
    };
    who.does(app, "lease.extend", id.to_string(), work).await
}

/// Ends a lease.
pub(crate) async fn end(app: &App, who: &Who, id: LeaseId) -> Result<Lease, Problem> {
    who.may_launch()?;
    let work = async { Ok((app.launcher.end(&who.caller, id).await?, Done::default())) };
    who.does(app, "lease.end", id.to_string(), work).await
}

/// Lets another peer in.
pub(crate) async fn add_peer(app: &App, who: &Who, id: LeaseId, peer: &PeerRequest) -> Result<Lease, Problem> {
    who.may_launch()?;
    let work = async {
        let lease = app.launcher.add_peer(&who.caller, id, peer).await?;
        Ok((lease, of_peer(&peer.name)))
    };
    who.does(app, "peer.add", id.to_string(), work).await
}

/// Gives a peer another key.
pub(crate) async fn replace_key(
    app: &App,
    who: &Who,
    id: LeaseId,
    name: &str,
    key: PublicKey,
) -> Result<Lease, Problem> {
    who.may_launch()?;
    let work = async {
        let lease = app.launcher.replace_key(&who.caller, id, name, key).await?;
        Ok((lease, of_peer(name)))
    };
    who.does(app, "peer.replace_key", id.to_string(), work).await
}

/// Lets a peer in no more.
pub(crate) async fn remove_peer(app: &App, who: &Who, id: LeaseId, name: &str) -> Result<Lease, Problem> {
    who.may_launch()?;
    let work = async {
        let lease = app.launcher.remove_peer(&who.caller, id, name).await?;
        Ok((lease, of_peer(name)))
    };
    who.does(app, "peer.remove", id.to_string(), work).await
}

/// Hands a configuration over that the gateway made, once.
pub(crate) async fn hand_over(app: &App, who: &Who, id: LeaseId, name: &str) -> Result<Secret, Problem> {
    who.may_launch()?;
    let work = async {
        let secret = app.launcher.hand_over(&who.caller, id, name).await?;
        Ok((secret, of_peer(name)))
    };
    who.does(app, "peer.hand_over", id.to_string(), work).await
}

fn of_peer(name: &str) -> Done {
    Done::with(format!("peer {name}"))
}
