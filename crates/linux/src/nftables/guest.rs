//! Rules as a guest in another's table: where Docker or ufw drop all that they do not know, the tunnel's packets pass.
//!
//! A chain that accepts a packet speaks for itself alone: another on the same hook may still drop it. iptables' FORWARD
//! chain does so by its policy once Docker or ufw has set it. There, and nowhere else, two rules let the tunnel's packets
//! pass: in DOCKER-USER, which Docker keeps for others, or in FORWARD itself. They carry a comment, and are written so
//! that `iptables` can show them.

use super::{Batch, FoundRule, Hook, Nftables, Rule, TableFamily, Verdict};
use crate::{Family, netlink::Error};

/// The comment of a table or a rule of adit's: whose it is, and for a gateway's table what was switched on for it, so that
/// the next one knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The interface that it is for.
    pub interface: String,
    /// The families whose forwarding was switched on.
    pub forwarding: Vec<Family>,
}

impl Label {
    /// A label for an interface.
    pub fn new(interface: &str, forwarding: &[Family]) -> Self {
        Self {
            interface: interface.to_owned(),
            forwarding: forwarding.to_vec(),
        }
    }

    /// Reads a comment; `None` if it is not adit's.
    pub fn read(comment: &str) -> Option<Self> {
        let mut words = comment.split(' ');
        if words.next()? != "adit" {
            return None;
        }
        let interface = words.next()?.to_owned();
        let family = |word| match word {
            "ip" => Some(Family::V4),
            "ip6" => Some(Family::V6),
            _ => None,
        };
        Some(Self {
            interface,
            forwarding: words.filter_map(family).collect(),
        })
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "adit {}", self.interface)?;
        for family in &self.forwarding {
            write!(f, " {}", TableFamily::from(*family))?;
        }
        Ok(())
    }
}

/// The names that iptables has used since its first day.
const TABLE: &str = "filter";
const FORWARD: &str = "FORWARD";
const DOCKER_USER: &str = "DOCKER-USER";

/// Lets packets of the interface pass where a policy would drop them.
///
/// # Errors
///
/// The kernel's refusal to list its chains.
pub fn admit(nftables: &mut Nftables, interface: &str, families: &[Family]) -> Result<Batch, Error> {
    let mut batch = Batch::new();
    for (family, chain) in places(nftables, families)? {
        add(&mut batch, family, chain, interface);
    }
    Ok(batch)
}

/// Puts back the rules of [`admit`] that have gone, and adds those whose place has come since: Docker may start after the
/// tunnel.
///
/// # Errors
///
/// The kernel's refusal to list its chains and rules.
pub fn mend(nftables: &mut Nftables, interface: &str, families: &[Family]) -> Result<Batch, Error> {
    let mut batch = Batch::new();
    for (family, chain) in places(nftables, families)? {
        let rules = nftables.commented_rules(family, TABLE)?;
        let is_ours = |rule: &&FoundRule| {
            rule.chain == chain && Label::read(&rule.comment).is_some_and(|label| label.interface == interface)
        };
        let ours: Vec<&FoundRule> = rules.iter().filter(is_ours).collect();
        // One towards the interface and one from it.
        if ours.len() < 2 {
            for rule in ours {
                batch.remove_rule(family, TABLE, chain, rule.handle);
            }
            add(&mut batch, family, chain, interface);
        }
    }
    Ok(batch)
}

/// The chains in which rules are needed.
fn places(nftables: &mut Nftables, families: &[Family]) -> Result<Vec<(TableFamily, &'static str)>, Error> {
    let chains = nftables.chains()?;
    let mut places = Vec::new();
    for chain in &chains {
        let is_forward = chain.table == TABLE && chain.name == FORWARD && chain.hook == Some(Hook::Forward as u32);
        let is_wanted = families.iter().any(|family| TableFamily::from(*family) == chain.family);
        if !is_wanted || !is_forward || !chain.drops {
            continue;
        }
        let has_own_place = chains
            .iter()
            .any(|other| (other.family, &*other.table, &*other.name) == (chain.family, TABLE, DOCKER_USER));
        places.push((chain.family, if has_own_place { DOCKER_USER } else { FORWARD }));
    }
    Ok(places)
}

fn add(batch: &mut Batch, family: TableFamily, chain: &str, interface: &str) {
    let comment = Label::new(interface, &[]).to_string();
    for rule in [
        Rule::new().to_interface(interface),
        Rule::new().from_interface(interface),
    ] {
        let rule = rule.counter().verdict(&Verdict::Accept).comment(&comment);
        batch.insert_rule(family, TABLE, chain, &rule);
    }
}

/// Removes the rules of [`admit`] for all interfaces of which `is_over` is true.
///
/// # Errors
///
/// The kernel's refusal to list its rules.
pub fn dismiss(nftables: &mut Nftables, is_over: impl Fn(&str) -> bool) -> Result<Batch, Error> {
    let mut batch = Batch::new();
    for family in Family::ALL.map(TableFamily::from) {
        for rule in nftables.commented_rules(family, TABLE)? {
            if Label::read(&rule.comment).is_some_and(|label| is_over(&label.interface)) {
                batch.remove_rule(family, TABLE, &rule.chain, rule.handle);
            }
        }
    }
    Ok(batch)
}

/// Whether somebody else here looks at what is forwarded, so that forwarding is likely somebody else's need, too.
pub fn others_forward(nftables: &mut Nftables) -> bool {
    nftables
        .chains()
        .is_ok_and(|chains| chains.iter().any(|chain| chain.hook == Some(Hook::Forward as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_as_it_is_written() {
        for (text, interface, forwarding) in [
            ("adit wg0", "wg0", &[][..]),
            ("adit wg0 ip", "wg0", &[Family::V4]),
            ("adit a ip ip6", "a", &[Family::V4, Family::V6]),
        ] {
            let label = Label::new(interface, forwarding);
            assert_eq!(label.to_string(), text);
            assert_eq!(Label::read(text), Some(label));
        }
        for text in ["", "adit", "aditwg0 x", "another's"] {
            assert_eq!(Label::read(text), None, "{text}");
        }
    }
}
