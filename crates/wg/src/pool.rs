//! Leases addresses of a subnet to peers.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::IpNet;

/// The addresses of one subnet, and who has which. Knows nothing of time: a lease lasts until it is released.
///
/// Free addresses are kept as ranges, so that a large pool costs no more than the holes in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    subnet: IpNet,
    /// Ranges without a lease, first address to last; they neither touch nor overlap.
    free: BTreeMap<u128, u128>,
    leases: BTreeMap<String, u128>,
    holders: BTreeMap<u128, String>,
}

/// An address that cannot be leased.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Every address has its holder.
    #[error("no address is left in {subnet} ({leases} are in use); remove a peer, or choose a larger subnet")]
    Exhausted {
        /// The pool's subnet.
        subnet: IpNet,
        /// How many are leased.
        leases: usize,
    },
    /// An address of another subnet.
    #[error("{address} is not in {subnet}; choose an address of that subnet, or none")]
    Outside {
        /// The address.
        address: IpAddr,
        /// The pool's subnet.
        subnet: IpNet,
    },
    /// An address that no peer can have.
    #[error("{address} is the gateway's, or the network's own; choose another address of {subnet}, or none")]
    Reserved {
        /// The address.
        address: IpAddr,
        /// The pool's subnet.
        subnet: IpNet,
    },
    /// An address that another peer has.
    #[error("{address} belongs to {holder}; choose another address, or none")]
    Taken {
        /// The address.
        address: IpAddr,
        /// Who has it.
        holder: String,
    },
}

impl Pool {
    /// A pool of the addresses of `subnet`; host bits are ignored.
    ///
    /// Left out are the `reserved` ones (the gateway's own), of IPv4 the network and broadcast address unless the
    /// prefix is 31 or 32 (RFC 3021), and of IPv6 the subnet-router anycast address, all host bits zero (RFC 4291,
    /// section 2.6.1), unless the prefix is 127 or 128 (RFC 6164).
    ///
    /// # Errors
    ///
    /// [`PoolError::Outside`] if a reserved address is in another subnet.
    pub fn new(subnet: IpNet, reserved: &[IpAddr]) -> Result<Self, PoolError> {
        let subnet = subnet.trunc();
        let (first, last) = (number(subnet.network()), number(subnet.broadcast()));
        let mut pool = Self {
            subnet,
            free: BTreeMap::from([(first, last)]),
            leases: BTreeMap::new(),
            holders: BTreeMap::new(),
        };
        let is_link = subnet.max_prefix_len() - subnet.prefix_len() < 2;
        if !is_link {
            pool.take(first);
            if matches!(subnet, IpNet::V4(_)) {
                pool.take(last);
            }
        }
        for address in reserved {
            let number = pool.number_inside(*address)?;
            pool.take(number);
        }
        Ok(pool)
    }

    /// The subnet, its host bits zero.
    pub fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// The address of the peer with this name: the one that it has, else `preferred` if that is free, else the
    /// lowest that is free.
    ///
    /// # Errors
    ///
    /// [`PoolError::Exhausted`].
    pub fn lease(&mut self, name: &str, preferred: Option<IpAddr>) -> Result<IpAddr, PoolError> {
        if let Some(number) = self.leases.get(name) {
            return Ok(self.address(*number));
        }
        let wish = preferred.and_then(|address| self.number_inside(address).ok());
        let number = match wish.filter(|number| self.is_free(*number)) {
            Some(number) => number,
            None => *self.free.keys().next().ok_or(PoolError::Exhausted {
                subnet: self.subnet,
                leases: self.leases.len(),
            })?,
        };
        self.give(name, number);
        Ok(self.address(number))
    }

    /// Gives this very address to the peer with this name, in place of the one that it has: what was written down
    /// in an earlier life is so taken up again.
    ///
    /// # Errors
    ///
    /// [`PoolError`] if the address is another's or no peer's; the peer then keeps what it has.
    pub fn claim(&mut self, name: &str, address: IpAddr) -> Result<(), PoolError> {
        let number = self.number_inside(address)?;
        match self.holders.get(&number) {
            Some(holder) if holder == name => return Ok(()),
            Some(holder) => {
                let holder = holder.clone();
                return Err(PoolError::Taken { address, holder });
            }
            None if !self.is_free(number) => {
                let subnet = self.subnet;
                return Err(PoolError::Reserved { address, subnet });
            }
            None => {}
        }
        self.release(name);
        self.give(name, number);
        Ok(())
    }

    /// Takes the address back from the peer with this name, and says which it was.
    pub fn release(&mut self, name: &str) -> Option<IpAddr> {
        let number = self.leases.remove(name)?;
        self.holders.remove(&number);
        // Joined with the free ranges on both sides.
        let below = self.free.range(..number).next_back();
        let start = match below.map(|(start, end)| (*start, *end)) {
            Some((start, end)) if end.checked_add(1) == Some(number) => start,
            _ => number,
        };
        let above = number.checked_add(1).and_then(|next| self.free.remove(&next));
        self.free.insert(start, above.unwrap_or(number));
        Some(self.address(number))
    }

    /// The address that the peer with this name has.
    pub fn address_of(&self, name: &str) -> Option<IpAddr> {
        self.leases.get(name).map(|number| self.address(*number))
    }

    /// The name of the peer that has this address.
    pub fn holder_of(&self, address: IpAddr) -> Option<&str> {
        let number = self.number_inside(address).ok()?;
        self.holders.get(&number).map(String::as_str)
    }

    /// The leases, from the lowest address to the highest.
    pub fn iter(&self) -> impl Iterator<Item = (&str, IpAddr)> {
        let by_address = self.holders.iter();
        by_address.map(|(number, name)| (name.as_str(), self.address(*number)))
    }

    /// How many addresses are leased.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether no address is leased.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// How many addresses are free, at most `u128::MAX`.
    pub fn available(&self) -> u128 {
        let sizes = self.free.iter().map(|(start, end)| (end - start).saturating_add(1));
        sizes.fold(0, u128::saturating_add)
    }

    fn give(&mut self, name: &str, number: u128) {
        self.take(number);
        self.leases.insert(name.to_owned(), number);
        self.holders.insert(number, name.to_owned());
    }

    /// The free range that `number` is in.
    fn range_of(&self, number: u128) -> Option<(u128, u128)> {
        let (start, end) = self.free.range(..=number).next_back()?;
        (*end >= number).then_some((*start, *end))
    }

    fn is_free(&self, number: u128) -> bool {
        self.range_of(number).is_some()
    }

    /// Takes an address out of the free ranges, if it is in them.
    fn take(&mut self, number: u128) {
        let Some((start, end)) = self.range_of(number) else {
            return;
        };
        self.free.remove(&start);
        if start < number {
            self.free.insert(start, number - 1);
        }
        if number < end {
            self.free.insert(number + 1, end);
        }
    }

    fn number_inside(&self, address: IpAddr) -> Result<u128, PoolError> {
        if self.subnet.contains(&address) {
            return Ok(number(address));
        }
        let subnet = self.subnet;
        Err(PoolError::Outside { address, subnet })
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.subnet {
            IpNet::V4(_) => {
                let bits = u32::try_from(number).expect("the numbers of an IPv4 subnet have 32 bits");
                Ipv4Addr::from_bits(bits).into()
            }
            IpNet::V6(_) => Ipv6Addr::from_bits(number).into(),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn pool(subnet: &str, reserved: &[&str]) -> Pool {
        let reserved: Vec<IpAddr> = reserved.iter().map(|text| ip(text)).collect();
        Pool::new(subnet.parse().unwrap(), &reserved).unwrap()
    }

    /// All addresses that the pool gives, lowest first.
    fn drain(pool: &mut Pool) -> Vec<String> {
        let names = (0..).map(|number| format!("peer{number}"));
        names
            .map_while(|name| Some(pool.lease(&name, None).ok()?.to_string()))
            .collect()
    }

    #[test]
    fn a_pool_gives_the_addresses_that_peers_can_have() {
        for (subnet, reserved, addresses) in [
            (
                "10.13.13.0/29",
                &["10.13.13.1"][..],
                &["10.13.13.2", "10.13.13.3", "10.13.13.4", "10.13.13.5", "10.13.13.6"][..],
            ),
            ("10.13.13.5/30", &["10.13.13.6"], &["10.13.13.5"]),
            ("10.13.13.4/30", &["10.13.13.5", "10.13.13.6"], &[]),
            ("10.0.0.0/31", &["10.0.0.0"], &["10.0.0.1"]),
            ("10.0.0.1/32", &[], &["10.0.0.1"]),
            ("255.255.255.252/30", &[], &["255.255.255.253", "255.255.255.254"]),
            ("0.0.0.0/30", &[], &["0.0.0.1", "0.0.0.2"]),
            ("fd00::/126", &["fd00::1"], &["fd00::2", "fd00::3"]),
            ("fd00::/127", &[], &["fd00::", "fd00::1"]),
            ("fd00::7/128", &[], &["fd00::7"]),
            (
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127",
                &[],
                &[
                    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
                    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                ],
            ),
        ] {
            let mut pool = pool(subnet, reserved);
            assert_eq!(pool.available(), addresses.len() as u128, "{subnet}");
            assert_eq!(drain(&mut pool), addresses, "{subnet}");
            assert_eq!(pool.available(), 0);
        }
    }

    #[test]
    fn a_name_keeps_its_address_and_what_is_released_is_given_again() {
        let mut pool = pool("10.0.0.0/24", &["10.0.0.1"]);
        assert_eq!(pool.lease("a", None), Ok(ip("10.0.0.2")));
        assert_eq!(pool.lease("b", None), Ok(ip("10.0.0.3")));
        assert_eq!(pool.lease("a", Some(ip("10.0.0.9"))), Ok(ip("10.0.0.2")));
        assert_eq!(pool.release("a"), Some(ip("10.0.0.2")));
        assert_eq!(pool.release("a"), None);
        assert_eq!(pool.lease("c", None), Ok(ip("10.0.0.2")));
        assert_eq!(
            pool.iter().collect::<Vec<_>>(),
            [("c", ip("10.0.0.2")), ("b", ip("10.0.0.3"))]
        );
        assert_eq!(
            (pool.address_of("b"), pool.address_of("a")),
            (Some(ip("10.0.0.3")), None)
        );
        assert_eq!(
            (pool.holder_of(ip("10.0.0.2")), pool.holder_of(ip("10.0.0.1"))),
            (Some("c"), None)
        );
    }

    #[test]
    fn a_preferred_address_is_given_if_it_is_free() {
        let mut pool = pool("10.0.0.0/24", &["10.0.0.1"]);
        assert_eq!(pool.lease("a", Some(ip("10.0.0.77"))), Ok(ip("10.0.0.77")));
        for preferred in ["10.0.0.77", "10.0.0.1", "10.0.0.0", "10.0.0.255", "10.0.1.9", "fd00::1"] {
            assert_eq!(pool.lease("b", Some(ip(preferred))), Ok(ip("10.0.0.2")), "{preferred}");
            pool.release("b");
        }
    }

    #[test]
    fn a_claim_is_for_that_address_or_none() {
        let mut pool = pool("fd00::/64", &["fd00::1"]);
        let subnet = pool.subnet();
        pool.lease("a", None).unwrap();
        pool.claim("b", ip("fd00::5")).unwrap();
        pool.claim("b", ip("fd00::5")).unwrap();
        pool.claim("b", ip("fd00::6")).unwrap();
        for (address, error) in [
            (
                "fd00::2",
                PoolError::Taken {
                    address: ip("fd00::2"),
                    holder: "a".to_owned(),
                },
            ),
            (
                "fd00::1",
                PoolError::Reserved {
                    address: ip("fd00::1"),
                    subnet,
                },
            ),
            (
                "fd00::",
                PoolError::Reserved {
                    address: ip("fd00::"),
                    subnet,
                },
            ),
            (
                "fd01::2",
                PoolError::Outside {
                    address: ip("fd01::2"),
                    subnet,
                },
            ),
        ] {
            assert_eq!(pool.claim("b", ip(address)), Err(error));
        }
        assert_eq!(
            pool.iter().collect::<Vec<_>>(),
            [("a", ip("fd00::2")), ("b", ip("fd00::6"))]
        );
        let outside = Pool::new(subnet, &[ip("10.0.0.1")]);
        assert_eq!(
            outside,
            Err(PoolError::Outside {
                address: ip("10.0.0.1"),
                subnet
            })
        );
    }

    #[test]
    fn an_exhausted_pool_says_what_would_mend_it() {
        let mut pool = pool("10.0.0.0/30", &["10.0.0.1"]);
        pool.lease("a", None).unwrap();
        assert_eq!(
            pool.lease("b", None).unwrap_err().to_string(),
            "no address is left in 10.0.0.0/30 (1 are in use); remove a peer, or choose a larger subnet"
        );
    }

    #[test]
    fn the_whole_of_ipv6_is_a_pool() {
        let mut pool = pool("::/0", &[]);
        assert_eq!(pool.available(), u128::MAX);
        assert_eq!(pool.lease("a", None), Ok(ip("::1")));
        assert_eq!(
            pool.lease("b", Some(ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")))
                .unwrap(),
            ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
        );
        assert!(pool.release("b").is_some());
        assert_eq!(pool.free.len(), 1);
    }

    #[test]
    fn a_hundred_thousand_leases_are_a_matter_of_ranges() {
        let mut pool = pool("10.0.0.0/8", &["10.0.0.1"]);
        for number in 0..100_000 {
            pool.lease(&format!("peer{number}"), None).unwrap();
        }
        assert_eq!(pool.free.len(), 1);
        for number in (0..100_000).step_by(2) {
            pool.release(&format!("peer{number}"));
        }
        assert_eq!(pool.free.len(), 50_001);
        assert_eq!(pool.lease("new", None), Ok(ip("10.0.0.2")));
        for number in 0..100_000 {
            pool.release(&format!("peer{number}"));
        }
        assert_eq!((pool.free.len(), pool.len()), (1, 1));
    }

    /// The same, without thought for speed.
    struct Naive {
        usable: BTreeSet<IpAddr>,
        leases: BTreeMap<String, IpAddr>,
    }

    impl Naive {
        fn lowest(&self) -> Option<IpAddr> {
            let is_free = |address: &&IpAddr| !self.leases.values().any(|leased| leased == *address);
            self.usable.iter().find(is_free).copied()
        }

        fn is_free(&self, address: IpAddr) -> bool {
            self.usable.contains(&address) && !self.leases.values().any(|leased| *leased == address)
        }
    }

    proptest! {
        #[test]
        fn a_pool_does_what_a_naive_model_does(
            ipv6 in any::<bool>(),
            length in 0..6_u8,
            gateway in 0..32_u8,
            steps in proptest::collection::vec((0..4_u8, 0..12_u8, 0..40_u8), 0..60),
        ) {
            let at = |offset: u8| match ipv6 {
                true => IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, offset]),
                false => IpAddr::from([10, 0, 7, offset]),
            };
            let bits = if ipv6 { 128 } else { 32 };
            let subnet = IpNet::new(at(0), bits - length).unwrap();
            let size = 1_u8 << length;
            let gateway = gateway % size;
            let mut pool = Pool::new(subnet, &[at(gateway)]).unwrap();
            let excluded = |offset: u8| {
                offset == gateway || length > 1 && (offset == 0 || !ipv6 && offset == size - 1)
            };
            let mut model = Naive {
                usable: (0..size).filter(|offset| !excluded(*offset)).map(at).collect(),
                leases: BTreeMap::new(),
            };
            for (step, name, offset) in steps {
                let (name, address) = (format!("peer{name}"), at(offset));
                match step {
                    0 | 1 => {
                        let wish = (step == 1).then_some(address);
                        let expected = model.leases.get(&name).copied()
                            .or(wish.filter(|wish| model.is_free(*wish)))
                            .or_else(|| model.lowest());
                        prop_assert_eq!(pool.lease(&name, wish).ok(), expected);
                        if let Some(address) = expected {
                            model.leases.insert(name, address);
                        }
                    }
                    2 => prop_assert_eq!(pool.release(&name), model.leases.remove(&name)),
                    _ => {
                        let held = model.leases.get(&name) == Some(&address);
                        let expected = held || model.is_free(address);
                        prop_assert_eq!(pool.claim(&name, address).is_ok(), expected);
                        if expected {
                            model.leases.insert(name, address);
                        }
                    }
                }
                let leases: BTreeMap<String, IpAddr> =
                    pool.iter().map(|(name, address)| (name.to_owned(), address)).collect();
                prop_assert_eq!(&leases, &model.leases);
                prop_assert_eq!(pool.len(), model.leases.len());
                prop_assert_eq!(pool.available(), (model.usable.len() - model.leases.len()) as u128);
            }
            // Ranges that touch are one.
            let ends: Vec<_> = pool.free.iter().collect();
            prop_assert!(ends.windows(2).all(|pair| pair[0].1 + 1 < *pair[1].0));
        }
    }
}
