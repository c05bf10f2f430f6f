//! A lease as it is shown.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use launch::{
    LeaseId, Moment, State, launcher,
    lease::{self, End, GatewayFacts, Kind, LeasePeer},
    order::Keys,
    place,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wg::PublicKey;

use super::schema;

/// A lease: one launched gateway with an end time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// Its id, a ULID.
    #[schema(schema_with = schema::lease_id)]
    pub id: LeaseId,
    /// Whose it is.
    pub owner: String,
    /// Where its gateway runs.
    pub place: String,
    /// The place's region.
    #[schema(required = true)]
    pub region: Option<String>,
    /// The place's size of machine.
    #[schema(required = true)]
    pub size: Option<String>,
    /// Where it is in its life.
    #[schema(schema_with = schema::state)]
    pub state: State,
    /// What is going on, for people.
    pub doing: String,
    /// Whether what it hands out is only a sample.
    pub is_sample: bool,
    /// When it was requested.
    #[schema(schema_with = schema::moment)]
    pub created_at: Moment,
    /// When its gateway first answered.
    #[schema(schema_with = schema::moment_or_null, required = true)]
    pub ready_at: Option<Moment>,
    /// When it ends. Before it is ready, the latest moment at which it may.
    #[schema(schema_with = schema::moment)]
    pub ends_at: Moment,
    /// When nothing was left of it.
    #[schema(schema_with = schema::moment_or_null, required = true)]
    pub removed_at: Option<Moment>,
    /// Seconds from ready to the end, as asked for.
    pub lifetime_secs: u64,
    /// Seconds that were granted, extensions included.
    pub granted_secs: u64,
    /// Seconds without a handshake after which it ends; null is never.
    #[schema(required = true)]
    pub idle_end_secs: Option<u64>,
    /// Where clients' keys are made.
    #[schema(schema_with = schema::keys)]
    pub keys: Keys,
    /// Clients' resolvers and search domains; null is the gateway itself.
    #[schema(required = true)]
    pub dns: Option<Vec<String>>,
    /// What clients send through the tunnel.
    #[schema(schema_with = schema::networks)]
    pub allowed_ips: Vec<IpNet>,
    /// Largest packet inside the tunnel, in bytes; null is the gateway's choice.
    #[schema(required = true)]
    pub mtu: Option<u16>,
    /// UDP port that was asked for; null is a free one.
    #[schema(required = true)]
    pub port: Option<u16>,
    /// The OpenSSH public key that opens the gateway's machine, whose user is `core`; null is nobody.
    #[schema(required = true)]
    pub ssh_key: Option<String>,
    /// The gateway, once it has answered.
    #[schema(required = true)]
    pub gateway: Option<Gateway>,
    /// Who may connect.
    pub peers: Vec<Peer>,
    /// Why it failed or was lost.
    #[schema(required = true)]
    pub fault: Option<Fault>,
    /// Why it ends or ended.
    #[schema(schema_with = schema::end_or_null, required = true)]
    pub outcome: Option<End>,
    /// Bytes that the gateway received from its peers.
    pub received_bytes: u64,
    /// Bytes that the gateway sent to its peers.
    pub sent_bytes: u64,
}

/// A gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gateway {
    /// Its public key.
    #[schema(schema_with = schema::public_key)]
    pub public_key: PublicKey,
    /// Where clients connect to, `HOST:PORT`.
    pub endpoint: String,
    /// Who handles its packets.
    pub plane: String,
    /// Its own addresses in the tunnel, each with the peers' network.
    #[schema(schema_with = schema::networks)]
    pub addresses: Vec<IpNet>,
}

/// Somebody who may connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its key; null until the gateway has made one.
    #[schema(schema_with = schema::public_key_or_null, required = true)]
    pub public_key: Option<PublicKey>,
    /// Its addresses in the tunnel; empty until the gateway has told.
    #[schema(schema_with = schema::addresses)]
    pub addresses: Vec<IpAddr>,
    /// When the configuration that the gateway made was handed over.
    #[schema(schema_with = schema::moment_or_null, required = true)]
    pub handed_over_at: Option<Moment>,
    /// When its first handshake was seen.
    #[schema(schema_with = schema::moment_or_null, required = true)]
    pub first_handshake_at: Option<Moment>,
    /// When its latest handshake was.
    #[schema(schema_with = schema::moment_or_null, required = true)]
    pub latest_handshake_at: Option<Moment>,
    /// Where it was last heard from, `ADDRESS:PORT`; null before its first handshake, once the lease is removed, and where the
    /// gateway does not tell.
    #[serde(default)]
    #[schema(value_type = Option<String>, required = true, example = "198.51.100.7:41523")]
    pub endpoint: Option<SocketAddr>,
    /// Bytes that the gateway received from it.
    pub received_bytes: u64,
    /// Bytes that the gateway sent to it.
    pub sent_bytes: u64,
}

/// What went wrong with a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    /// A stable word for programs.
    pub code: String,
    /// What went wrong, for people.
    pub message: String,
    /// What a person can do about it; may be empty.
    pub remedy: String,
}

/// Some leases of many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeasePage {
    /// The newest first.
    pub items: Vec<Lease>,
    /// What to ask for the rest with, as `cursor`; null if there is none.
    #[schema(schema_with = schema::lease_id_or_null, required = true)]
    pub next: Option<LeaseId>,
}

/// The peers of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerList {
    /// In the order in which they were asked for.
    pub items: Vec<Peer>,
}

/// A peer's configuration but for its private key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Configuration {
    /// Whose.
    pub peer: String,
    /// The key that the private one belongs to.
    #[schema(schema_with = schema::public_key)]
    pub public_key: PublicKey,
    /// The text in wg-quick's form, with the line `PrivateKey = {{PRIVATE_KEY}}`, which the client fills in.
    pub text: String,
    /// Whether there is no gateway behind it.
    pub is_sample: bool,
}

/// Something that happened with a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    /// Counts the events of the lease, from 1.
    pub number: u64,
    /// When.
    #[schema(schema_with = schema::moment)]
    pub at: Moment,
    /// What.
    #[schema(schema_with = schema::kind)]
    pub kind: Kind,
    /// In a sentence, for people.
    pub message: String,
    /// Where the lease was in its life then.
    #[schema(schema_with = schema::state)]
    pub state: State,
}

/// What happened with a lease so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NoticeList {
    /// The oldest first.
    pub items: Vec<Notice>,
}

/// The traffic of a lease at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sample {
    /// When.
    #[schema(schema_with = schema::moment)]
    pub at: Moment,
    /// Bytes that the gateway had received from all its peers.
    pub received_bytes: u64,
    /// Bytes that the gateway had sent to all its peers.
    pub sent_bytes: u64,
}

/// The traffic of a lease in the last half hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// The oldest first, some seconds between them.
    pub samples: Vec<Sample>,
}

impl From<lease::Lease> for Lease {
    fn from(lease: lease::Lease) -> Self {
        Self {
            received_bytes: lease.received_bytes(),
            sent_bytes: lease.sent_bytes(),
            id: lease.id,
            owner: lease.owner,
            place: lease.order.place,
            region: lease.order.region,
            size: lease.order.size,
            state: lease.state,
            doing: lease.doing,
            is_sample: lease.is_sample,
            created_at: lease.created_at,
            ready_at: lease.ready_at,
            ends_at: lease.ends_at,
            removed_at: lease.removed_at,
            lifetime_secs: lease.order.lifetime_secs,
            granted_secs: lease.granted_secs,
            idle_end_secs: lease.order.idle_end_secs,
            keys: lease.order.keys,
            dns: lease.order.dns,
            allowed_ips: lease.order.allowed_ips,
            mtu: lease.order.mtu,
            port: lease.order.port,
            ssh_key: lease.order.ssh_key,
            gateway: lease.gateway.map(Into::into),
            peers: lease.peers.into_iter().map(Into::into).collect(),
            fault: lease.fault.map(Into::into),
            outcome: lease.outcome,
        }
    }
}

impl From<GatewayFacts> for Gateway {
    fn from(facts: GatewayFacts) -> Self {
        Self {
            public_key: facts.public_key,
            endpoint: facts.endpoint,
            plane: facts.plane,
            addresses: facts.addresses,
        }
    }
}

impl From<LeasePeer> for Peer {
    fn from(peer: LeasePeer) -> Self {
        Self {
            name: peer.name,
            public_key: peer.public_key,
            addresses: peer.addresses,
            handed_over_at: peer.handed_over_at,
            first_handshake_at: peer.first_handshake_at,
            latest_handshake_at: peer.latest_handshake_at,
            endpoint: peer.endpoint,
            received_bytes: peer.received_bytes,
            sent_bytes: peer.sent_bytes,
        }
    }
}

impl From<place::Fault> for Fault {
    fn from(fault: place::Fault) -> Self {
        Self {
            code: fault.code,
            message: fault.message,
            remedy: fault.remedy,
        }
    }
}

impl From<launcher::Page> for LeasePage {
    fn from(page: launcher::Page) -> Self {
        Self {
            items: page.leases.into_iter().map(Into::into).collect(),
            next: page.next,
        }
    }
}

impl From<launcher::Configuration> for Configuration {
    fn from(configuration: launcher::Configuration) -> Self {
        Self {
            peer: configuration.peer,
            public_key: configuration.public_key,
            text: configuration.text,
            is_sample: configuration.is_sample,
        }
    }
}

impl From<launcher::Numbered> for Notice {
    fn from(numbered: launcher::Numbered) -> Self {
        let launcher::Numbered { number, notice } = numbered;
        Self {
            number,
            at: notice.at,
            kind: notice.kind,
            message: notice.message,
            state: notice.state,
        }
    }
}

impl From<launcher::Sample> for Sample {
    fn from(sample: launcher::Sample) -> Self {
        Self {
            at: sample.at,
            received_bytes: sample.received_bytes,
            sent_bytes: sample.sent_bytes,
        }
    }
}
