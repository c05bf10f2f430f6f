//! One container, one configuration, no daemon.

use std::path::PathBuf;

use docker::Engine;
use tunnel::Plane;

use crate::{
    inside::{
        self, Inside, carrier,
        guard::{self, Guard},
        place::Surroundings,
        resolv,
    },
    provider::{ProviderError, file},
};

/// What to do.
#[derive(Clone, Debug)]
pub struct Once {
    /// The engine's socket.
    pub engine: PathBuf,
    /// The container's name or ID.
    pub container: String,
    /// The tunnel's configuration.
    pub conf: PathBuf,
    /// Who handles the packets.
    pub plane: Plane,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Done {
    /// The tunnel's name on this host.
    pub tunnel: String,
}

/// The container has no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// The configuration.
    #[error(transparent)]
    Offer(#[from] ProviderError),
    /// The engine does not answer.
    #[error("the engine: {0}")]
    Engine(String),
    /// There is no such container, or it does not run.
    #[error("there is no container {container} that runs")]
    Container {
        /// What it was called.
        container: String,
    },
    /// Its namespace, guard, interface or resolvers; it is closed, as far as that could be done.
    #[error("{0}")]
    Inside(String),
}

/// Closes the container, and gives it the tunnel. A repeat changes what differs.
///
/// # Errors
///
/// [`OnceError`].
pub async fn run(once: &Once) -> Result<Done, OnceError> {
    let offer = file::read(&once.conf).await?;
    let engine = Engine::new(&once.engine);
    let found = engine.inspect(&once.container).await;
    let found = found.map_err(|error| OnceError::Engine(error.to_string()))?;
    let container = found.filter(|container| container.pid.is_some());
    let container = container.ok_or_else(|| OnceError::Container {
        container: once.container.clone(),
    })?;
    let (name, plane) = (carrier::name_of(&container.id), once.plane);
    let done = tokio::task::spawn_blocking(move || {
        let said = |error: &dyn std::fmt::Display| OnceError::Inside(error.to_string());
        let inside = Inside::of(&container).map_err(|error| said(&error))?;
        let guard = Guard {
            direct: container.neighbours(),
            // Nobody would answer in its place once this has ended.
            resolver: None,
        };
        let surroundings = Surroundings {
            is_alone: guard.direct.is_empty(),
            ..Surroundings::default()
        };
        guard::set(&inside, &guard).map_err(|error| said(&error))?;
        inside::set_up(&inside, &name, plane, &offer, &surroundings, None).map_err(|error| said(&error))?;
        if let (Some(path), false) = (&container.resolv_conf, offer.dns.is_empty()) {
            resolv::set(path, &offer.dns, &offer.search).map_err(|error| said(&error))?;
        }
        Ok(Done { tunnel: name })
    });
    done.await.map_err(|error| OnceError::Inside(error.to_string()))?
}
