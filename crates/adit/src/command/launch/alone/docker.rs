//! How a lease was launched in a container of this machine: at which engine, of which image, reached where.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use async_trait::async_trait;
use gateway::reach::Endpoint;
use launch::{
    LeaseId,
    node::Question,
    place::{
        Creation, Description, Fault, Job, Place, Reached, Removal,
        docker::{Config, Docker},
    },
};
use serde::{Deserialize, Serialize};

use super::{Book, kept::Launched};
use crate::command::launch::places::host_in_docker;

/// How a lease was launched in a container. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InDocker {
    /// The engine's socket.
    pub(crate) socket: PathBuf,
    /// The image; `None` is the usual one.
    pub(crate) image: Option<String>,
    /// Where clients connect to, `HOST[:PORT]`; `None` is found out.
    pub(crate) endpoint: Option<String>,
}

impl Launched for InDocker {
    fn open(&self, _: &Book) -> anyhow::Result<Arc<dyn Place>> {
        Ok(Arc::new(Engine::new(self).context("--on docker")?))
    }

    fn site(&self) -> String {
        self.socket.display().to_string()
    }

    /// Where there is no socket, nobody is waited for.
    fn is_absent(&self) -> bool {
        is_absent(&self.socket)
    }
}

/// One engine, as one lease is at it.
#[derive(Clone, Debug)]
struct Engine {
    docker: Docker,
    /// The port that clients are told, where it is not the container's.
    port: Option<u16>,
}

impl Engine {
    fn new(launched: &InDocker) -> anyhow::Result<Self> {
        let endpoint = launched.endpoint.as_deref().map(str::parse::<Endpoint>).transpose()?;
        let usual = Config::new(host_in_docker(endpoint.as_ref().map(|endpoint| &endpoint.host)));
        let config = Config {
            socket: launched.socket.clone(),
            image: launched.image.clone().unwrap_or(usual.image),
            ..usual
        };
        Ok(Self {
            docker: Docker::new(config)?,
            port: endpoint.and_then(|endpoint| endpoint.port),
        })
    }
}

#[async_trait]
impl Place for Engine {
    fn describe(&self) -> Description {
        self.docker.describe()
    }

    async fn create(&self, job: &Job) -> Result<Creation, Fault> {
        self.docker.create(job).await
    }

    async fn ask(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        let reached = self.docker.ask(job, question).await?;
        Ok(Reached {
            endpoint: with_port(reached.endpoint, self.port),
            ..reached
        })
    }

    async fn remove(&self, job: &Job) -> Result<Removal, Fault> {
        self.docker.remove(job).await
    }

    async fn list(&self, instance: &str) -> Result<Vec<LeaseId>, Fault> {
        self.docker.list(instance).await
    }
}

fn is_absent(socket: &Path) -> bool {
    !socket.to_string_lossy().contains("://") && !socket.try_exists().unwrap_or(true)
}

fn with_port(endpoint: String, port: Option<u16>) -> String {
    match (endpoint.rsplit_once(':'), port) {
        (Some((host, _)), Some(port)) => format!("{host}:{port}"),
        (None, _) | (_, None) => endpoint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_the_port_that_a_person_named() {
        for (endpoint, port, told) in [
            ("192.0.2.1:32768", None, "192.0.2.1:32768"),
            ("192.0.2.1:32768", Some(443), "192.0.2.1:443"),
            ("[2001:db8::1]:32768", Some(443), "[2001:db8::1]:443"),
        ] {
            assert_eq!(with_port(endpoint.to_owned(), port), told);
        }
        let engine = |endpoint: &str| {
            Engine::new(&InDocker {
                socket: "/run/first.sock".into(),
                image: None,
                endpoint: Some(endpoint.to_owned()),
            })
        };
        assert_eq!(engine("192.0.2.1:443").unwrap().port, Some(443));
        assert!(engine("a b").is_err());
    }
}
