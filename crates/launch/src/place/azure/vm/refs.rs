//! What is noted of a machine for the steps that follow, and survives a restart.

use std::net::{IpAddr, SocketAddr};

use azure::{Operation, ResourceId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wg::PublicKey;

use crate::place::Job;

/// How far it is. No secret is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Refs {
    /// What is done.
    pub(super) stage: Stage,
    /// What Azure does for it at this moment.
    pub(super) operation: Option<Operation>,
    /// Whether nothing is left to be done on the machine.
    pub(super) is_set_up: bool,
    /// The machine's public address.
    pub(super) address: Option<IpAddr>,
    /// The port that clients connect to.
    pub(super) port: u16,
    /// The gateway's key.
    pub(super) public_key: Option<PublicKey>,
    /// The peers of a gateway that makes its clients' keys.
    pub(super) peers: Vec<Listed>,
    /// What the machine said last while its gateway started.
    pub(super) words: String,
    /// What came with the machine, and may outlive it.
    pub(super) beside: Vec<ResourceId>,
    /// The removal that Azure is at.
    pub(super) removal: Option<Operation>,
}

/// What is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// The network that all machines of a region share.
    #[default]
    Network,
    /// The security group that all machines with one port share.
    Guard,
    /// The terms of the machine's image.
    Terms,
    /// The machine is asked for.
    Machine,
    /// The machine is there, and no operation tells of it.
    Boot,
    /// Its address is looked for.
    Address,
    /// A script makes it a gateway.
    SetUp,
    /// It is looked what came of that.
    SetUpSeen,
    /// A script reads the gateway's key.
    Reading,
    /// It is looked what it read.
    Seen,
    /// What it read is removed from Azure.
    Clearing,
    /// It is a gateway.
    Made,
}

/// A peer as its gateway made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    /// Its name.
    pub(super) name: String,
    /// Its key.
    pub(super) public_key: PublicKey,
    /// Its address in the tunnel.
    pub(super) address: IpAddr,
}

impl Refs {
    /// What is noted of a lease; what makes no sense is as nothing.
    pub(super) fn read(job: &Job) -> Self {
        serde_json::from_value(job.refs.clone()).unwrap_or_default()
    }

    pub(super) fn note(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Where clients connect to.
    pub(super) fn endpoint(&self) -> Option<String> {
        Some(SocketAddr::new(self.address?, self.port).to_string())
    }
}

impl Stage {
    /// Whether a script is begun in it.
    pub(super) fn is_script(self) -> bool {
        matches!(self, Self::SetUp | Self::Reading)
    }

    /// What it does, for people.
    pub(super) fn doing(self) -> &'static str {
        match self {
            Self::Network => "Azure makes the network that its machines share",
            Self::Guard => "Azure opens the port in a security group",
            Self::Terms => "the terms of the machine's image are accepted",
            Self::Machine | Self::Boot | Self::Address => "Azure makes the machine",
            Self::SetUp | Self::SetUpSeen => "a script makes the machine a gateway",
            Self::Reading | Self::Seen | Self::Clearing | Self::Made => {
                "the machine has booted, and its gateway starts; its key is read"
            }
        }
    }
}
