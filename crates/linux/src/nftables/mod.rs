//! The kernel's packet filter: tables, chains, rules and sets of nf_tables, by netlink and without `nft`.
//!
//! A [`Batch`] is a pure description of a change. [`Nftables::commit`] makes all of it true in one step or none of it.
//!
//! ```text
//!   table inet adit ─┬─ chain forward   on a hook: every packet there goes through its rules
//!                    ├─ chain list-1    jumped to
//!                    └─ set, map        addresses, networks; of a map, each with a verdict
//! ```
//!
//! Numbers and layouts are those of `linux/netfilter/nf_tables.h`.

mod attribute;
mod batch;
mod connection;
mod expression;
mod fate;
pub mod guest;
mod list;
mod rule;
mod set;
#[cfg(test)]
mod tests;
pub mod wall;

pub use self::{
    batch::{Batch, Chain, ChainType, Hook, Policy},
    connection::Nftables,
    list::{BaseChain, FoundRule, FoundTable},
    rule::{Rule, Verdict},
    set::{Element, Set},
};

/// The packets that a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableFamily {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl TableFamily {
    /// `NFPROTO_…`.
    fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        [Self::Inet, Self::V4, Self::V6]
            .into_iter()
            .find(|family| family.number() == number)
    }
}

impl From<crate::Family> for TableFamily {
    fn from(family: crate::Family) -> Self {
        match family {
            crate::Family::V4 => Self::V4,
            crate::Family::V6 => Self::V6,
        }
    }
}

impl std::fmt::Display for TableFamily {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Inet => "inet",
            Self::V4 => "ip",
            Self::V6 => "ip6",
        })
    }
}
