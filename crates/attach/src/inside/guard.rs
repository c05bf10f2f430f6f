//! The guard: what lets packets of a container out by its tunnel, to its neighbours, and nowhere else.
//!
//! It is the same before, during and after the tunnel's life, for it asks for the interface's name, not for the interface:
//! while there is none of that name, nothing leaves.

use std::fmt::Write as _;

use linux::{
    Family,
    netlink::Error,
    nftables::{Batch, Chain, ChainType, Hook, Nftables, Policy, Rule, TableFamily, Verdict},
};
use sha2::{Digest as _, Sha256};
use wg::IpNet;

use super::Inside;
use crate::INTERFACE;

/// The table's name.
const TABLE: &str = "adit";

/// Where the chains hang: as other filters do. No other chain can let pass what this one drops.
const PRIORITY: i32 = 0;

/// The address of the loopback interface's name.
const LOOPBACK: &str = "lo";

/// The comment of the last rule, by which it is seen that nobody emptied the table.
const LAST: &str = "closed";

/// What may pass beside the tunnel. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Networks that are reached without the tunnel: those of the neighbours, and those that stay direct.
    pub direct: Vec<IpNet>,
}

/// The guard could not be set.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The namespace cannot be entered.
    #[error("entering the container's network namespace: {0}")]
    Enter(#[from] std::io::Error),
    /// nf_tables refused.
    #[error(transparent)]
    Kernel(#[from] Error),
}

/// Sees to it that the guard is there, whole and up to date. True if something had to be done.
///
/// # Errors
///
/// [`GuardError`]; what was there is there still.
pub fn set(inside: &Inside, guard: &Guard) -> Result<bool, GuardError> {
    Ok(inside.run(|| {
        let mut nftables = Nftables::open()?;
        let wanted = mark(guard);
        let tables = nftables.tables()?;
        let found = tables
            .iter()
            .find(|table| table.family == TableFamily::Inet && table.name == TABLE);
        if let Some(found) = found
            && found.comment.as_ref() == Some(&wanted)
        {
            let rules = nftables.commented_rules(TableFamily::Inet, TABLE)?;
            let whole =
                ["input", "output"].map(|chain| rules.iter().any(|rule| rule.chain == chain && rule.comment == LAST));
            if whole == [true; 2] {
                return Ok(false);
            }
        }
        let mut batch = Batch::new();
        if found.is_some() {
            batch.remove_table(TableFamily::Inet, TABLE);
        }
        describe(guard, &wanted, &mut batch);
        nftables.commit(&batch, || "setting the guard".to_owned())?;
        Ok::<_, Error>(true)
    })??)
}

/// A word for what the guard says, that is another one for another guard.
fn mark(guard: &Guard) -> String {
    let mut text = String::from("adit guard 1");
    for network in &guard.direct {
        let _written = write!(text, " {network}");
    }
    let digest = Sha256::digest(text.as_bytes());
    let short = digest.iter().take(8).fold(String::new(), |mut short, byte| {
        let _written = write!(short, "{byte:02x}");
        short
    });
    format!("adit {short}")
}

fn describe(guard: &Guard, mark: &str, batch: &mut Batch) {
    let inet = TableFamily::Inet;
    batch.add_table(inet, TABLE, mark);
    for (chain, hook) in [
        ("input", Hook::Input),
        ("output", Hook::Output),
        ("forward", Hook::Forward),
    ] {
        let base = Chain {
            kind: ChainType::Filter,
            hook,
            priority: PRIORITY,
            policy: Policy::Drop,
        };
        batch.add_chain(inet, TABLE, chain, Some(base));
    }
    let accept = |rule: Rule| rule.verdict(&Verdict::Accept);
    for name in [LOOPBACK, INTERFACE] {
        batch.add_rule(inet, TABLE, "input", &accept(Rule::new().from_interface(name)));
        batch.add_rule(inet, TABLE, "output", &accept(Rule::new().to_interface(name)));
    }
    for network in &guard.direct {
        let rule = Rule::new().family(Family::of(network.addr()));
        batch.add_rule(inet, TABLE, "input", &accept(rule.clone().from_network(*network)));
        batch.add_rule(inet, TABLE, "output", &accept(rule.to_network(*network)));
    }
    if guard.direct.iter().any(|network| network.addr().is_ipv6()) {
        // Neighbours of IPv6 find each other by ICMPv6 to addresses that reach no further than the link (RFC 4861).
        let icmp = || Rule::new().family(Family::V6).icmp(Family::V6);
        for link in ["fe80::/10", "ff02::/16"].map(|text| text.parse::<IpNet>().expect("it is a network")) {
            batch.add_rule(inet, TABLE, "output", &accept(icmp().to_network(link)));
            batch.add_rule(inet, TABLE, "input", &accept(icmp().to_network(link)));
        }
    }
    batch.add_rule(inet, TABLE, "output", &Rule::new().tcp().reset());
    batch.add_rule(inet, TABLE, "output", &Rule::new().prohibit().comment(LAST));
    batch.add_rule(inet, TABLE, "input", &Rule::new().verdict(&Verdict::Drop).comment(LAST));
}

#[cfg(test)]
mod tests {
    use linux::netns::Namespace;

    use super::*;

    fn listed() -> String {
        let output = std::process::Command::new("nft").args(["list", "ruleset"]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    #[test]
    fn the_guard_is_set_once_and_mended_when_it_was_touched() {
        netlab::requires!("root", "nft");
        let inside = Inside::from(Namespace::anonymous().unwrap());
        let guard = Guard {
            direct: ["172.18.0.0/16", "fd07::/64"].map(|text| text.parse().unwrap()).into(),
        };
        assert!(set(&inside, &Guard::default()).unwrap());
        assert!(set(&inside, &guard).unwrap());
        assert!(!set(&inside, &guard).unwrap(), "it is there already");
        let text = inside.run(listed).unwrap();
        let comment = mark(&guard);
        assert_eq!(
            text,
            format!(
                "table inet adit {{\n\
                 \tcomment \"{comment}\"\n\
                 \tchain input {{\n\
                 \t\ttype filter hook input priority filter; policy drop;\n\
                 \t\tiifname \"lo\" accept\n\
                 \t\tiifname \"wg0\" accept\n\
                 \t\tip saddr 172.18.0.0/16 accept\n\
                 \t\tip6 saddr fd07::/64 accept\n\
                 \t\tmeta l4proto ipv6-icmp ip6 daddr fe80::/10 accept\n\
                 \t\tmeta l4proto ipv6-icmp ip6 daddr ff02::/16 accept\n\
                 \t\tdrop comment \"closed\"\n\
                 \t}}\n\n\
                 \tchain output {{\n\
                 \t\ttype filter hook output priority filter; policy drop;\n\
                 \t\toifname \"lo\" accept\n\
                 \t\toifname \"wg0\" accept\n\
                 \t\tip daddr 172.18.0.0/16 accept\n\
                 \t\tip6 daddr fd07::/64 accept\n\
                 \t\tmeta l4proto ipv6-icmp ip6 daddr fe80::/10 accept\n\
                 \t\tmeta l4proto ipv6-icmp ip6 daddr ff02::/16 accept\n\
                 \t\tmeta l4proto tcp reject with tcp reset\n\
                 \t\treject with icmpx admin-prohibited comment \"closed\"\n\
                 \t}}\n\n\
                 \tchain forward {{\n\
                 \t\ttype filter hook forward priority filter; policy drop;\n\
                 \t}}\n\
                 }}\n"
            )
        );
        for command in [
            "flush chain inet adit output",
            "delete table inet adit",
            "flush ruleset",
        ] {
            let touch = || {
                let words = command.split(' ');
                std::process::Command::new("nft")
                    .args(words)
                    .status()
                    .unwrap()
                    .success()
            };
            assert!(inside.run(touch).unwrap(), "{command}");
            assert!(set(&inside, &guard).unwrap(), "{command}");
            assert_eq!(inside.run(listed).unwrap(), text, "{command}");
        }
    }
}
