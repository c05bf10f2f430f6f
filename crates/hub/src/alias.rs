//! `/api/StartVPN` and `/api/StopVPN`: one gateway a caller, started and stopped by a call, for scripts written against
//! such functions.
//!
//! Thin aliases over a lease whose gateway makes the keys. The lease is known by its only peer's name, so that a hub which
//! was started anew knows it, too.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use launch::{
    Lease, LeaseId, State as LeaseState,
    launcher::{Filter, Refusal},
    order::{Keys, PeerRequest, Request},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, timeout_at},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{App, actions, api::Who, problem::Problem};

/// The name of the only peer of a lease that was started here.
const PEER: &str = "StartVPN";

pub(crate) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(stop))
}

/// What is answered.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct Answer {
    /// `VPN started`, `VPN already running`, `VPN stopped`, `Error starting VPN` or `Error stopping VPN`.
    pub status: String,
    /// The configuration, whole; it is kept nowhere.
    #[serde(rename = "clientConfig", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub client_config: Option<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<String>,
}

impl Answer {
    fn new(status: &str) -> Self {
        Self {
            status: status.to_owned(),
            client_config: None,
            error: None,
        }
    }

    fn failed(status: &str, problem: &Problem) -> Response {
        let answer = Self {
            error: Some(problem.detail.clone()),
            ..Self::new(status)
        };
        // What the caller could do otherwise keeps its status: a limit, a lease that was stopped meanwhile.
        let status = Some(problem.status).filter(|status| *status < 500);
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(answer)).into_response()
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// Starts a gateway and waits until it is ready
///
/// One a caller: while it runs, `VPN already running`.
#[utoipa::path(
    post,
    path = "/api/StartVPN",
    operation_id = "StartVPN",
    tag = "aliases",
    responses(
        (status = 200, description = "It has started, or runs already.", body = Answer),
        (status = 409, description = "It was stopped meanwhile.", body = Answer),
        (status = 422, description = "The place makes no keys on gateways.", body = Answer),
        (status = 429, description = "A limit is reached.", content(
            (Answer = "application/json"),
            (Problem = "application/problem+json"),
        )),
        (status = 500, description = "It has not started.", body = Answer),
    ),
)]
async fn start(State(app): State<Arc<App>>, who: Who) -> Result<Response, Problem> {
    who.may_launch()?;
    Ok(match begin(&app, &who).await {
        Ok(answer) => answer.into_response(),
        Err(problem) => Answer::failed("Error starting VPN", &problem),
    })
}

/// Stops the gateway that `StartVPN` has started
///
/// Without one, nothing is to be done.
#[utoipa::path(
    post,
    path = "/api/StopVPN",
    operation_id = "StopVPN",
    tag = "aliases",
    responses(
        (status = 200, description = "It is about to be removed.", body = Answer),
        (status = 500, description = "It cannot be stopped.", body = Answer),
    ),
)]
async fn stop(State(app): State<Arc<App>>, who: Who) -> Result<Response, Problem> {
    who.may_launch()?;
    let ended = async {
        let mut ended = None;
        while let Some(lease) = running(&app, &who).await?.filter(|lease| ended != Some(lease.id)) {
            actions::end(&app, &who, lease.id).await?;
            ended = Some(lease.id);
        }
        Ok(Answer::new("VPN stopped"))
    };
    Ok(match ended.await {
        Ok(answer) => answer.into_response(),
        Err(problem) => Answer::failed("Error stopping VPN", &problem),
    })
}

async fn begin(app: &App, who: &Who) -> Result<Answer, Problem> {
    let deadline = Instant::now() + app.config.limits.start_vpn;
    let lease = {
        // Two calls at once find the same lease.
        let _one_at_a_time = app.aliases.lock().await;
        match running(app, who).await? {
            Some(lease) if lease.peers.iter().any(|peer| peer.handed_over_at.is_some()) => {
                return Ok(Answer::new("VPN already running"));
            }
            // A caller that went away before it was ready comes again.
            Some(lease) => lease,
            None => create(app, who).await?,
        }
    };
    if let Err(problem) = ready(app, who, lease.id, deadline).await {
        // Nobody would ever get its configuration.
        let _over_already = actions::end(app, who, lease.id).await;
        return Err(problem);
    }
    match actions::hand_over(app, who, lease.id, PEER).await {
        Ok(secret) => Ok(Answer {
            client_config: Some(secret.danger_text().to_owned()),
            ..Answer::new("VPN started")
        }),
        // The other one of two calls at once.
        Err(problem) if problem.code == "already_handed_over" => Ok(Answer::new("VPN already running")),
        Err(problem) => Err(problem),
    }
}

async fn create(app: &App, who: &Who) -> Result<Lease, Problem> {
    let request = Request {
        keys: Some(Keys::Gateway),
        peers: vec![PeerRequest {
            name: PEER.to_owned(),
            public_key: None,
        }],
        ..Request::default()
    };
    actions::create(app, who, &request, None).await
}

/// Waits until a lease is ready.
async fn ready(app: &App, who: &Who, id: LeaseId, deadline: Instant) -> Result<(), Problem> {
    let mut changes = app.launcher.changes();
    loop {
        let lease = app.launcher.read(&who.caller, id).await?;
        match lease.state {
            LeaseState::Ready if lease.peer(PEER).is_some_and(|peer| !peer.addresses.is_empty()) => return Ok(()),
            LeaseState::Requested | LeaseState::Provisioning | LeaseState::Configuring | LeaseState::Ready => {}
            LeaseState::Failed | LeaseState::Lost | LeaseState::Removing | LeaseState::Removed => {
                return Err(match lease.fault {
                    Some(fault) => Refusal::Place(fault).into(),
                    None => Refusal::Over.into(),
                });
            }
        }
        loop {
            let late = || {
                Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "late",
                    "the gateway is not ready in time; it is removed",
                )
            };
            match timeout_at(deadline, changes.recv()).await.map_err(|_| late())? {
                Ok(changed) if changed == id => break,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return Err(Problem::stopping()),
            }
        }
    }
}

/// The caller's lease that was started here and is not over.
async fn running(app: &App, who: &Who) -> Result<Option<Lease>, Problem> {
    let states = LeaseState::ALL.into_iter().filter(|state| state.is_running()).collect();
    let mut filter = Filter {
        owner: Some(who.identity.subject.clone()),
        states,
        running: Some(true),
        after: None,
        limit: 200,
    };
    loop {
        let page = app.launcher.list(&who.caller, &filter).await?;
        let is_ours = |lease: &Lease| {
            lease.state.is_running() && lease.makes_keys() && matches!(&lease.peers[..], [peer] if peer.name == PEER)
        };
        if let Some(lease) = page.leases.into_iter().find(is_ours) {
            return Ok(Some(lease));
        }
        filter.after = page.next;
        if filter.after.is_none() {
            return Ok(None);
        }
    }
}
