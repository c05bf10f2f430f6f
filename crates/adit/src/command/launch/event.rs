//! What happens to a lease, as one JSON object a line.
//!
//! A private key is in none of them; `config` is the path of the file that holds one.

use std::{net::IpAddr, path::Path};

use gateway::server::PeerState;
use serde::Serialize;

/// One line of `adit launch --json`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event<'a> {
    /// The gateway takes connections.
    Ready {
        /// The lease's id, for `adit launch extend` and the like; absent where leases cannot be remembered.
        #[serde(skip_serializing_if = "Option::is_none")]
        lease: Option<String>,
        /// Who handles the packets: `netstack` or `tun`.
        plane: &'a str,
        /// The UDP port that the gateway listens on.
        listen_port: u16,
        /// Where clients connect to.
        endpoint: &'a str,
        /// Whether the endpoint may not be reachable for clients outside this network.
        endpoint_guessed: bool,
        /// The gateway's public key.
        public_key: &'a str,
        /// The gateway's own addresses in the tunnel, with their networks.
        addresses: Vec<String>,
        /// When the lease ends, RFC 3339.
        ends: &'a str,
        /// Milliseconds since the program started.
        after_ms: u64,
    },
    /// The gateway's machine lets somebody log in.
    Ssh {
        /// What logs in.
        command: &'a str,
        /// The file with the private key.
        key: &'a Path,
    },
    /// A configuration is there to be imported.
    Peer {
        /// The peer's name.
        peer: &'a str,
        /// The peer's public key.
        public_key: String,
        /// The peer's addresses in the tunnel.
        addresses: &'a [IpAddr],
        /// The file with its configuration.
        config: &'a Path,
    },
    /// A client completed a handshake: the first, or a later one from another address.
    Handshake {
        /// The peer's name.
        peer: &'a str,
        /// Where the client is; absent if the gateway does not tell.
        #[serde(skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
    },
    /// A client's traffic since the lease began. At most once a second.
    Transfer {
        /// The peer's name.
        peer: &'a str,
        /// Bytes that the gateway received from the client.
        received_bytes: u64,
        /// Bytes that the gateway sent to the client.
        sent_bytes: u64,
    },
    /// A step on the way to the gateway, or what happened with it since. Not of a gateway in this process.
    Progress {
        /// The lease's id.
        lease: String,
        /// What happened, as the API's events call it.
        kind: &'a str,
        /// In a sentence.
        message: &'a str,
        /// When, RFC 3339.
        at: String,
    },
    /// The lease lives longer.
    Extended {
        /// When it ends, RFC 3339.
        ends: &'a str,
    },
    /// The gateway was started anew and has another key, or has another address. A `peer` for each configuration that was
    /// written anew follows.
    Rekeyed {
        /// The lease's id.
        lease: String,
        /// Where clients connect to from now on.
        endpoint: &'a str,
        /// The gateway's public key from now on.
        public_key: &'a str,
    },
    /// Another peer may connect, or one has another key.
    PeerAdded {
        /// The peer's name.
        peer: &'a str,
        /// Its public key; absent until the gateway has made one.
        #[serde(skip_serializing_if = "Option::is_none")]
        public_key: Option<String>,
        /// Its addresses in the tunnel; none until the gateway has told.
        addresses: &'a [IpAddr],
    },
    /// A peer may connect no more.
    PeerRemoved {
        /// The peer's name.
        peer: &'a str,
    },
    /// The gateway is gone.
    Ended {
        /// `asked` (by another command), `lifetime`, `idle`, `interrupt`, `terminate`, `hangup`, or `failure` if the gateway
        /// could not go on.
        reason: &'a str,
        /// All traffic of the lease.
        peers: Vec<Total<'a>>,
    },
}

/// A peer's traffic over the whole lease.
#[derive(Debug, Serialize)]
pub(crate) struct Total<'a> {
    /// The peer's name.
    peer: &'a str,
    /// Bytes that the gateway received from the client.
    received_bytes: u64,
    /// Bytes that the gateway sent to the client.
    sent_bytes: u64,
}

impl<'a> Total<'a> {
    /// The traffic of a peer so far.
    pub(crate) fn of(peer: &'a PeerState) -> Self {
        Self {
            peer: peer.name.as_str(),
            received_bytes: peer.received_bytes,
            sent_bytes: peer.sent_bytes,
        }
    }
}

impl Event<'_> {
    /// The event as one line of JSON, without the line's end.
    pub(crate) fn line(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}
