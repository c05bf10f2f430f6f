//! Inner IP packets, read and written. Pure, and safe on hostile bytes: nothing here panics on any input.

pub mod checksum;
pub mod header;
pub mod icmp;
mod packet;

pub use packet::{Envelope, Fragment, Malformed, Packet, envelope};

/// Protocol number of IPv6 hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of the IPv6 routing header.
pub const ROUTING: u8 = 43;
/// Protocol number of the IPv6 fragment header.
pub const FRAGMENT: u8 = 44;
/// Protocol number of the authentication header.
pub const AUTHENTICATION: u8 = 51;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// Protocol number of IPv6 destination options.
pub const DESTINATION_OPTIONS: u8 = 60;

/// Length of an IPv4 header without options.
pub const V4_HEADER_LEN: usize = 20;
/// Length of the fixed IPv6 header.
pub const V6_HEADER_LEN: usize = 40;
/// Length of a UDP header.
pub const UDP_HEADER_LEN: usize = 8;
/// Length of an IPv6 fragment header.
pub const FRAGMENT_HEADER_LEN: usize = 8;
/// Every IPv6 path carries packets of this length (RFC 8200, section 5).
pub const V6_MIN_MTU: usize = 1_280;
/// Every IPv4 host takes packets of this length (RFC 791).
pub const V4_MIN_MTU: usize = 576;
