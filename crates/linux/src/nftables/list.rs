//! What is there already: tables, base chains, rules with a comment.

use super::{
    Nftables, TableFamily,
    attribute::{self, Attributes},
};
use crate::netlink::Error;

/// `NFT_MSG_GETTABLE`, and so on.
const GET_TABLE: u16 = 1;
const GET_CHAIN: u16 = 4;
const GET_RULE: u16 = 7;
const GET_ELEMENTS: u16 = 13;

/// A table that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTable {
    /// Which packets it sees.
    pub family: TableFamily,
    /// Its name.
    pub name: String,
    /// The kernel's number for it, which no later table has.
    pub handle: u64,
    /// The comment that it was made with.
    pub comment: Option<String>,
}

/// A chain that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// Which packets its table sees.
    pub family: TableFamily,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The number of its hook, as [`super::Hook`] has them, if it hangs on one.
    pub hook: Option<u32>,
    /// `filter`, `nat` or `route`, if it hangs on a hook.
    pub kind: Option<String>,
    /// Whether packets for which no rule decides are dropped.
    pub drops: bool,
}

/// A rule with a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRule {
    /// Its chain.
    pub chain: String,
    /// The kernel's number for it.
    pub handle: u64,
    /// Its comment.
    pub comment: String,
}

impl Nftables {
    /// All tables for IP packets.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn tables(&mut self) -> Result<Vec<FoundTable>, Error> {
        self.dump(
            GET_TABLE,
            None,
            &[],
            "listing the tables of nf_tables",
            |family, bytes| {
                Some(FoundTable {
                    family,
                    name: attribute::find_text(bytes, 1)?,
                    handle: attribute::find_long(bytes, 4).unwrap_or_default(),
                    comment: attribute::find(bytes, 6).and_then(attribute::read_comment),
                })
            },
        )
    }

    /// All chains for IP packets.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn chains(&mut self) -> Result<Vec<BaseChain>, Error> {
        self.dump(
            GET_CHAIN,
            None,
            &[],
            "listing the chains of nf_tables",
            |family, bytes| {
                Some(BaseChain {
                    family,
                    table: attribute::find_text(bytes, 1)?,
                    name: attribute::find_text(bytes, 3)?,
                    hook: attribute::find(bytes, 4).and_then(|hook| attribute::find_number(hook, 1)),
                    kind: attribute::find_text(bytes, 7),
                    drops: attribute::find_number(bytes, 5) == Some(0),
                })
            },
        )
    }

    /// All rules of a table in their order: each by its chain, and its comment if it has one.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn rules(&mut self, family: TableFamily, table: &str) -> Result<Vec<(String, Option<String>)>, Error> {
        self.each_rule(family, table, |chain, bytes| Some((chain, comment(bytes))))
    }

    /// The rules of a table that have a comment.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn commented_rules(&mut self, family: TableFamily, table: &str) -> Result<Vec<FoundRule>, Error> {
        self.each_rule(family, table, |chain, bytes| {
            Some(FoundRule {
                chain,
                handle: attribute::find_long(bytes, 3)?,
                comment: comment(bytes)?,
            })
        })
    }

    /// Reads the rules of a table, each with the name of its chain.
    fn each_rule<R>(
        &mut self,
        family: TableFamily,
        table: &str,
        read: impl Fn(String, &[u8]) -> Option<R>,
    ) -> Result<Vec<R>, Error> {
        let mut wanted = Attributes::default();
        wanted.text(1, table);
        let action = format!("listing the rules of the table {table}");
        self.dump(GET_RULE, Some(family), wanted.as_bytes(), &action, |found, bytes| {
            // Kernels differ in what they filter by.
            if found != family || attribute::find_text(bytes, 1)? != table {
                return None;
            }
            read(attribute::find_text(bytes, 2)?, bytes)
        })
    }

    /// The names in a set that [`super::Batch::add_names`] made; none if there is no such set.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn names(&mut self, family: TableFamily, table: &str, set: &str) -> Result<Vec<String>, Error> {
        let found = self.elements(family, table, set, |elements| {
            let elements = attribute::inside(elements);
            let keys = elements.filter_map(|element| attribute::find_text(attribute::find(element, 1)?, 1));
            keys.collect::<Vec<_>>()
        });
        match found {
            Err(error) if error.is_missing() => Ok(Vec::new()),
            found => Ok(found?.concat()),
        }
    }

    /// Reads the elements of a set, as lists of them.
    pub(super) fn elements<R>(
        &mut self,
        family: TableFamily,
        table: &str,
        set: &str,
        read: impl Fn(&[u8]) -> R,
    ) -> Result<Vec<R>, Error> {
        let mut wanted = Attributes::default();
        wanted.text(1, table).text(2, set);
        let action = format!("listing the set {set} of the table {table}");
        self.dump(GET_ELEMENTS, Some(family), wanted.as_bytes(), &action, |_, bytes| {
            Some(read(attribute::find(bytes, 3)?))
        })
    }
}

/// A rule's comment, if it has one.
fn comment(rule: &[u8]) -> Option<String> {
    attribute::find(rule, 7).and_then(attribute::read_comment)
}
