//! What the kernel is asked: links, addresses, routes, rules, WireGuard, packet filter, namespaces, settings,
//! resolvers.
//!
//! Everything is synchronous and goes straight to the kernel: netlink and files, never a program. The one exception is
//! `resolvconf`, where that manages the resolvers: it has no other interface.

pub mod address;
mod attribute;
pub mod clock;
pub mod deadline;
pub mod forwarding;
mod genetlink;
pub mod link;
pub mod netlink;
pub mod netns;
pub mod nftables;
pub mod resolv;
pub mod route;
pub mod rule;
pub mod session;
pub mod signal;
pub mod socket;
pub mod sysctl;
pub mod tun;
pub mod watch;
pub mod wireguard;

/// One of the two versions of the Internet Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The network of all addresses, that a default route leads to.
    pub fn everything(self) -> ipnet::IpNet {
        match self {
            Self::V4 => ipnet::IpNet::V4(ipnet::Ipv4Net::default()),
            Self::V6 => ipnet::IpNet::V6(ipnet::Ipv6Net::default()),
        }
    }
}

impl From<Family> for netlink_packet_route::AddressFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::Inet,
            Family::V6 => Self::Inet6,
        }
    }
}
