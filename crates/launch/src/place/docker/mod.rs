//! The place `docker`: gateways as containers of an engine on this machine.
//!
//! ```text
//!   adit's image        create ─▶ start ─▶ exec `adit ask QUESTION` …  it ends by its own clock, and Docker removes it
//!   linuxserver's       create ─▶ put its ends into it ─▶ start ─▶ read /config, exec `wg show` …
//! ```
//!
//! A container is named after its lease and labelled with its instance and its lease. One that has the name without the
//! labels is another's, and is left alone. A restart of the engine ends gateways, and Docker removes them.

mod config;
#[cfg(test)]
mod fake;
mod faults;
pub(super) mod linuxserver;
mod making;
mod own;
mod pull;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use docker::{
    Engine,
    engine::{CallError, Found, Phase},
};
use serde::{Deserialize, Serialize};

pub use self::config::{Config, ConfigError, FindHost, Host, Kind, Size};
use self::{faults::fault, linuxserver::Told, pull::Pull};
use super::{Creation, Description, Fault, FaultKind, Job, Place, Reached, Removal};
use crate::{
    LeaseId,
    node::{Answer, Question},
};

/// The label that tells whose launcher made a container.
pub const INSTANCE: &str = "adit.instance";

/// The label that tells of which lease a container is.
pub const LEASE: &str = "adit.lease";

/// The label that tells when a container was to end as it was made: for people, an extension does not change it.
pub const EXPIRES_AT: &str = "adit.expires-at";

/// The port in the container that clients' packets arrive at.
const PORT: u16 = 51_820;

/// How long a program in a container may take.
const EXEC_LIMIT: Duration = Duration::from_secs(12);

/// When to ask again for a container that the engine is removing.
const SOON: Duration = Duration::from_millis(500);

/// The place. Clones are the same.
#[derive(Clone, Debug)]
pub struct Docker {
    engine: Engine,
    config: Config,
    pull: Pull,
    told: Told,
}

/// What is noted for the steps that follow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Refs {
    /// The container's ID.
    container: String,
    /// The host's port that leads to it.
    port: u16,
}

impl Docker {
    /// A place whose engine need not be there yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            engine: Engine::new(&config.socket),
            config,
            pull: Pull::default(),
            told: Told::default(),
        })
    }

    /// Why a container that did not do what it should did not: it is gone, or it cannot be told.
    async fn look(&self, job: &Job) -> Result<Found, Fault> {
        let name = job.id.resource_name();
        let found = self
            .engine
            .find(&name)
            .await
            .map_err(fault)?
            .filter(|found| is_of(found, job));
        match found {
            None => Err(faults::gone(&name, None)),
            Some(found) => match found.phase {
                Phase::Ended(code) => Err(faults::gone(&name, code)),
                Phase::Removing => Err(faults::gone(&name, None)),
                Phase::Created | Phase::Running => Ok(found),
            },
        }
    }

    /// The container and its port, by what is noted or by the engine.
    async fn refs(&self, job: &Job) -> Result<Refs, Fault> {
        let noted: Refs = serde_json::from_value(job.refs.clone()).unwrap_or_default();
        let is_id = !noted.container.is_empty() && noted.container.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id && noted.port != 0 {
            return Ok(noted);
        }
        let found = self.look(job).await?;
        let port = self
            .port(&found)
            .ok_or_else(|| faults::not_yet("the container has no port yet"))?;
        Ok(Refs {
            container: found.id,
            port,
        })
    }

    /// The host's port that leads to a container.
    fn port(&self, found: &Found) -> Option<u16> {
        let published = found.published.get(&PORT)?;
        let is_v6 = self.config.host.find().is_ok_and(|host| host.starts_with('['));
        let fits = |(address, _): &&(IpAddr, u16)| address.is_ipv6() == is_v6;
        published
            .iter()
            .find(fits)
            .or_else(|| published.first())
            .map(|(_, port)| *port)
    }

    fn reached(&self, refs: &Refs, answer: Answer) -> Result<Reached, Fault> {
        let host = self.config.host.find().map_err(faults::no_address);
        // A gateway that runs is not lost because its address is unknown for a moment.
        let host = host.map_err(|fault| Fault {
            kind: FaultKind::Unclear,
            ..fault
        })?;
        let endpoint = format!("{host}:{}", refs.port);
        Ok(Reached { endpoint, answer })
    }

    /// Removes one container. Whether nothing of it is left.
    async fn remove_one(&self, id: &str) -> Result<bool, Fault> {
        match self.engine.remove(id).await {
            Ok(()) | Err(CallError::Missing(_)) => Ok(true),
            Err(CallError::Conflict(_)) => Ok(false),
            Err(error) => Err(fault(error)),
        }
    }
}

#[async_trait]
impl Place for Docker {
    fn describe(&self) -> Description {
        let (title, usual_secs, takes_public_keys) = match self.config.kind {
            Kind::Adit { .. } => ("A container on this machine", 2, true),
            Kind::Linuxserver { .. } => ("A container of linuxserver/wireguard on this machine", 10, false),
        };
        Description {
            name: self.config.name.clone(),
            title: title.to_owned(),
            sizes: self.config.sizes.iter().map(|size| size.name.clone()).collect(),
            usual_secs,
            takes_public_keys,
            ..Description::default()
        }
    }

    async fn create(&self, job: &Job) -> Result<Creation, Fault> {
        self.make(job).await
    }

    async fn ask(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        match self.config.kind {
            Kind::Adit { .. } => self.ask_own(job, question).await,
            Kind::Linuxserver { .. } => self.ask_linuxserver(job, question).await,
        }
    }

    async fn remove(&self, job: &Job) -> Result<Removal, Fault> {
        let id = job.id.to_string();
        let labels = [(INSTANCE, job.instance.as_str()), (LEASE, id.as_str())];
        let found = self.engine.labelled(&labels).await.map_err(fault)?;
        let mut is_gone = true;
        for container in found {
            is_gone &= self.remove_one(&container.id).await?;
        }
        if is_gone {
            self.told.forget(job.id);
            return Ok(Removal::Gone);
        }
        Ok(Removal::Pending {
            refs: job.refs.clone(),
            after: SOON,
        })
    }

    async fn list(&self, instance: &str) -> Result<Vec<LeaseId>, Fault> {
        let found = self.engine.labelled(&[(INSTANCE, instance)]).await.map_err(fault)?;
        let mut leases: Vec<LeaseId> = found
            .iter()
            .filter_map(
                |container| match container.labels.get(LEASE).map(|lease| lease.parse()) {
                    Some(Ok(lease)) => Some(lease),
                    Some(Err(_)) | None => {
                        tracing::warn!(
                            container.name,
                            "a container has the label {INSTANCE} and names no lease; it is left alone"
                        );
                        None
                    }
                },
            )
            .collect();
        leases.sort();
        leases.dedup();
        Ok(leases)
    }
}

/// Whether a container is the lease's own.
fn is_of(found: &Found, job: &Job) -> bool {
    let is = |label: &str, value: &str| found.labels.get(label).is_some_and(|found| found == value);
    is(INSTANCE, &job.instance) && is(LEASE, &job.id.to_string())
}
