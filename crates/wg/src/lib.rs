//! The words of WireGuard: keys, configuration text, devices and peers, access rules, address pools, QR codes.
//!
//! Pure: reads no clock, file, socket, environment or random source. What varies is an argument.

pub mod access;
pub mod conf;
pub mod device;
mod difference;
pub mod key;
pub mod pool;
pub mod qr;
mod replacement;
pub mod token;
pub mod uapi;
pub mod update;

pub use access::{Access, Destination};
pub use conf::{Conf, Endpoint};
pub use device::{Device, Peer, PeerStatus, Status};
pub use ipnet::{IpNet, Ipv4Net, Ipv6Net};
pub use key::{KeyError, PresharedKey, PrivateKey, PublicKey};
pub use pool::{Pool, PoolError};
pub use token::Token;
pub use update::{AllowedIpChange, PeerUpdate, Update};
