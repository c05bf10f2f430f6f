//! The guard: what lets packets of a container out by its tunnel, to its neighbours, and nowhere else.
//!
//! It is the same before, during and after the tunnel's life, for it asks for the interface's name, not for the interface:
//! while there is none of that name, nothing leaves.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
};

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

/// The chains.
const INPUT: &str = "input";
const OUTPUT: &str = "output";
const FORWARD: &str = "forward";
const NAMES: &str = "names";
const CHAINS: [&str; 4] = [INPUT, OUTPUT, FORWARD, NAMES];

/// Where the chain for names hangs: before Docker's own, at -100, since a flow is redirected once.
const NAMES_PRIORITY: i32 = -150;

/// Where Docker's own resolver answers, in networks in which containers find each other by name.
pub const ENGINE_RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

/// The port of DNS.
const DNS: u16 = 53;

/// Types of ICMPv6: neighbour solicitation and advertisement (*RFC 4861*).
const NEIGHBOUR_DISCOVERY: [u8; 2] = [135, 136];

/// What reaches no further than the link.
const LINK_LOCAL: [&str; 2] = ["fe80::/10", "ff02::/16"];

/// What may pass beside the tunnel. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Networks that are reached without the tunnel: those of the neighbours, and those that stay direct.
    pub direct: Vec<IpNet>,
    /// The port of the loopback to which questions to Docker's resolver go; without one they are refused.
    pub resolver: Option<u16>,
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
    let wanted = Table::of(guard);
    Ok(inside.run(|| {
        let mut nftables = Nftables::open()?;
        let tables = nftables.tables()?;
        let found = tables
            .iter()
            .find(|table| table.family == TableFamily::Inet && table.name == TABLE);
        if found.is_some_and(|found| found.comment.as_ref() == Some(&wanted.mark)) && is_whole(&mut nftables, &wanted)?
        {
            return Ok(false);
        }
        let mut batch = Batch::new();
        if found.is_some() {
            batch.remove_table(TableFamily::Inet, TABLE);
        }
        batch.add_table(TableFamily::Inet, TABLE, &wanted.mark);
        batch.append(wanted.batch);
        nftables.commit(&batch, || "setting the guard".to_owned())?;
        Ok::<_, Error>(true)
    })??)
}

/// Whether the table has its chains, and no rules but its own, in their order.
fn is_whole(nftables: &mut Nftables, wanted: &Table) -> Result<bool, Error> {
    let chains = nftables.chains()?;
    let drops = |name: &str| {
        let mut own = chains
            .iter()
            .filter(|chain| chain.family == TableFamily::Inet && chain.table == TABLE);
        own.any(|chain| chain.name == name && chain.drops && chain.hook.is_some())
    };
    if ![INPUT, OUTPUT, FORWARD].into_iter().all(drops) {
        return Ok(false);
    }
    let rules = nftables.rules(TableFamily::Inet, TABLE)?;
    let of = |chain: &str| -> Vec<_> { rules.iter().filter(|(found, _)| found == chain).collect() };
    Ok(CHAINS.into_iter().all(|chain| {
        let found = of(chain);
        let wanted = wanted.rules.get(chain).copied().unwrap_or_default();
        let numbers = found
            .iter()
            .map(|(_, comment)| comment.as_deref().and_then(|text| text.parse().ok()));
        found.len() == wanted && numbers.eq((0..wanted).map(Some))
    }))
}

/// The table of a guard.
struct Table {
    batch: Batch,
    /// How many rules each chain has. Each rule's comment is its number.
    rules: BTreeMap<&'static str, usize>,
    /// A word for what the guard says, that is another one for another guard.
    mark: String,
}

impl Table {
    fn of(guard: &Guard) -> Self {
        let mut table = Self {
            batch: Batch::new(),
            rules: BTreeMap::new(),
            mark: String::new(),
        };
        table.describe(guard);
        let digest = Sha256::digest(format!("{:?}", table.batch));
        table.mark = digest.iter().take(8).fold("adit ".to_owned(), |mut mark, byte| {
            let _written = write!(mark, "{byte:02x}");
            mark
        });
        table
    }

    fn chain(&mut self, name: &'static str, kind: ChainType, hook: Hook, priority: i32, policy: Policy) {
        let base = Chain {
            kind,
            hook,
            priority,
            policy,
        };
        self.batch.add_chain(TableFamily::Inet, TABLE, name, Some(base));
    }

    fn rule(&mut self, chain: &'static str, rule: Rule) {
        let number = self.rules.entry(chain).or_default();
        let rule = rule.comment(&number.to_string());
        *number += 1;
        self.batch.add_rule(TableFamily::Inet, TABLE, chain, &rule);
    }

    fn accept(&mut self, chain: &'static str, rule: Rule) {
        self.rule(chain, rule.verdict(&Verdict::Accept));
    }

    fn describe(&mut self, guard: &Guard) {
        for (chain, hook) in [(INPUT, Hook::Input), (OUTPUT, Hook::Output), (FORWARD, Hook::Forward)] {
            self.chain(chain, ChainType::Filter, hook, PRIORITY, Policy::Drop);
        }
        let engine_s = || Rule::new().family(Family::V4).to_network(ENGINE_RESOLVER.into());
        if let Some(port) = guard.resolver {
            self.chain(NAMES, ChainType::Nat, Hook::Output, NAMES_PRIORITY, Policy::Accept);
            for rule in [engine_s().udp(), engine_s().tcp()] {
                self.rule(NAMES, rule.to_ports(DNS, DNS).redirect(port));
            }
        }
        // It asks other resolvers on this host's behalf, and not through the tunnel.
        self.rule(OUTPUT, engine_s().prohibit());
        for name in [LOOPBACK, INTERFACE] {
            self.accept(INPUT, Rule::new().from_interface(name));
            self.accept(OUTPUT, Rule::new().to_interface(name));
        }
        for network in &guard.direct {
            let rule = Rule::new().family(Family::of(network.addr()));
            self.accept(INPUT, rule.clone().from_network(*network));
            self.accept(OUTPUT, rule.to_network(*network));
        }
        if guard.direct.iter().any(|network| network.addr().is_ipv6()) {
            // Neighbours of IPv6 find each other by ICMPv6 to addresses that reach no further than the link (RFC 4861).
            for kind in NEIGHBOUR_DISCOVERY {
                let icmp = || Rule::new().family(Family::V6).icmp(Family::V6).icmp_type(kind);
                for link in LINK_LOCAL.map(|text| text.parse().expect("it is a network")) {
                    self.accept(OUTPUT, icmp().to_network(link));
                    self.accept(INPUT, icmp().to_network(link));
                }
            }
        }
        self.rule(OUTPUT, Rule::new().tcp().reset());
        self.rule(OUTPUT, Rule::new().prohibit());
        self.rule(INPUT, Rule::new().verdict(&Verdict::Drop));
    }
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
            resolver: Some(5353),
        };
        assert!(set(&inside, &Guard::default()).unwrap());
        assert!(set(&inside, &guard).unwrap());
        assert!(!set(&inside, &guard).unwrap(), "it is there already");
        let text = inside.run(listed).unwrap();
        let comment = Table::of(&guard).mark;
        assert_eq!(text, format!(include_str!("guard.nft"), comment = comment));
        for command in [
            "flush chain inet adit output",
            "insert rule inet adit output accept",
            "add rule inet adit input ip saddr 192.0.2.0/24 accept comment \"1\"",
            "add chain inet adit output { policy accept ; }",
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
