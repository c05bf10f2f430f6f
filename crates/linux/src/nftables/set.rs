//! Sets of addresses or networks, and maps from them to verdicts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{
    attribute::Attributes,
    expression::{value, verdict_data},
    rule::{Verdict, octets},
};
use crate::Family;

/// `NFT_SET_INTERVAL` and `NFT_SET_MAP`.
const INTERVAL: u32 = 4;
const MAP: u32 = 8;

/// `NFT_DATA_VERDICT`.
const VERDICT_TYPE: u32 = 0xffff_ff00;

/// `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL_END: u32 = 1;

/// A named set of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name, at most 255 bytes.
    pub name: String,
    /// What its addresses are.
    pub family: Family,
    /// Whether it holds networks and ranges, which must not overlap; else single addresses.
    pub networks: bool,
    /// Whether each element has a verdict.
    pub verdicts: bool,
}

/// An element of a set: an address, or a range of them if the set holds networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The address, or the first one.
    pub first: IpAddr,
    /// The last one; the same if it is one.
    pub last: IpAddr,
    /// What becomes of its packets, if the set is a map.
    pub verdict: Option<Verdict>,
}

impl Element {
    /// An element with a verdict.
    pub fn with_verdict(network: IpNet, verdict: Verdict) -> Self {
        Self {
            verdict: Some(verdict),
            ..network.into()
        }
    }
}

impl From<IpNet> for Element {
    fn from(network: IpNet) -> Self {
        Self {
            first: network.network(),
            last: network.broadcast(),
            verdict: None,
        }
    }
}

impl Set {
    /// What `NFT_MSG_NEWSET` says behind the table's name.
    pub(super) fn write(&self, id: u32, message: &mut Attributes) {
        // As `nft` numbers the types, so that it prints addresses: ipv4_addr and ipv6_addr.
        let (key_type, key_len) = match self.family {
            Family::V4 => (7, 4),
            Family::V6 => (8, 16),
        };
        let flags = if self.networks { INTERVAL } else { 0 } | if self.verdicts { MAP } else { 0 };
        message
            .text(2, &self.name)
            .number(3, flags)
            .number(4, key_type)
            .number(5, key_len);
        if self.verdicts {
            message.number(6, VERDICT_TYPE).number(7, 0);
        }
        message.number(10, id);
    }

    /// The elements as the kernel has them, one by one: of a range its first address, and the one after its last.
    pub(super) fn elements(&self, element: &Element) -> impl Iterator<Item = Attributes> {
        let mut first = Attributes::default();
        first.nested(1, &value(&octets(element.first)));
        if let Some(verdict) = &element.verdict {
            first.nested(2, &verdict_data(verdict));
        }
        let end = self.networks.then(|| after(element.last)).flatten().map(|end| {
            let mut last = Attributes::default();
            last.nested(1, &value(&octets(end))).number(3, INTERVAL_END);
            last
        });
        std::iter::once(first).chain(end)
    }
}

/// The address behind another; `None` if that is the last one.
fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(last) => Some(Ipv4Addr::from_bits(last.to_bits().checked_add(1)?).into()),
        IpAddr::V6(last) => Some(Ipv6Addr::from_bits(last.to_bits().checked_add(1)?).into()),
    }
}
