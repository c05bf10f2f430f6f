//! What is asked for.

use ipnet::IpNet;
use launch::order::{self, Keys};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wg::PublicKey;

use super::schema;

/// A lease as it is asked for. What is left out or null is the profile's choice, then the place's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LeaseRequest {
    /// A set of options that the hub has under this name.
    #[schema(min_length = 1, max_length = 64)]
    pub profile: Option<String>,
    /// Where the gateway runs.
    #[schema(min_length = 1, max_length = 64)]
    pub place: Option<String>,
    /// The place's region.
    #[schema(min_length = 1, max_length = 64)]
    pub region: Option<String>,
    /// The place's size of machine.
    #[schema(min_length = 1, max_length = 64)]
    pub size: Option<String>,
    /// Seconds from ready to the end; 1800 unless something else is asked for.
    #[schema(minimum = 1, maximum = 2_592_000, example = 1800)]
    pub lifetime_secs: Option<u64>,
    /// Seconds without a handshake after which the lease ends; null is never.
    #[schema(minimum = 180, maximum = 86_400)]
    pub idle_end_secs: Option<u64>,
    /// Where clients' keys are made: `client` (the default), where the private key stays, or `gateway`, which hands each
    /// configuration over once.
    #[schema(schema_with = schema::keys_or_null)]
    pub keys: Option<Keys>,
    /// Who may connect, at least one.
    #[schema(min_items = 1, max_items = 250)]
    pub peers: Vec<PeerRequest>,
    /// UDP port that clients connect to; null is a free one.
    #[schema(minimum = 1, maximum = 65_535)]
    pub port: Option<u16>,
    /// Clients' resolvers and search domains; an empty list leaves them their own, null is the gateway itself.
    #[schema(schema_with = schema::dns_or_null)]
    pub dns: Option<Vec<String>>,
    /// What clients send through the tunnel; null is everything.
    #[schema(schema_with = schema::networks_or_null)]
    pub allowed_ips: Option<Vec<IpNet>>,
    /// Largest packet inside the tunnel, in bytes.
    #[schema(minimum = 1_280, maximum = 9_000)]
    pub mtu: Option<u16>,
    /// The OpenSSH public key that opens the gateway's machine, at places that offer it; null is nobody.
    #[schema(
        min_length = 1,
        max_length = 4_096,
        example = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIDlSoM/jvJIeaYiScMuhPxmT/5Yd0fH8CRS4mcIKx5i"
    )]
    pub ssh_key: Option<String>,
}

/// A peer as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerRequest {
    /// Its name, 1 to 15 letters, digits, `-` and `_`.
    #[schema(schema_with = schema::name)]
    pub name: String,
    /// Its public key; null only where the gateway makes the keys.
    #[serde(default)]
    #[schema(schema_with = schema::public_key_or_null, required = false)]
    pub public_key: Option<PublicKey>,
}

/// A key in place of a peer's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyReplacement {
    /// The public key that the peer has from now on.
    #[schema(schema_with = schema::public_key)]
    pub public_key: PublicKey,
}

/// How much longer a lease is to live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// So many seconds.
    #[schema(minimum = 1, maximum = 2_592_000, example = 1800)]
    pub by_secs: u64,
}

impl From<PeerRequest> for order::PeerRequest {
    fn from(PeerRequest { name, public_key }: PeerRequest) -> Self {
        Self { name, public_key }
    }
}

impl From<order::PeerRequest> for PeerRequest {
    fn from(order::PeerRequest { name, public_key }: order::PeerRequest) -> Self {
        Self { name, public_key }
    }
}

impl From<LeaseRequest> for order::Request {
    fn from(request: LeaseRequest) -> Self {
        let LeaseRequest {
            profile,
            place,
            region,
            size,
            lifetime_secs,
            idle_end_secs,
            keys,
            peers,
            port,
            dns,
            allowed_ips,
            mtu,
            ssh_key,
        } = request;
        Self {
            profile,
            place,
            region,
            size,
            lifetime_secs,
            idle_end_secs,
            keys,
            peers: peers.into_iter().map(Into::into).collect(),
            port,
            dns,
            allowed_ips,
            mtu,
            ssh_key,
        }
    }
}

impl From<order::Request> for LeaseRequest {
    fn from(request: order::Request) -> Self {
        let order::Request {
            profile,
            place,
            region,
            size,
            lifetime_secs,
            idle_end_secs,
            keys,
            peers,
            port,
            dns,
            allowed_ips,
            mtu,
            ssh_key,
        } = request;
        Self {
            profile,
            place,
            region,
            size,
            lifetime_secs,
            idle_end_secs,
            keys,
            peers: peers.into_iter().map(Into::into).collect(),
            port,
            dns,
            allowed_ips,
            mtu,
            ssh_key,
        }
    }
}
