//! Rules as a guest in another's table: where iptables' chain drops all that it does not know, the tunnel's packets pass.
//!
//! A chain that accepts a packet speaks for itself alone: another on the same hook may still drop it. iptables' FORWARD
//! chain does so by its policy once Docker or ufw has set it, or by a last rule that rejects the rest. There, and nowhere
//! else, two rules let the tunnel's packets pass: in DOCKER-USER, which Docker keeps for others, or in FORWARD itself, where
//! the packet would be dropped and not before, so that what the host's own rules say of it holds. They carry a comment,
//! and are written so that `iptables` can show them. Chains that are not iptables' are left alone; see [`super::wall`].

use super::{
    Batch, FoundRule, Hook, Nftables, Rule, TableFamily, Verdict,
    fate::{Fate, ReadTable},
    list::BaseChain,
    wall,
};
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

/// Lets packets of the interface pass where they would be dropped.
///
/// # Errors
///
/// The kernel's refusal to list its chains and rules.
pub fn admit(nftables: &mut Nftables, interface: &str, families: &[Family]) -> Result<Batch, Error> {
    let mut batch = Batch::new();
    for place in places(nftables, families)? {
        place.add_both(&mut batch, interface);
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
    for place in places(nftables, families)? {
        let rules = nftables.commented_rules(place.family, TABLE)?;
        let is_ours = |rule: &&FoundRule| {
            rule.chain == place.chain && Label::read(&rule.comment).is_some_and(|label| label.interface == interface)
        };
        let ours: Vec<&FoundRule> = rules.iter().filter(is_ours).collect();
        // One towards the interface and one from it.
        if ours.len() < 2 {
            for rule in ours {
                batch.remove_rule(place.family, TABLE, place.chain, rule.handle);
            }
            place.add_both(&mut batch, interface);
        }
    }
    Ok(batch)
}

/// Which packets a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Those that came in by the interface (`-i`).
    From,
    /// Those that leave by it (`-o`).
    To,
}

/// Where in a chain a rule goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// Before all others (`-I`).
    Top,
    /// Before the rule with this number.
    Before(u64),
    /// Behind all others (`-A`).
    End,
}

/// Does what `iptables` or `ip6tables` would do in FORWARD for these rules that accept, in their order, where iptables
/// has its chain; but behind a rule that drops the rest, where none would do anything, [`Spot::End`] puts none. Where
/// iptables has no chain, there is nothing that they would change.
///
/// # Errors
///
/// The kernel's refusal to list its chains and rules.
pub fn accept(nftables: &mut Nftables, interface: &str, rules: &[(Family, Way, Spot)]) -> Result<Batch, Error> {
    let chains = nftables.chains()?;
    let mut batch = Batch::new();
    for (family, way, spot) in rules {
        let family = TableFamily::from(*family);
        if !chains.iter().any(|chain| chain.family == family && is_forward(chain)) {
            continue;
        }
        let fate = ReadTable::open(nftables, family, TABLE)?.fate(FORWARD);
        let place = Place {
            family,
            chain: FORWARD,
            spot: match (*spot, fate) {
                (Spot::End, Fate::Blocked(handle)) => Spot::Before(handle),
                (spot, _) => spot,
            },
        };
        place.add(&mut batch, interface, *way);
    }
    Ok(batch)
}

/// Whether a chain is the one of iptables through which all goes that is forwarded.
pub(super) fn is_forward(chain: &BaseChain) -> bool {
    chain.family != TableFamily::Inet
        && chain.table == TABLE
        && chain.name == FORWARD
        && chain.hook == Some(Hook::Forward as u32)
}

/// Where rules are needed.
#[derive(Clone, Copy, Debug)]
struct Place {
    family: TableFamily,
    chain: &'static str,
    spot: Spot,
}

impl Place {
    fn add_both(&self, batch: &mut Batch, interface: &str) {
        // What is put on top comes before what was put there.
        let ways = match self.spot {
            Spot::Top => [Way::To, Way::From],
            Spot::Before(_) | Spot::End => [Way::From, Way::To],
        };
        for way in ways {
            self.add(batch, interface, way);
        }
    }

    fn add(&self, batch: &mut Batch, interface: &str, way: Way) {
        let rule = match way {
            Way::From => Rule::new().from_interface(interface),
            Way::To => Rule::new().to_interface(interface),
        };
        let comment = Label::new(interface, &[]).to_string();
        let rule = rule.counter().verdict(&Verdict::Accept).comment(&comment);
        match self.spot {
            Spot::Top => batch.insert_rule(self.family, TABLE, self.chain, &rule),
            Spot::Before(handle) => batch.insert_rule_before(self.family, TABLE, self.chain, handle, &rule),
            Spot::End => batch.add_rule(self.family, TABLE, self.chain, &rule),
        }
    }
}

/// The chains in which rules are needed.
fn places(nftables: &mut Nftables, families: &[Family]) -> Result<Vec<Place>, Error> {
    let mut places = Vec::new();
    for chain in nftables.chains()? {
        let is_wanted = families.iter().any(|family| TableFamily::from(*family) == chain.family);
        if !is_wanted || !is_forward(&chain) {
            continue;
        }
        let rules = ReadTable::open(nftables, chain.family, TABLE)?;
        let spot = match rules.fate(FORWARD) {
            Fate::Blocked(handle) => Spot::Before(handle),
            Fate::Policy if chain.drops => Spot::End,
            Fate::Policy | Fate::Accepted => continue,
        };
        let (chain_name, spot) = if rules.always_asks(FORWARD, DOCKER_USER) {
            (DOCKER_USER, Spot::Top)
        } else {
            (FORWARD, spot)
        };
        places.push(Place {
            family: chain.family,
            chain: chain_name,
            spot,
        });
    }
    Ok(places)
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
    let is_hooked = |chains: Vec<BaseChain>| chains.iter().any(|chain| chain.hook == Some(Hook::Forward as u32));
    nftables.chains().is_ok_and(is_hooked) || Family::ALL.into_iter().any(wall::has_legacy_filter)
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

    #[test]
    fn rules_come_where_packets_would_be_dropped_and_behind_what_is_said_before() {
        netlab::requires!("root", "iptables");
        let run = |arguments: &str| {
            let output = std::process::Command::new("iptables")
                .args(arguments.split(' '))
                .output()
                .unwrap();
            assert!(output.status.success(), "{arguments}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let ours = |chain: &str| {
            ["-i", "-o"].map(|way| format!("-A {chain} {way} wg0 -m comment --comment \"adit wg0\" -j ACCEPT"))
        };
        let [from, to] = ours("FORWARD");
        let [user_from, user_to] = ours("DOCKER-USER");
        let reject = "-A FORWARD -j REJECT --reject-with icmp-port-unreachable";
        // (what is there, the chain that is looked at, its rules then)
        let cases: [(&[&str], &str, &[&str]); 9] = [
            (&["-P FORWARD ACCEPT"], "FORWARD", &[]),
            (
                &["-A FORWARD -i eth9 -j DROP"],
                "FORWARD",
                &["-A FORWARD -i eth9 -j DROP"],
            ),
            (&["-P FORWARD DROP"], "FORWARD", &[&from, &to]),
            (
                &["-P FORWARD DROP", "-A FORWARD -i eth9 -j DROP"],
                "FORWARD",
                &["-A FORWARD -i eth9 -j DROP", &from, &to],
            ),
            (
                &["-P FORWARD DROP", "-A FORWARD -j ACCEPT"],
                "FORWARD",
                &["-A FORWARD -j ACCEPT"],
            ),
            (
                &["-A FORWARD -i eth9 -j DROP", reject],
                "FORWARD",
                &["-A FORWARD -i eth9 -j DROP", &from, &to, reject],
            ),
            (
                &[
                    "-N REST",
                    "-A REST -m comment --comment last -j DROP",
                    "-A FORWARD -j REST",
                ],
                "FORWARD",
                &[&from, &to, "-A FORWARD -j REST"],
            ),
            (
                &["-N DOCKER-USER", "-A FORWARD -j DOCKER-USER", reject],
                "DOCKER-USER",
                &[&user_from, &user_to],
            ),
            // Nobody comes by there.
            (&["-N DOCKER-USER", "-P FORWARD DROP"], "FORWARD", &[&from, &to]),
        ];
        for (there, chain, expected) in cases {
            let test = || {
                there.iter().for_each(|arguments| drop(run(arguments)));
                let before = run("-S");
                let mut nftables = Nftables::open().unwrap();
                let change = |nftables: &mut Nftables, batch: Result<Batch, Error>| {
                    nftables.commit(&batch.unwrap(), || "testing".to_owned()).unwrap();
                };
                let listed = || -> Vec<String> {
                    let listed = run(&format!("-S {chain}"));
                    let rules = listed.lines().filter(|line| line.starts_with("-A"));
                    rules.map(str::to_owned).collect()
                };
                let batch = admit(&mut nftables, "wg0", &[Family::V4]);
                change(&mut nftables, batch);
                assert_eq!(listed(), expected, "{there:?}");
                assert!(
                    mend(&mut nftables, "wg0", &[Family::V4]).unwrap().is_empty(),
                    "{there:?}"
                );
                let batch = dismiss(&mut nftables, |of| of == "wg0");
                change(&mut nftables, batch);
                assert_eq!(run("-S"), before, "{there:?}");
                let batch = mend(&mut nftables, "wg0", &[Family::V4]);
                change(&mut nftables, batch);
                assert_eq!(listed(), expected, "{there:?}: put back");
            };
            crate::netns::Namespace::anonymous().unwrap().run(test).unwrap();
        }
    }
}
