//! Finds what stops the packets that a tunnel forwards, and that no rule of adit's lets pass: chains of others' own tables,
//! and the old iptables.
//!
//! Nothing is changed there: whoever made such a chain says who passes. But they are told.

use std::fs;

use super::{
    Hook, Nftables, TableFamily,
    fate::{Fate, ReadTable},
    guest::{self, Label},
};
use crate::{Family, netlink::Error};

/// firewalld's table, which only firewalld may change.
const FIREWALLD: &str = "firewalld";

/// What drops forwarded packets that it does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wall {
    /// A chain of nf_tables, by its policy or by a rule for all that is left. No rule of it is about the interface.
    Chain {
        /// Which packets its table sees.
        family: TableFamily,
        /// Its table.
        table: String,
        /// Its name.
        chain: String,
    },
    /// The `filter` table of `iptables-legacy`, which may drop them; nobody can see that through nf_tables.
    Legacy {
        /// Of which packets.
        family: Family,
    },
}

impl Wall {
    /// What it is, and that it may be in the way.
    pub fn describe(&self) -> String {
        match self {
            Self::Chain { family, table, chain } => {
                format!("the nftables chain {family} {table} {chain} drops forwarded packets that it does not know")
            }
            Self::Legacy { family } => format!(
                "{0}-legacy has a filter table here, whose FORWARD chain may drop what it does not know",
                program(*family)
            ),
        }
    }

    /// What lets the packets of an interface pass there.
    pub fn remedy(&self, interface: &str) -> String {
        match self {
            Self::Chain { table, .. } if table == FIREWALLD => {
                format!("firewall-cmd --permanent --zone=trusted --add-interface={interface}; firewall-cmd --reload")
            }
            Self::Chain { family, table, chain } => {
                let insert = format!("nft insert rule {family} {table} {chain}");
                format!("{insert} iifname {interface} accept; {insert} oifname {interface} accept")
            }
            Self::Legacy { family } => {
                let insert = format!("{}-legacy -I FORWARD", program(*family));
                format!("{insert} -i {interface} -j ACCEPT; {insert} -o {interface} -j ACCEPT")
            }
        }
    }
}

fn program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// The walls around an interface in the calling thread's network namespace.
///
/// # Errors
///
/// The kernel's refusal to list its tables, chains and rules.
pub fn find(nftables: &mut Nftables, interface: &str, families: &[Family]) -> Result<Vec<Wall>, Error> {
    let tables = nftables.tables()?;
    let is_adits = |family, name: &str| {
        let mut labels = tables
            .iter()
            .filter(|table| (table.family, &*table.name) == (family, name));
        labels.any(|table| table.comment.as_deref().and_then(Label::read).is_some())
    };
    let mut walls = Vec::new();
    for chain in nftables.chains()? {
        let is_wanted = chain.family == TableFamily::Inet
            || families.iter().any(|family| TableFamily::from(*family) == chain.family);
        let is_hooked = chain.hook == Some(Hook::Forward as u32);
        if !is_wanted || !is_hooked || guest::is_forward(&chain) || is_adits(chain.family, &chain.table) {
            continue;
        }
        let rules = ReadTable::open(nftables, chain.family, &chain.table)?;
        let blocks = match rules.fate(&chain.name) {
            Fate::Blocked(_) => true,
            Fate::Policy => chain.drops,
            Fate::Accepted => false,
        };
        if blocks && !rules.knows(nftables, &chain.name, interface)? {
            walls.push(Wall::Chain {
                family: chain.family,
                table: chain.table,
                chain: chain.name,
            });
        }
    }
    walls.extend(
        families
            .iter()
            .filter(|family| has_legacy_filter(**family))
            .map(|family| Wall::Legacy { family: *family }),
    );
    Ok(walls)
}

/// Whether the old iptables has a `filter` table in the calling thread's network namespace. A kernel without it has none.
pub fn has_legacy_filter(family: Family) -> bool {
    let name = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    fs::read_to_string(name).is_ok_and(|names| names.lines().any(|name| name == "filter"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::netns::Namespace;

    fn run(program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    }

    #[test]
    fn a_chain_that_drops_the_rest_is_found_unless_it_knows_the_tunnel() {
        netlab::requires!("root", "nft");
        // (the policy, the rules, whether packets of wg0 may be lost)
        let cases = [
            ("accept", "", false),
            ("drop", "", true),
            ("drop", "accept", false),
            ("drop", "ct state established accept; iifname eth0 accept", true),
            ("drop", "iifname wg0 accept", false),
            ("drop", "iifname wg1 accept", true),
            ("drop", "iifname { eth0, wg0 } accept", false),
            ("drop", "iifname { eth0, wg1 } accept", true),
            ("drop", "iifname \"wg*\" accept", false),
            ("drop", "iifname vmap { wg0 : accept, eth0 : accept }", false),
            ("drop", "ct state new jump known", false),
            (
                "accept",
                "ct state established accept; reject with icmpx admin-prohibited",
                true,
            ),
            ("accept", "counter drop", true),
            ("accept", "iifname eth0 drop", false),
            ("accept", "jump rest", true),
            ("accept", "goto rest", true),
            ("accept", "iifname eth0 jump rest", false),
            ("accept", "jump back; drop", true),
            ("accept", "accept; drop", false),
        ];
        Namespace::anonymous()
            .unwrap()
            .run(|| {
                let mut nftables = Nftables::open().unwrap();
                for (policy, rules, is_wall) in cases {
                    let table = format!(
                        "table inet t {{ chain rest {{ drop; }}; chain back {{ return; }}; \
                         chain known {{ oifname wg0 accept; }}; chain other {{ iifname wg0 accept; }}; \
                         chain in {{ type filter hook input priority 0; policy drop; }}; \
                         chain f {{ type filter hook forward priority 0; policy {policy}; {rules}; }}; }}"
                    );
                    run("nft", &[&table]);
                    let walls = find(&mut nftables, "wg0", &Family::ALL).unwrap();
                    let expected = Wall::Chain {
                        family: TableFamily::Inet,
                        table: "t".to_owned(),
                        chain: "f".to_owned(),
                    };
                    assert_eq!(walls, Vec::from_iter(is_wall.then_some(expected)), "{policy}: {rules}");
                    // What is advised makes it go.
                    for remedy in walls.iter().flat_map(|wall| {
                        let remedy = wall.remedy("wg0");
                        remedy.split("; ").map(str::to_owned).collect::<Vec<_>>()
                    }) {
                        run("sh", &["-c", &remedy]);
                    }
                    assert_eq!(
                        find(&mut nftables, "wg0", &Family::ALL).unwrap(),
                        [],
                        "{policy}: {rules}"
                    );
                    run("nft", &["delete table inet t"]);
                }
            })
            .unwrap();
    }

    #[test]
    fn the_old_iptables_is_found_where_it_has_a_filter_table() {
        netlab::requires!("root", "iptables-legacy");
        Namespace::anonymous()
            .unwrap()
            .run(|| {
                let mut nftables = Nftables::open().unwrap();
                assert_eq!(find(&mut nftables, "wg0", &Family::ALL).unwrap(), []);
                run("iptables-legacy", &["-A", "FORWARD", "-j", "DROP"]);
                let walls = find(&mut nftables, "wg0", &Family::ALL).unwrap();
                assert_eq!(walls, [Wall::Legacy { family: Family::V4 }]);
                assert_eq!(find(&mut nftables, "wg0", &[Family::V6]).unwrap(), []);
                assert_eq!(
                    walls[0].remedy("wg0"),
                    "iptables-legacy -I FORWARD -i wg0 -j ACCEPT; iptables-legacy -I FORWARD -o wg0 -j ACCEPT"
                );
            })
            .unwrap();
    }

    #[test]
    fn firewalld_is_asked_by_its_own_program() {
        let wall = Wall::Chain {
            family: TableFamily::Inet,
            table: "firewalld".to_owned(),
            chain: "filter_FORWARD".to_owned(),
        };
        assert!(wall.describe().contains("inet firewalld filter_FORWARD"));
        assert!(wall.remedy("wg0").starts_with("firewall-cmd "));
    }
}
