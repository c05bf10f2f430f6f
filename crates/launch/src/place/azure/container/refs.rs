//! What is noted of a container group for the steps that follow, and survives a restart.

use std::net::{IpAddr, SocketAddr};

use azure::Operation;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wg::PublicKey;

use crate::place::Job;

/// How far it is. No secret is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Refs {
    /// How Azure makes it, while it does.
    pub(super) operation: Option<Operation>,
    /// Its public address.
    pub(super) address: Option<IpAddr>,
    /// The port that clients connect to.
    pub(super) port: u16,
    /// The gateway's key.
    pub(super) public_key: Option<PublicKey>,
    /// How Azure removes it, while it does.
    pub(super) removal: Option<Operation>,
}

impl Refs {
    /// What is noted of a lease; what makes no sense is as nothing.
    pub(super) fn read(job: &Job) -> Self {
        serde_json::from_value(job.refs.clone()).unwrap_or_default()
    }

    pub(super) fn note(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Where the gateway is, and its key.
    pub(super) fn target(&self) -> Option<Target> {
        Some(Target {
            endpoint: SocketAddr::new(self.address?, self.port).to_string(),
            public_key: self.public_key?,
        })
    }
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Where clients connect to, `HOST:PORT`.
    pub(super) endpoint: String,
    /// The gateway's key.
    pub(super) public_key: PublicKey,
}
