//! The addresses of a link: of each host's containers, and of the hosts themselves.
//!
//! ```text
//!   10.77.N.0/24           containers of the host with the number N; .1 is the host
//!   fdxx:xxxx:xxxx:N::/64  the same
//!   fdxx:xxxx:xxxx:ffff::N+1         the host, where members speak with each other
//!   fdxx:xxxx:xxxx:fffe:…            whoever comes with a token, until it is a member
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ring::digest;
use serde::{Deserialize, Serialize};
use wg::{IpNet, Ipv4Net, Ipv6Net, PublicKey};

/// Where a link's IPv4 addresses are from unless it is told otherwise.
pub const DEFAULT_POOL: &str = "10.77.0.0/16";

/// The length of a host's IPv4 prefix.
const HOST_LEN: u8 = 24;

/// The fourth group of hosts' own addresses, and of those who come with a token.
const HOSTS: u16 = 0xffff;
const GUESTS: u16 = 0xfffe;

/// Which addresses a link has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Of IPv4; each host has a /24 of it.
    pub pool: Ipv4Net,
    /// Of IPv6, a /48 of unique local addresses (*RFC 4193*); each host has a /64 of it.
    pub prefix: Ipv6Net,
}

/// A pool that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// It has no room, or too much.
    #[error("{0} cannot be a link's pool: each host gets a /24 of it, so it has 8 to 23 bits, as {DEFAULT_POOL}")]
    Length(Ipv4Net),
    /// Its addresses are others'.
    #[error(
        "{0} cannot be a link's pool: take one of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10 (RFC 1918, 6598)"
    )]
    Public(Ipv4Net),
}

impl Addresses {
    /// The addresses of a link with this pool, which was made by a host with this key.
    ///
    /// # Errors
    ///
    /// If the pool is none.
    pub fn new(pool: Ipv4Net, creator: &PublicKey) -> Result<Self, PoolError> {
        let pool = pool.trunc();
        if !(8..HOST_LEN).contains(&pool.prefix_len()) {
            return Err(PoolError::Length(pool));
        }
        let private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"];
        let is_in = |network: &str| {
            let network: Ipv4Net = network.parse().expect("it is a network");
            network.contains(&pool)
        };
        if !private.into_iter().any(is_in) {
            return Err(PoolError::Public(pool));
        }
        let hash = digest::digest(&digest::SHA256, creator.as_bytes());
        let mut bytes = [0; 16];
        bytes[0] = 0xfd;
        bytes[1..6].copy_from_slice(&hash.as_ref()[..5]);
        let prefix = Ipv6Net::new(bytes.into(), 48).expect("48 is a length");
        Ok(Self { pool, prefix })
    }

    /// How many hosts there can be.
    pub fn room(&self) -> u16 {
        let bits = HOST_LEN.saturating_sub(self.pool.prefix_len());
        1_u16.checked_shl(bits.into()).unwrap_or(u16::MAX).min(GUESTS)
    }

    /// The IPv4 network of a host's containers.
    pub fn subnet4(&self, host: u16) -> Ipv4Net {
        let first = u32::from(self.pool.network()) | u32::from(host) << 8;
        Ipv4Net::new(first.into(), HOST_LEN).expect("24 is a length")
    }

    /// The IPv6 network of a host's containers.
    pub fn subnet6(&self, host: u16) -> Ipv6Net {
        Ipv6Net::new(self.address(host, 0), 64).expect("64 is a length")
    }

    /// Both.
    pub fn subnets(&self, host: u16) -> [IpNet; 2] {
        [self.subnet4(host).into(), self.subnet6(host).into()]
    }

    /// The host's own addresses among its containers', with their networks.
    pub fn gateways(&self, host: u16) -> [IpNet; 2] {
        let (v4, v6) = (self.subnet4(host), self.subnet6(host));
        let first = Ipv4Addr::from(u32::from(v4.network()) + 1);
        [
            IpNet::new(first.into(), v4.prefix_len()).expect("it is a length"),
            IpNet::new(self.address(host, 1).into(), v6.prefix_len()).expect("it is a length"),
        ]
    }

    /// Where a host speaks with the others.
    pub fn of_host(&self, host: u16) -> Ipv6Addr {
        self.address(HOSTS, u64::from(host) + 1)
    }

    /// Where somebody with a token is, by its secret's last bits.
    pub fn of_guest(&self, id: u64) -> Ipv6Addr {
        self.address(GUESTS, id)
    }

    /// All addresses of hosts, and of those with a token.
    pub fn speakers(&self) -> [Ipv6Net; 2] {
        [HOSTS, GUESTS].map(|group| Ipv6Net::new(self.address(group, 0), 64).expect("64 is a length"))
    }

    /// All addresses of the link.
    pub fn everything(&self) -> [IpNet; 2] {
        [self.pool.into(), self.prefix.into()]
    }

    fn address(&self, group: u16, id: u64) -> Ipv6Addr {
        let first = u128::from(self.prefix.network());
        Ipv6Addr::from(first | u128::from(group) << 64 | u128::from(id))
    }
}

/// The host's number in the link, from its address among the speakers; `None` if it is no host's.
pub(crate) fn host_of(addresses: &Addresses, address: IpAddr) -> Option<u16> {
    let IpAddr::V6(address) = address else { return None };
    (0..addresses.room()).find(|host| addresses.of_host(*host) == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(pool: &str) -> Result<Addresses, PoolError> {
        let key = crate::secret::Secret::from_bytes([1; 32]).private_key().public_key();
        Addresses::new(pool.parse().unwrap(), &key)
    }

    #[test]
    fn each_host_has_its_own() {
        let addresses = addresses("10.77.0.0/16").unwrap();
        assert_eq!(addresses.room(), 256);
        assert_eq!(addresses.subnet4(3).to_string(), "10.77.3.0/24");
        assert_eq!(addresses.gateways(3)[0].to_string(), "10.77.3.1/24");
        assert_eq!(addresses.prefix.prefix_len(), 48);
        assert!(addresses.prefix.to_string().starts_with("fd"));
        let mut seen = std::collections::BTreeSet::new();
        for host in 0..256 {
            for network in addresses.subnets(host) {
                assert!(addresses.everything().iter().any(|all| all.contains(&network)));
                assert!(seen.insert(network.to_string()));
            }
            assert!(seen.insert(addresses.of_host(host).to_string()));
            assert_eq!(host_of(&addresses, addresses.of_host(host).into()), Some(host));
        }
        assert_eq!(host_of(&addresses, addresses.of_guest(1).into()), None);
    }

    #[test]
    fn a_pool_is_private_and_has_room() {
        for (pool, room) in [
            ("10.0.0.0/8", Some(u16::MAX - 1)),
            ("172.20.0.0/20", Some(16)),
            ("192.168.7.0/23", Some(2)),
            ("192.168.7.0/24", None),
            ("100.64.0.0/10", Some(16384)),
            ("11.0.0.0/16", None),
            ("0.0.0.0/0", None),
        ] {
            assert_eq!(addresses(pool).ok().map(|addresses| addresses.room()), room, "{pool}");
        }
    }
}
