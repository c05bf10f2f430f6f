//! Reads others' rules, as far as it takes to know what becomes of a packet that none of them is about.
//!
//! A rule is read as one that all packets go through, or one with a condition; of that, only whether it may be about an
//! interface. A condition that is not known is one.

use super::{
    Nftables, TableFamily,
    attribute::{self, Attributes},
};
use crate::netlink::Error;

/// `NFT_MSG_GETRULE`.
const GET_RULE: u16 = 7;

/// Verdicts (`NF_…`, `NFT_…`).
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const JUMP: u32 = (-3_i32).cast_unsigned();
const GOTO: u32 = (-4_i32).cast_unsigned();
const RETURN: u32 = (-5_i32).cast_unsigned();

/// So deep do chains lead to one another in the kernel (`NFT_JUMP_STACK_SIZE`).
const DEPTH: u32 = 16;

/// What a rule does with every packet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// It is dropped or rejected.
    Block,
    /// It passes the whole hook's chain.
    Accept,
    /// It goes through another chain, and comes back.
    Jump(String),
    /// It goes through another chain.
    Goto(String),
    /// It leaves this chain.
    Return,
}

/// A rule of others'.
#[derive(Clone, Debug)]
struct ReadRule {
    chain: String,
    handle: u64,
    /// What is done with every packet; `None` if there is a condition, or if the packet just goes on.
    step: Option<Step>,
    /// The chain that some or all packets go to.
    leads_to: Option<String>,
    /// The sets and maps that are asked.
    sets: Vec<String>,
    /// Its expressions, as the kernel has them.
    expressions: Vec<u8>,
}

/// What becomes of a packet, in one chain, that no rule with a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The rule with this handle drops it, or leads to one that does.
    Blocked(u64),
    /// A rule accepts it.
    Accepted,
    /// The policy decides.
    Policy,
}

/// The rules of a table of others'.
#[derive(Debug)]
pub(super) struct ReadTable {
    family: TableFamily,
    name: String,
    rules: Vec<ReadRule>,
}

impl ReadTable {
    /// Reads a table.
    pub(super) fn open(nftables: &mut Nftables, family: TableFamily, name: &str) -> Result<Self, Error> {
        let mut wanted = Attributes::default();
        wanted.text(1, name);
        let action = format!("listing the rules of the table {name}");
        let rules = nftables.dump(GET_RULE, Some(family), wanted.as_bytes(), &action, |found, bytes| {
            // Kernels differ in what they filter by.
            if found != family || attribute::find_text(bytes, 1)? != name {
                return None;
            }
            let chain = attribute::find_text(bytes, 2)?;
            let handle = attribute::find_long(bytes, 3)?;
            Some(read(
                chain,
                handle,
                attribute::find(bytes, 4).unwrap_or_default().to_vec(),
            ))
        })?;
        Ok(Self {
            family,
            name: name.to_owned(),
            rules,
        })
    }

    /// What becomes of a packet in a chain.
    pub(super) fn fate(&self, chain: &str) -> Fate {
        self.fate_in(chain, DEPTH)
    }

    fn fate_in(&self, chain: &str, depth: u32) -> Fate {
        let Some(depth) = depth.checked_sub(1) else {
            return Fate::Policy;
        };
        for rule in self.rules.iter().filter(|rule| rule.chain == chain) {
            let fate = match &rule.step {
                None => continue,
                Some(Step::Block) => Fate::Blocked(rule.handle),
                Some(Step::Accept) => Fate::Accepted,
                Some(Step::Return) => Fate::Policy,
                Some(Step::Jump(other)) => match self.fate_in(other, depth) {
                    Fate::Policy => continue,
                    Fate::Accepted => Fate::Accepted,
                    Fate::Blocked(_) => Fate::Blocked(rule.handle),
                },
                Some(Step::Goto(other)) => match self.fate_in(other, depth) {
                    Fate::Blocked(_) => Fate::Blocked(rule.handle),
                    fate @ (Fate::Accepted | Fate::Policy) => fate,
                },
            };
            return fate;
        }
        Fate::Policy
    }

    /// Whether every packet of a chain goes through another before its fate is decided there.
    pub(super) fn always_asks(&self, chain: &str, other: &str) -> bool {
        for rule in self.rules.iter().filter(|rule| rule.chain == chain) {
            match &rule.step {
                Some(Step::Jump(to) | Step::Goto(to)) if to == other => return true,
                Some(Step::Jump(to)) if self.fate(to) == Fate::Policy => {}
                Some(_) => return false,
                None => {}
            }
        }
        false
    }

    /// Whether a rule that a chain has, or leads to, may be about an interface: it names it, or the beginning of its name,
    /// or asks a set that does.
    ///
    /// # Errors
    ///
    /// The kernel's refusal to list a set.
    pub(super) fn knows(&self, nftables: &mut Nftables, chain: &str, interface: &str) -> Result<bool, Error> {
        let mut chains = vec![chain];
        let mut at = 0;
        while let Some(chain) = chains.get(at).copied() {
            at += 1;
            for rule in self.rules.iter().filter(|rule| rule.chain == chain) {
                if names(&rule.expressions, interface) {
                    return Ok(true);
                }
                for set in &rule.sets {
                    if self.has_element(nftables, set, interface)? {
                        return Ok(true);
                    }
                }
                chains.extend(rule.leads_to.as_deref().filter(|to| !chains.contains(to)));
            }
        }
        Ok(false)
    }

    fn has_element(&self, nftables: &mut Nftables, set: &str, interface: &str) -> Result<bool, Error> {
        let found = nftables.elements(self.family, &self.name, set, |elements| names(elements, interface))?;
        Ok(found.contains(&true))
    }
}

/// Whether these bytes hold the name of an interface, or a beginning of it of two letters at least, as a text that ends.
fn names(bytes: &[u8], interface: &str) -> bool {
    let name = interface.as_bytes();
    (2..=name.len()).any(|len| {
        bytes
            .windows(len + 1)
            .any(|found| found.split_last() == Some((&0, &name[..len])))
    })
}

/// Reads a rule's expressions, a list of name and data each.
fn read(chain: String, handle: u64, expressions: Vec<u8>) -> ReadRule {
    let mut rule = ReadRule {
        chain,
        handle,
        step: None,
        leads_to: None,
        sets: Vec::new(),
        expressions: Vec::new(),
    };
    let mut has_condition = false;
    for expression in attribute::inside(&expressions) {
        let name = attribute::find_text(expression, 1).unwrap_or_default();
        let data = attribute::find(expression, 2).unwrap_or_default();
        match &*name {
            "counter" | "log" => {}
            "immediate" => {
                let verdict = attribute::find(data, 2).and_then(|data| attribute::find(data, 2));
                let Some(verdict) = verdict else { continue };
                let chain = attribute::find_text(verdict, 2).unwrap_or_default();
                let step = match attribute::find_number(verdict, 1) {
                    Some(DROP) => Step::Block,
                    Some(ACCEPT) => Step::Accept,
                    Some(RETURN) => Step::Return,
                    Some(JUMP) => Step::Jump(chain.clone()),
                    Some(GOTO) => Step::Goto(chain.clone()),
                    _ => continue,
                };
                rule.leads_to = Some(chain).filter(|chain| !chain.is_empty());
                rule.step = (!has_condition).then_some(step);
            }
            "reject" => rule.step = (!has_condition).then_some(Step::Block),
            // Of iptables: what nf_tables has no word for.
            "target" => match attribute::find_text(data, 1).as_deref() {
                Some("REJECT") => rule.step = (!has_condition).then_some(Step::Block),
                Some("LOG" | "NFLOG" | "TRACE") => {}
                _ => has_condition = true,
            },
            "match" if attribute::find_text(data, 1).as_deref() == Some("comment") => {}
            _ => {
                if name == "lookup" {
                    rule.sets.extend(attribute::find_text(data, 1));
                }
                has_condition = true;
            }
        }
    }
    rule.expressions = expressions;
    rule
}
