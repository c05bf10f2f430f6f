//! What a path names.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use launch::LeaseId;
use serde::de::DeserializeOwned;

use crate::{App, problem::Problem};

/// A lease, `/leases/{id}`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeasePath(pub(crate) LeaseId);

/// A peer of a lease, `/leases/{id}/peers/{name}`.
#[derive(Clone, Debug)]
pub(crate) struct PeerPath(pub(crate) LeaseId, pub(crate) String);

/// An API token, `/tokens/{id}`.
#[derive(Clone, Debug)]
pub(crate) struct TokenPath(pub(crate) String);

impl FromRequestParts<Arc<App>> for LeasePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let id: String = segments(parts, app).await?;
        lease(&id).map(Self)
    }
}

impl FromRequestParts<Arc<App>> for PeerPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let (id, name): (String, String) = segments(parts, app).await?;
        Ok(Self(lease(&id)?, name))
    }
}

impl FromRequestParts<Arc<App>> for TokenPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        segments(parts, app).await.map(Self)
    }
}

/// What is no id is no lease's: nobody learns more by trying.
fn lease(id: &str) -> Result<LeaseId, Problem> {
    let id: LeaseId = id.parse().map_err(|_| Problem::not_found("there is no such lease"))?;
    tracing::Span::current().record("lease", tracing::field::display(id));
    Ok(id)
}

async fn segments<T: DeserializeOwned + Send>(parts: &mut Parts, app: &Arc<App>) -> Result<T, Problem> {
    let read = Path::<T>::from_request_parts(parts, app).await;
    // What is wrong is the escaping, not the name.
    read.map(|Path(segments)| segments)
        .map_err(|_| Problem::not_found("there is nothing of this name"))
}
