//! The life of one lease, from request to removal.
//!
//! ```text
//!   requested ─▶ provisioning ─▶ configuring ─▶ ready ─▶ removing ─▶ removed
//!                     │               │           │         ▲
//!                     └───────────────┴─▶ failed ─┼─────────┤
//!                                                 └▶ lost ──┘
//! ```
//!
//! Pure: reads no clock and reaches no place. The caller passes `now`, keeps the row that [`Lease::step`] has changed, then
//! carries out the [`Action`] that it gave and brings what came of it to [`Lease::handle`]. A caller that died between keeping
//! and carrying out calls [`Lease::recover`] and goes on: the step is taken again.

pub(crate) mod connected;
mod notice;
mod outcome;
mod step;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wg::PublicKey;

pub use self::{
    notice::{Kind, Notice},
    outcome::OBSERVE,
    step::{Action, Change, Event, Outcome, SETUP_LIMIT, What},
};
use crate::{
    LeaseId, Moment,
    order::{Keys, Order, PeerRequest},
    place::Fault,
};

/// Where a lease is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is a row and nothing else.
    Requested,
    /// The place makes its gateway.
    Provisioning,
    /// The gateway is made and has not answered yet.
    Configuring,
    /// The gateway answers, and knows the peers.
    Ready,
    /// It could not be set up. It is about to be removed.
    Failed,
    /// Its gateway has gone by itself. What is left is about to be removed.
    Lost,
    /// The place removes everything of it.
    Removing,
    /// Nothing of it is left but the row.
    Removed,
}

impl State {
    /// All states, in the order of a life.
    pub const ALL: [Self; 8] = [
        Self::Requested,
        Self::Provisioning,
        Self::Configuring,
        Self::Ready,
        Self::Failed,
        Self::Lost,
        Self::Removing,
        Self::Removed,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Provisioning => "provisioning",
            Self::Configuring => "configuring",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Removing => "removing",
            Self::Removed => "removed",
        }
    }

    /// Whether a gateway may still come of it, or is there.
    pub fn is_running(self) -> bool {
        matches!(
            self,
            Self::Requested | Self::Provisioning | Self::Configuring | Self::Ready
        )
    }
}

/// A lease: one launched gateway with an end time. The row that a store keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its name, from which all others follow.
    pub id: LeaseId,
    /// Whose it is.
    pub owner: String,
    /// What it is to be.
    pub order: Order,
    /// Whether what it hands out is only a sample.
    pub is_sample: bool,
    /// Where it is in its life.
    pub state: State,
    /// Counts the changes of the row; a change of another version than the store's is refused.
    pub version: u64,
    /// When it was requested.
    pub created_at: Moment,
    /// When its gateway first answered.
    pub ready_at: Option<Moment>,
    /// When it ends. Before it is ready, the latest moment at which it may.
    pub ends_at: Moment,
    /// When nothing was left of it.
    pub removed_at: Option<Moment>,
    /// Seconds that were granted, extensions included.
    pub granted_secs: u64,
    /// The gateway, once it has answered.
    pub gateway: Option<GatewayFacts>,
    /// Who may connect.
    pub peers: Vec<LeasePeer>,
    /// What passed for peers that may connect no more.
    #[serde(default)]
    pub gone: Bytes,
    /// Whether the gateway has still to be told of a change.
    pub is_dirty: bool,
    /// What the place noted for its next step.
    pub refs: Value,
    /// What is going on, for people.
    pub doing: String,
    /// Counts the actions; what came of another one than the latest is ignored.
    pub attempt: u64,
    /// How often the present step has failed in a row.
    pub failures: u32,
    /// When it is to be looked at next.
    pub next_at: Moment,
    /// When the gateway was first out of reach, if it is.
    pub unreachable_since: Option<Moment>,
    /// When a client was last seen: a handshake, or the moment at which it became ready.
    pub active_at: Option<Moment>,
    /// Why it failed or was lost.
    pub fault: Option<Fault>,
    /// Why it ends or ended.
    pub outcome: Option<End>,
    /// Whether nothing has come of the latest action yet.
    #[serde(skip)]
    is_awaited: bool,
    /// Whether its gateway was not heard of since it was taken over.
    #[serde(skip)]
    is_recovering: bool,
    /// What happened and is not kept yet.
    #[serde(skip)]
    notices: Vec<Notice>,
}

/// What is known of a lease's gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayFacts {
    /// Its public key.
    pub public_key: PublicKey,
    /// Where clients connect to, `HOST:PORT`.
    pub endpoint: String,
    /// Who handles its packets.
    pub plane: String,
    /// Its own addresses in the tunnel, each with the peers' network.
    pub addresses: Vec<IpNet>,
}

/// A peer of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasePeer {
    /// Its name.
    pub name: String,
    /// Its key; `None` until the gateway has made one.
    pub public_key: Option<PublicKey>,
    /// Its addresses in the tunnel; empty until the gateway has told.
    pub addresses: Vec<IpAddr>,
    /// When the configuration that the gateway made was handed over.
    pub handed_over_at: Option<Moment>,
    /// When its first handshake was seen.
    pub first_handshake_at: Option<Moment>,
    /// When its latest handshake was.
    pub latest_handshake_at: Option<Moment>,
    /// Where it was last heard from.
    pub endpoint: Option<SocketAddr>,
    /// Bytes that the gateway received from it.
    pub received_bytes: u64,
    /// Bytes that the gateway sent to it.
    pub sent_bytes: u64,
    /// What the gateway's own counters showed last. They may begin anew; what passed before is in the two above.
    #[serde(default)]
    pub counted: Bytes,
}

/// Bytes that passed through a gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// That the gateway received.
    pub received: u64,
    /// That the gateway sent.
    pub sent: u64,
}

/// Why a lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its time is over.
    Expired,
    /// Somebody ended it.
    Asked,
    /// No client was there for as long as the lease allows.
    Idle,
    /// It could not be set up.
    Failed,
    /// Its gateway went by itself.
    Lost,
}

impl End {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Asked => "asked",
            Self::Idle => "idle",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }
}

impl LeasePeer {
    fn new(request: &PeerRequest) -> Self {
        Self {
            name: request.name.clone(),
            public_key: request.public_key,
            addresses: Vec::new(),
            handed_over_at: None,
            first_handshake_at: None,
            latest_handshake_at: None,
            endpoint: None,
            received_bytes: 0,
            sent_bytes: 0,
            counted: Bytes::default(),
        }
    }
}

impl Lease {
    /// A lease as it is requested.
    pub fn new(id: LeaseId, owner: &str, order: Order, peers: &[PeerRequest], is_sample: bool, now: Moment) -> Self {
        Self {
            id,
            owner: owner.to_owned(),
            is_sample,
            state: State::Requested,
            version: 0,
            created_at: now,
            ready_at: None,
            ends_at: now + SETUP_LIMIT + order.lifetime(),
            removed_at: None,
            granted_secs: order.lifetime_secs,
            gateway: None,
            peers: peers.iter().map(LeasePeer::new).collect(),
            gone: Bytes::default(),
            is_dirty: false,
            refs: Value::Null,
            doing: "requested".to_owned(),
            attempt: 0,
            failures: 0,
            next_at: now,
            unreachable_since: None,
            active_at: None,
            fault: None,
            outcome: None,
            is_awaited: false,
            is_recovering: false,
            notices: Vec::new(),
            order,
        }
    }

    /// The peer of this name, in whatever case it is written.
    pub fn peer(&self, name: &str) -> Option<&LeasePeer> {
        self.peers.iter().find(|peer| peer.name.eq_ignore_ascii_case(name))
    }

    /// Bytes that the gateway received from all its peers, those that are gone included: it never goes down.
    pub fn received_bytes(&self) -> u64 {
        let received = self.peers.iter().map(|peer| peer.received_bytes);
        received.fold(self.gone.received, u64::saturating_add)
    }

    /// Bytes that the gateway sent to all its peers, those that are gone included: it never goes down.
    pub fn sent_bytes(&self) -> u64 {
        let sent = self.peers.iter().map(|peer| peer.sent_bytes);
        sent.fold(self.gone.sent, u64::saturating_add)
    }

    /// Whether its gateway was neither heard nor missed since it was taken over.
    pub fn is_recovering(&self) -> bool {
        self.is_recovering
    }

    /// Whether the gateway makes its clients' keys.
    pub fn makes_keys(&self) -> bool {
        self.order.keys == Keys::Gateway
    }
}
