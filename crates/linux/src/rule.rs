//! Policy rules: which routing table a packet takes.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's vocabulary grows; what is not used here is passed over"
)]

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};

use crate::{
    Family,
    netlink::{Error, Netlink, decode},
};

/// No route is passed over: what the kernel says for a rule without `suppress_prefixlength`.
const SUPPRESS_NONE: u32 = u32::MAX;

/// A rule that sends packets to a routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The family of the packets that it is for.
    pub family: Family,
    /// Rules are tried from the lowest number up; `None` is just before the first of the others.
    pub priority: Option<u32>,
    /// Which packets.
    pub packets: Packets,
    /// The table that they take.
    pub table: u32,
    /// Passes over the table's routes whose prefixes are this long or shorter; 0 is the default route.
    pub suppress_prefix_length: Option<u32>,
}

/// The packets that a [`Rule`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packets {
    /// Every packet.
    All,
    /// Packets with this mark.
    Marked(u32),
    /// Packets without this mark.
    NotMarked(u32),
    /// Packets chosen in a way that adit never uses.
    Otherwise,
}

/// Adds a rule, as `ip rule add` does.
///
/// # Errors
///
/// The kernel's refusal; [`Error::is_there_already`] if there is such a rule.
pub fn add(netlink: &mut Netlink, rule: &Rule) -> Result<(), Error> {
    let message = RouteNetlinkMessage::NewRule(message(rule));
    netlink.request(message, NLM_F_CREATE | NLM_F_EXCL, || {
        format!("adding the rule for table {}", rule.table)
    })
}

/// Removes the first rule that is as `rule` says; without a priority, of any priority.
///
/// # Errors
///
/// The kernel's refusal; [`Error::is_missing`] if there is none.
pub fn delete(netlink: &mut Netlink, rule: &Rule) -> Result<(), Error> {
    let message = RouteNetlinkMessage::DelRule(message(rule));
    netlink.request(message, 0, || format!("removing the rule for table {}", rule.table))
}

/// All rules of a family that send packets to a table, in the order in which they are tried. A family that the kernel does
/// not have has none.
///
/// # Errors
///
/// The kernel's refusal.
pub fn list(netlink: &mut Netlink, family: Family) -> Result<Vec<Rule>, Error> {
    let mut wanted = RuleMessage::default();
    wanted.header.family = family.into();
    let wanted = RouteNetlinkMessage::GetRule(wanted);
    let listed = netlink.dump(
        &wanted,
        || "listing the rules".into(),
        |header, payload| {
            let RouteNetlinkMessage::NewRule(message) = decode(header, payload)? else {
                return None;
            };
            let is_ours = message.header.family == family.into() && message.header.action == RuleAction::ToTable;
            is_ours.then(|| read(family, &message))
        },
    );
    match listed {
        Err(error) if error.is_unknown_family() => Ok(Vec::new()),
        listed => listed,
    }
}

fn message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = rule.family.into();
    message.header.action = RuleAction::ToTable;
    // Tables above 255 are in the attribute alone.
    message.header.table = u8::try_from(rule.table).unwrap_or(0);
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Table(rule.table));
    attributes.extend(rule.priority.map(RuleAttribute::Priority));
    match rule.packets {
        Packets::All | Packets::Otherwise => {}
        Packets::Marked(mark) => attributes.push(RuleAttribute::FwMark(mark)),
        Packets::NotMarked(mark) => {
            attributes.push(RuleAttribute::FwMark(mark));
            message.header.flags = RuleFlags::Invert;
        }
    }
    attributes.extend(rule.suppress_prefix_length.map(RuleAttribute::SuppressPrefixLen));
    message
}

fn read(family: Family, message: &RuleMessage) -> Rule {
    let header = &message.header;
    let inverted = header.flags.contains(RuleFlags::Invert);
    let mut rule = Rule {
        family,
        // The kernel leaves the attribute out for the very first rule.
        priority: Some(0),
        packets: if inverted { Packets::Otherwise } else { Packets::All },
        table: u32::from(header.table),
        suppress_prefix_length: None,
    };
    let mut otherwise = header.src_len != 0 || header.dst_len != 0 || header.tos != 0;
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = Some(*priority),
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::FwMark(mark) if inverted => rule.packets = Packets::NotMarked(*mark),
            RuleAttribute::FwMark(mark) => rule.packets = Packets::Marked(*mark),
            RuleAttribute::FwMask(mask) => otherwise |= *mask != u32::MAX,
            RuleAttribute::SuppressPrefixLen(SUPPRESS_NONE) => {}
            RuleAttribute::SuppressPrefixLen(length) => rule.suppress_prefix_length = Some(*length),
            RuleAttribute::Iifname(_)
            | RuleAttribute::Oifname(_)
            | RuleAttribute::L3MDev(_)
            | RuleAttribute::UidRange(_)
            | RuleAttribute::IpProtocol(_)
            | RuleAttribute::SourcePortRange(_)
            | RuleAttribute::DestinationPortRange(_)
            | RuleAttribute::TunId(_) => otherwise = true,
            _ => {}
        }
    }
    if otherwise {
        rule.packets = Packets::Otherwise;
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{netns, route};

    #[test]
    fn rules_of_both_families_are_tried_last_added_first() {
        let Some(namespace) = netns::for_test() else { return };
        namespace
            .run(|| {
                let mut netlink = Netlink::route().unwrap();
                for family in Family::ALL {
                    let before = list(&mut netlink, family).unwrap();
                    assert_eq!(
                        before.iter().filter(|rule| rule.table == route::MAIN).count(),
                        1,
                        "{before:?}"
                    );
                    let unmarked = Rule {
                        family,
                        priority: None,
                        packets: Packets::NotMarked(51820),
                        table: 51820,
                        suppress_prefix_length: None,
                    };
                    let specific = Rule {
                        packets: Packets::All,
                        table: route::MAIN,
                        suppress_prefix_length: Some(0),
                        ..unmarked.clone()
                    };
                    let marked = Rule {
                        packets: Packets::Marked(7),
                        table: 77,
                        ..unmarked.clone()
                    };
                    for rule in [&unmarked, &specific, &marked] {
                        add(&mut netlink, rule).unwrap();
                    }
                    let found = list(&mut netlink, family).unwrap();
                    let ours = |rule: &Rule, priority| Rule {
                        priority: Some(priority),
                        ..rule.clone()
                    };
                    assert_eq!(
                        found[1..4],
                        [ours(&marked, 32763), ours(&specific, 32764), ours(&unmarked, 32765)]
                    );
                    let twice = add(&mut netlink, &ours(&unmarked, 32765)).unwrap_err();
                    assert!(twice.is_there_already(), "{twice}");
                    for rule in [&unmarked, &specific, &marked] {
                        delete(&mut netlink, rule).unwrap();
                        assert!(delete(&mut netlink, rule).unwrap_err().is_missing());
                    }
                    assert_eq!(list(&mut netlink, family).unwrap(), before);
                }
            })
            .unwrap();
    }
}
