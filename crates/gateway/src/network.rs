//! The addresses of a gateway and its peers: one for each of them in each subnet.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv6Net};
use wg::pool::{Pool, PoolError};

/// The subnets of a gateway, and who has which of their addresses.
#[derive(Debug)]
pub struct Network {
    subnets: Vec<Subnet>,
    /// In whose name addresses behind peers are taken, by peer.
    held: HashMap<String, Vec<String>>,
}

#[derive(Debug)]
struct Subnet {
    gateway: IpAddr,
    pool: Pool,
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
    /// A peer whose address is in no subnet, though the gateway's is.
    #[error(
        "{peer} has the address {address}, which is not in {subnet}: give INTERNAL_SUBNET a network that holds it, or \
         write an address of {subnet} into {peer}/{peer}.conf"
    )]
    Outside {
        /// The peer's directory.
        peer: String,
        /// Its address.
        address: IpAddr,
        /// The subnet of its family.
        subnet: IpNet,
    },
    /// No subnet is of the address's family.
    #[error("{address} is of a family that the gateway does not have")]
    Family {
        /// The address.
        address: IpAddr,
    },
    /// The address, or any, cannot be had.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

impl Network {
    /// Subnets in which the gateway takes the first address.
    ///
    /// # Errors
    ///
    /// [`NetworkError::TooSmall`].
    pub fn new(subnets: &[IpNet]) -> Result<Self, NetworkError> {
        Self::with_gateway(subnets, &[])
    }

    /// Subnets in which the gateway keeps the addresses that it had, where they are in one, and else takes the first.
    ///
    /// # Errors
    ///
    /// [`NetworkError::TooSmall`].
    pub fn with_gateway(subnets: &[IpNet], had: &[IpAddr]) -> Result<Self, NetworkError> {
        let subnets = subnets
            .iter()
            .map(|net| Subnet::new(net.trunc(), had))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            subnets,
            held: HashMap::new(),
        })
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
            let prefix_len = subnet.pool.subnet().prefix_len();
            IpNet::new(subnet.gateway, prefix_len).expect("the prefix is of the address's family")
        };
        self.subnets.iter().map(net).collect()
    }

    /// Gives a peer the addresses that it had before, as far as they are free. An address of another subnet is moved
    /// into the one of its family, to the same place.
    pub fn claim(&mut self, peer: &str, addresses: &[IpAddr]) {
        for subnet in &mut self.subnets {
            let net = subnet.pool.subnet();
            let inside = addresses.iter().find(|address| net.contains(*address));
            let same_family = || {
                addresses
                    .iter()
                    .find(|address| address.is_ipv4() == net.addr().is_ipv4())
            };
            if let Some(address) = inside.or_else(same_family) {
                // If it is another's, the peer gets a free one with its lease.
                let _taken = subnet.pool.claim(peer, moved(*address, net));
            }
        }
    }

    /// The subnet to which a peer with these addresses would be moved, though it is the one in which the gateway was;
    /// and the address that it would lose.
    pub(crate) fn moves(&self, gateway: IpAddr, addresses: &[IpAddr]) -> Option<(IpAddr, IpNet)> {
        let mut nets = self.subnets.iter().map(|subnet| subnet.pool.subnet());
        let net = nets.find(|net| net.contains(&gateway))?;
        let mut family = addresses
            .iter()
            .filter(|address| address.is_ipv4() == gateway.is_ipv4());
        let is_inside = family.clone().any(|address| net.contains(address));
        family.next().filter(|_| !is_inside).map(|address| (*address, net))
    }

    /// Gives a peer this very address, in place of the one of its family that it has.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Pool`] if it is another's, or no peer's; the peer keeps what it has.
    pub fn reserve(&mut self, peer: &str, address: IpAddr) -> Result<(), NetworkError> {
        let family = |subnet: &&mut Subnet| subnet.pool.subnet().addr().is_ipv4() == address.is_ipv4();
        let mut subnets: Vec<&mut Subnet> = self.subnets.iter_mut().filter(family).collect();
        let inside = subnets
            .iter()
            .position(|subnet| subnet.pool.subnet().contains(&address));
        match subnets.get_mut(inside.unwrap_or(0)) {
            Some(subnet) => Ok(subnet.pool.claim(peer, address)?),
            None => Err(NetworkError::Family { address }),
        }
    }

    /// Leases those of the networks behind a peer to nobody that are single addresses of a subnet; others that were
    /// behind it are free.
    pub fn hold(&mut self, peer: &str, networks: &[IpNet]) {
        for holder in self.held.remove(peer).unwrap_or_default() {
            for subnet in &mut self.subnets {
                subnet.pool.release(&holder);
            }
        }
        let is_single = |network: &&IpNet| network.prefix_len() == network.max_prefix_len();
        let mut held = Vec::new();
        for address in networks.iter().filter(is_single).map(IpNet::addr) {
            let holder = format!("{peer}, behind which {address} is");
            // One that is a peer's already stays so.
            let claim = |subnet: &mut Subnet| subnet.pool.claim(&holder, address).is_ok();
            if self.subnets.iter_mut().any(claim) {
                held.push(holder);
            }
        }
        if !held.is_empty() {
            self.held.insert(peer.to_owned(), held);
        }
    }

    /// Takes a peer's addresses back, and those behind it.
    pub fn release(&mut self, peer: &str) {
        self.hold(peer, &[]);
        for subnet in &mut self.subnets {
            subnet.pool.release(peer);
        }
    }

    /// The peer's addresses, one in each subnet: those that it has, else the lowest that are free.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Pool`] if there is none.
    pub fn lease(&mut self, peer: &str) -> Result<Vec<IpAddr>, NetworkError> {
        self.subnets
            .iter_mut()
            .map(|subnet| Ok(subnet.pool.lease(peer, None)?))
            .collect()
    }
}

impl Subnet {
    fn new(net: IpNet, had: &[IpAddr]) -> Result<Self, NetworkError> {
        if net.max_prefix_len() - net.prefix_len() < 2 {
            return Err(NetworkError::TooSmall { subnet: net });
        }
        let is_host = |address: &IpAddr| {
            let is_edge = *address == net.network() || (address.is_ipv4() && *address == net.broadcast());
            net.contains(address) && !is_edge
        };
        let kept = had.iter().copied().find(is_host);
        let gateway = kept.unwrap_or_else(|| moved(first_host(net), net));
        Ok(Self {
            gateway,
            pool: Pool::new(net, &[gateway])?,
        })
    }
}

/// The place of a subnet's first host: its network's own address belongs to none.
fn first_host(net: IpNet) -> IpAddr {
    match net {
        IpNet::V4(_) => Ipv4Addr::from_bits(1).into(),
        IpNet::V6(_) => Ipv6Addr::from_bits(1).into(),
    }
}

/// The address with its network part replaced.
fn moved(address: IpAddr, net: IpNet) -> IpAddr {
    match (address, net) {
        (IpAddr::V4(address), IpNet::V4(net)) => {
            Ipv4Addr::from_bits(net.network().to_bits() | address.to_bits() & net.hostmask().to_bits()).into()
        }
        (IpAddr::V6(address), IpNet::V6(net)) => {
            Ipv6Addr::from_bits(net.network().to_bits() | address.to_bits() & net.hostmask().to_bits()).into()
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
            assert_eq!(network.lease(&last.to_string()), Ok(expected));
        }
    }

    #[test]
    fn a_peer_keeps_its_address_even_into_another_subnet() {
        for (had, gets) in [
            (&["10.13.13.7", "fd00:1::7"][..], ["10.13.13.7", "fd00:1::7"]),
            (&["192.168.5.7"], ["10.13.13.7", "fd00:1::2"]),
            (&["192.168.5.8", "10.13.13.7"], ["10.13.13.7", "fd00:1::2"]),
            (&["fd00:2::9"], ["10.13.13.2", "fd00:1::9"]),
            (&["10.13.13.1"], ["10.13.13.2", "fd00:1::2"]),
            (&["10.13.13.255"], ["10.13.13.2", "fd00:1::2"]),
            (&["10.13.13.0", "fd00:1::"], ["10.13.13.2", "fd00:1::2"]),
            (&[], ["10.13.13.2", "fd00:1::2"]),
        ] {
            let mut network = network(&["10.13.13.0/24", "fd00:1::/64"]);
            network.claim("phone", &addresses(had));
            assert_eq!(network.lease("phone"), Ok(addresses(&gets)), "{had:?}");
        }
    }

    #[test]
    fn the_gateway_keeps_its_address_where_it_can() {
        for (had, gets) in [
            (&["10.13.13.1"][..], ["10.13.13.1/16", "fd00:1::1/64"]),
            (&["10.13.13.254", "fd00:1::9"], ["10.13.13.254/16", "fd00:1::9/64"]),
            (&["10.14.0.1", "fd00:2::9"], ["10.13.0.1/16", "fd00:1::1/64"]),
            (&["10.13.0.0", "fd00:1::"], ["10.13.0.1/16", "fd00:1::1/64"]),
            (&["10.13.255.255"], ["10.13.0.1/16", "fd00:1::1/64"]),
        ] {
            let subnets = ["10.13.0.0/16", "fd00:1::/64"].map(|subnet| subnet.parse().unwrap());
            let network = Network::with_gateway(&subnets, &addresses(had)).unwrap();
            let own: Vec<String> = network.gateway_addresses().iter().map(ToString::to_string).collect();
            assert_eq!(own, gets, "{had:?}");
        }
    }

    #[test]
    fn an_address_is_given_to_one_peer() {
        let mut network = network(&["10.13.13.0/29"]);
        network.claim("a", &addresses(&["10.13.13.3"]));
        network.claim("b", &addresses(&["10.13.13.3"]));
        let leases: Vec<IpAddr> = ["b", "c", "d", "e", "a"]
            .map(|peer| network.lease(peer).unwrap()[0])
            .into();
        assert_eq!(
            leases,
            addresses(&["10.13.13.2", "10.13.13.4", "10.13.13.5", "10.13.13.6", "10.13.13.3"])
        );
        assert!(matches!(network.lease("f"), Err(NetworkError::Pool(_))));
    }

    #[test]
    fn an_address_that_is_asked_for_is_given_or_refused() {
        let mut network = network(&["10.13.13.0/24", "10.13.14.0/24"]);
        network.lease("a").unwrap();
        let mut reserve = |peer: &str, address: &str| network.reserve(peer, address.parse().unwrap());
        assert_eq!(reserve("b", "10.13.14.77"), Ok(()));
        for (address, reason) in [
            ("10.13.13.2", "belongs to a"),
            ("10.13.13.1", "the gateway's"),
            ("10.13.15.1", "is not in"),
            ("fd00::7", "of a family"),
        ] {
            let refusal = reserve("b", address).unwrap_err().to_string();
            assert!(refusal.contains(reason), "{address}: {refusal}");
        }
        assert_eq!(network.lease("b"), Ok(addresses(&["10.13.13.3", "10.13.14.77"])));
        network.release("a");
        assert_eq!(network.lease("c"), Ok(addresses(&["10.13.13.2", "10.13.14.2"])));
    }

    #[test]
    fn an_address_behind_a_peer_is_leased_to_nobody() {
        let mut network = network(&["10.13.13.0/24"]);
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        network.lease("a").unwrap();
        // Its own address, another's and the gateway's are what they were; a network is no address.
        network.hold(
            "router",
            &nets(&[
                "10.13.13.3/32",
                "10.13.13.2/32",
                "10.13.13.1/32",
                "10.13.13.4/30",
                "9.9.9.9/32",
            ]),
        );
        assert_eq!(network.lease("b"), Ok(addresses(&["10.13.13.4"])));
        let refusal = network
            .reserve("c", "10.13.13.3".parse().unwrap())
            .unwrap_err()
            .to_string();
        assert!(refusal.contains("belongs to router"), "{refusal}");
        network.hold("router", &nets(&["10.13.13.5/32"]));
        assert_eq!(network.lease("c"), Ok(addresses(&["10.13.13.3"])));
        assert_eq!(network.lease("d"), Ok(addresses(&["10.13.13.6"])));
        network.release("router");
        assert_eq!(network.lease("e"), Ok(addresses(&["10.13.13.5"])));
        assert_eq!(network.lease("a"), Ok(addresses(&["10.13.13.2"])));
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
