//! The addresses of a gateway and its peers: one for each of them in each subnet.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv6Net};

/// The subnets of a gateway, and which of their addresses are taken.
#[derive(Debug)]
pub struct Network {
    subnets: Vec<Subnet>,
}

#[derive(Debug)]
struct Subnet {
    net: IpNet,
    gateway: IpAddr,
    taken: BTreeSet<IpAddr>,
}

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Too small for a gateway and a peer.
    #[error("the network {subnet} has no room for a gateway and a peer")]
    TooSmall {
        /// The subnet.
        subnet: IpNet,
    },
    /// Every address is taken.
    #[error("the network {subnet} has no free address; choose one with a shorter prefix")]
    Full {
        /// The subnet.
        subnet: IpNet,
    },
}

impl Network {
    /// Subnets in which the gateway takes the first address.
    ///
    /// # Errors
    ///
    /// [`NetworkError::TooSmall`].
    pub fn new(subnets: &[IpNet]) -> Result<Self, NetworkError> {
        let subnets = subnets
            .iter()
            .map(|net| Subnet::new(net.trunc()))
            .collect::<Result<_, _>>()?;
        Ok(Self { subnets })
    }

    /// A unique local /64 (RFC 4193, section 3.2.2) from seven random bytes: 40 bits of global ID, 16 of subnet.
    pub fn random_local(random: [u8; 7]) -> Ipv6Net {
        let mut octets = [0; 16];
        octets[0] = 0xfd;
        octets[1..8].copy_from_slice(&random);
        Ipv6Net::new_assert(Ipv6Addr::from(octets), 64)
    }

    /// The gateway's own addresses, each with its subnet's prefix length.
    pub fn gateway_addresses(&self) -> Vec<IpNet> {
        let net = |subnet: &Subnet| {
            IpNet::new(subnet.gateway, subnet.net.prefix_len()).expect("the prefix is of the address's family")
        };
        self.subnets.iter().map(net).collect()
    }

    /// Takes the addresses that a peer had before, as far as they are free. An address of another subnet is moved
    /// into the one of its family, to the same place.
    pub fn claim(&mut self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let mut claimed = Vec::new();
        for subnet in &mut self.subnets {
            let family = |address: &&IpAddr| address.is_ipv4() == subnet.net.addr().is_ipv4();
            let inside = addresses.iter().find(|address| subnet.net.contains(*address));
            let candidate = inside
                .or_else(|| addresses.iter().find(family))
                .map(|address| moved(*address, subnet.net));
            claimed.extend(candidate.filter(|address| subnet.take(*address)));
        }
        claimed
    }

    /// Adds the lowest free address of every subnet that `addresses` has none of.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Full`].
    pub fn complete(&mut self, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, NetworkError> {
        let address = |subnet: &mut Subnet| match addresses.iter().find(|address| subnet.net.contains(*address)) {
            Some(address) => Ok(*address),
            None => subnet.lowest().ok_or(NetworkError::Full { subnet: subnet.net }),
        };
        self.subnets.iter_mut().map(address).collect()
    }
}

impl Subnet {
    fn new(net: IpNet) -> Result<Self, NetworkError> {
        let error = NetworkError::TooSmall { subnet: net };
        if net.max_prefix_len() - net.prefix_len() < 2 {
            return Err(error);
        }
        // A subnet's first address belongs to no host, in either family (RFC 4291, section 2.6.1).
        let gateway = net.hosts().find(|address| *address != net.network()).ok_or(error)?;
        Ok(Self {
            net,
            gateway,
            taken: BTreeSet::from([gateway]),
        })
    }

    fn take(&mut self, address: IpAddr) -> bool {
        let is_host = address != self.net.network() && address != self.net.broadcast();
        is_host && self.taken.insert(address)
    }

    fn lowest(&mut self) -> Option<IpAddr> {
        let found = self
            .net
            .hosts()
            .find(|address| *address != self.net.network() && !self.taken.contains(address))?;
        self.take(found).then_some(found)
    }
}

/// The address with its network part replaced.
fn moved(address: IpAddr, net: IpNet) -> IpAddr {
    match (address, net) {
        (IpAddr::V4(address), IpNet::V4(net)) => {
            let host = u32::from(net.hostmask());
            Ipv4Addr::from(u32::from(net.network()) | u32::from(address) & host).into()
        }
        (IpAddr::V6(address), IpNet::V6(net)) => {
            let host = u128::from(net.hostmask());
            Ipv6Addr::from(u128::from(net.network()) | u128::from(address) & host).into()
        }
        (address, _) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(subnets: &[&str]) -> Network {
        Network::new(&subnets.iter().map(|subnet| subnet.parse().unwrap()).collect::<Vec<_>>()).unwrap()
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_gateway_has_the_first_address_and_peers_follow() {
        let mut network = network(&["10.13.13.0/24", "fd00:1::/64"]);
        let own: Vec<String> = network.gateway_addresses().iter().map(ToString::to_string).collect();
        assert_eq!(own, ["10.13.13.1/24", "fd00:1::1/64"]);
        for last in 2..=4 {
            let expected = addresses(&[&format!("10.13.13.{last}"), &format!("fd00:1::{last}")]);
            assert_eq!(network.complete(&[]), Ok(expected));
        }
    }

    #[test]
    fn a_peer_keeps_its_address_even_into_another_subnet() {
        // (what it had, what it keeps, what it gets in the end)
        for (had, kept, gets) in [
            (
                &["10.13.13.7", "fd00:1::7"][..],
                &["10.13.13.7", "fd00:1::7"][..],
                &["10.13.13.7", "fd00:1::7"][..],
            ),
            (&["192.168.5.7"], &["10.13.13.7"], &["10.13.13.7", "fd00:1::2"]),
            (&["fd00:2::9"], &["fd00:1::9"], &["10.13.13.2", "fd00:1::9"]),
            (&["10.13.13.1"], &[], &["10.13.13.2", "fd00:1::2"]),
            (&["10.13.13.255", "10.13.13.0"], &[], &["10.13.13.2", "fd00:1::2"]),
            (&[], &[], &["10.13.13.2", "fd00:1::2"]),
        ] {
            let mut network = network(&["10.13.13.0/24", "fd00:1::/64"]);
            let claimed = network.claim(&addresses(had));
            assert_eq!(claimed, addresses(kept), "{had:?}");
            assert_eq!(network.complete(&claimed), Ok(addresses(gets)), "{had:?}");
        }
    }

    #[test]
    fn an_address_is_given_to_one_peer() {
        let mut network = network(&["10.13.13.0/29"]);
        assert_eq!(network.claim(&addresses(&["10.13.13.3"])), addresses(&["10.13.13.3"]));
        assert_eq!(network.claim(&addresses(&["10.13.13.3"])), addresses(&[]));
        let rest: Vec<IpAddr> = (0..4).map(|_| network.complete(&[]).unwrap()[0]).collect();
        assert_eq!(
            rest,
            addresses(&["10.13.13.2", "10.13.13.4", "10.13.13.5", "10.13.13.6"])
        );
        assert!(matches!(network.complete(&[]), Err(NetworkError::Full { .. })));
    }

    #[test]
    fn a_subnet_without_room_is_refused() {
        for subnet in ["10.0.0.0/31", "10.0.0.1/32", "fd00::/127"] {
            assert!(Network::new(&[subnet.parse().unwrap()]).is_err(), "{subnet}");
        }
    }

    #[test]
    fn a_random_local_network_is_a_ula() {
        assert_eq!(
            Network::random_local([1, 2, 3, 4, 5, 6, 7]).to_string(),
            "fd01:203:405:607::/64"
        );
    }
}
