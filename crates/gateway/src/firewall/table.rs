//! The table of a gateway: its chains, its sets, and the rules that never change.

use ipnet::IpNet;
use linux::{
    Family,
    nftables::{Batch, Chain, ChainType, Element, Hook, Policy, Rule, Set, TableFamily, Verdict, guest::Label},
};
use tunnel::netstack::Policy as Reach;
use wg::access::{Destination, Traffic};

use crate::{launcher::Launcher, upstream::DNS_PORT};

/// The table sees both families.
pub(super) const FAMILY: TableFamily = TableFamily::Inet;

/// The set in which the next gateway finds what this one has set on interfaces. No rule asks it.
pub(super) const LEARNING: &str = "learning";

/// Chains that rules and maps lead to.
const BETWEEN_PEERS: &str = "between-peers";
const BETWEEN_WILLING: &str = "between-willing";
const FROM_PEERS: &str = "from-peers";
const PROHIBITED: &str = "prohibited";

/// `NF_IP_PRI_MANGLE`, `_FILTER` and `_NAT_SRC`.
const MANGLE: i32 = -150;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

/// Which elements a set of the table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Peers with a list of destinations, each with the way to its list.
    Lists,
    /// Peers whose traffic with other peers is not as the gateway's rule has it.
    Apart,
}

/// A gateway's table, as far as it is the same at all times.
#[derive(Clone, Debug)]
pub(super) struct Table {
    name: String,
    own: Vec<IpNet>,
    peer_to_peer: bool,
    /// The networks whose packets are known by their source where they leave.
    hidden: Vec<IpNet>,
    launcher: Option<Launcher>,
}

impl Table {
    /// A table for a gateway with these addresses. `by_source` says that packets which leave are to be known by their
    /// source, too.
    pub(super) fn new(name: String, addresses: &[IpNet], peer_to_peer: bool, by_source: bool) -> Self {
        let host = |net: &IpNet| IpNet::from(net.addr());
        Self {
            name,
            own: addresses.iter().map(host).collect(),
            peer_to_peer,
            hidden: addresses.iter().filter(|_| by_source).map(IpNet::trunc).collect(),
            launcher: None,
        }
    }

    /// The same beside this launcher.
    pub(super) fn beside(mut self, launcher: Option<&Launcher>) -> Self {
        self.launcher = launcher.cloned();
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn peer_to_peer(&self) -> bool {
        self.peer_to_peer
    }

    /// The set of peers that are something: of their addresses, or of the networks behind them.
    pub(super) fn set(kind: Kind, family: Family, networks: bool) -> Set {
        let word = match kind {
            Kind::Lists => "lists",
            Kind::Apart => "apart",
        };
        let number = match family {
            Family::V4 => 4,
            Family::V6 => 6,
        };
        Set {
            name: format!("{word}{number}{}", if networks { "-networks" } else { "" }),
            family,
            networks,
            verdicts: kind == Kind::Lists,
        }
    }

    /// Makes the table, without a peer. `learning` are the interfaces that were told to go on learning routes.
    pub(super) fn create(&self, label: &Label, learning: &[String]) -> Batch {
        let interface = &*label.interface;
        let mut batch = Batch::new();
        batch.add_table(FAMILY, &self.name, &label.to_string());
        if !learning.is_empty() {
            batch.add_names(FAMILY, &self.name, LEARNING, learning);
        }
        for family in Family::ALL {
            self.add_sets(&mut batch, family);
        }
        for chain in [PROHIBITED, BETWEEN_WILLING, BETWEEN_PEERS, FROM_PEERS] {
            batch.add_chain(FAMILY, &self.name, chain, None);
        }
        let mut add = |chain: &str, rules: Vec<Rule>| {
            for rule in rules {
                batch.add_rule(FAMILY, &self.name, chain, &rule);
            }
        };
        add(
            PROHIBITED,
            vec![Rule::new().counter(), Rule::new().tcp().reset(), Rule::new().prohibit()],
        );
        add(BETWEEN_PEERS, self.between_peers());
        add(BETWEEN_WILLING, {
            let mut rules = apart(|rule, family, set| rule.destination_in(family, set).verdict(&Verdict::Return));
            rules.push(Rule::new().verdict(&prohibited()));
            rules
        });
        add(FROM_PEERS, from_peers());
        let from = || Rule::new().from_interface(interface);
        let to = || Rule::new().to_interface(interface);
        let jump = |chain: &str| Verdict::Jump(chain.to_owned());
        for (name, kind, hook, priority, rules) in [
            (
                "input",
                ChainType::Filter,
                Hook::Input,
                FILTER,
                self.launcher_in(interface)
                    .into_iter()
                    .chain(strangers(interface))
                    .chain([from().verdict(&jump(FROM_PEERS))])
                    .collect(),
            ),
            (
                "forward",
                ChainType::Filter,
                Hook::Forward,
                FILTER,
                self.launcher_on(interface)
                    .into_iter()
                    .chain([
                        from().to_interface(interface).verdict(&jump(BETWEEN_PEERS)),
                        from().verdict(&jump(FROM_PEERS)),
                    ])
                    .chain(self.to_peers(interface))
                    .collect(),
            ),
            (
                "mss",
                ChainType::Filter,
                Hook::Forward,
                MANGLE,
                vec![from().tcp_syn().clamp_mss(), to().tcp_syn().clamp_mss()],
            ),
            (
                "out",
                ChainType::Nat,
                Hook::Postrouting,
                SOURCE_NAT,
                self.out(interface),
            ),
        ] {
            let base = Chain {
                kind,
                hook,
                priority,
                policy: Policy::Accept,
            };
            batch.add_chain(FAMILY, &self.name, name, Some(base));
            for rule in rules {
                batch.add_rule(FAMILY, &self.name, name, &rule);
            }
        }
        batch
    }

    /// Peers that do not reach each other are reached by nobody: neither by this host's networks nor by another gateway's
    /// peers. They get answers, as on the netstack plane.
    fn to_peers(&self, interface: &str) -> Vec<Rule> {
        if self.peer_to_peer {
            return Vec::new();
        }
        let to = || Rule::new().not_from_interface(interface).to_interface(interface);
        vec![
            to().reply().verdict(&Verdict::Accept),
            to().related().verdict(&Verdict::Accept),
            to().verdict(&prohibited()),
        ]
    }

    /// To this host: the launcher to its port, and nobody else to the address that this is at.
    fn launcher_in(&self, interface: &str) -> Vec<Rule> {
        let Some(launcher) = &self.launcher else {
            return Vec::new();
        };
        let family = Family::of(launcher.address);
        let rule = || Rule::new().family(family);
        let from_it = || {
            let rule = Rule::new().from_interface(interface).family(family);
            rule.from_network(launcher.address.into())
        };
        let own = IpNet::from(launcher.own.addr());
        vec![
            from_it()
                .to_network(own)
                .tcp()
                .to_ports(launcher.port, launcher.port)
                .verdict(&Verdict::Accept),
            from_it().verdict(&prohibited()),
            rule().to_network(own).verdict(&Verdict::Drop),
        ]
    }

    /// Beyond this host, and to peers: nothing.
    fn launcher_on(&self, interface: &str) -> Option<Rule> {
        let launcher = self.launcher.as_ref()?;
        let rule = Rule::new()
            .from_interface(interface)
            .family(Family::of(launcher.address));
        Some(rule.from_network(launcher.address.into()).verdict(&prohibited()))
    }

    /// Hides what peers send where it leaves by another interface.
    fn out(&self, interface: &str) -> Vec<Rule> {
        let by_source = self.hidden.iter().map(|network| {
            let rule = Rule::new().family(Family::of(network.addr())).from_network(*network);
            rule.not_to_interface(interface).masquerade()
        });
        let by_interface = Rule::new().from_interface(interface).not_to_interface(interface);
        std::iter::once(by_interface.masquerade()).chain(by_source).collect()
    }

    fn add_sets(&self, batch: &mut Batch, family: Family) {
        let mut add = |set: &Set, elements: &[Element]| {
            batch.add_set(FAMILY, &self.name, set);
            batch.add_elements(FAMILY, &self.name, set, elements);
        };
        let of_family = |net: &&IpNet| Family::of(net.addr()) == family;
        let own: Vec<Element> = self.own.iter().filter(of_family).copied().map(Element::from).collect();
        add(&plain("own", family, false), &own);
        let guarded = Reach::guarded_networks();
        let guarded: Vec<Element> = guarded.iter().filter(of_family).copied().map(Element::from).collect();
        add(&plain("guarded", family, true), &guarded);
        for kind in [Kind::Lists, Kind::Apart] {
            for networks in [false, true] {
                add(&Self::set(kind, family, networks), &[]);
            }
        }
    }

    /// Where peers reach each other, those apart are kept from it; where they do not, those apart reach one another.
    fn between_peers(&self) -> Vec<Rule> {
        if self.peer_to_peer {
            let mut rules = apart(|rule, family, set| rule.source_in(family, set).verdict(&prohibited()));
            rules.extend(apart(|rule, family, set| {
                rule.destination_in(family, set).verdict(&prohibited())
            }));
            return rules;
        }
        let willing = Verdict::Goto(BETWEEN_WILLING.to_owned());
        let mut rules = apart(|rule, family, set| rule.source_in(family, set).verdict(&willing));
        rules.push(Rule::new().verdict(&prohibited()));
        rules
    }

    /// Makes the chain of a list of destinations.
    pub(super) fn add_list(&self, batch: &mut Batch, number: u64, destinations: &[Destination]) {
        let name = list_name(number);
        batch.add_chain(FAMILY, &self.name, &name, None);
        for destination in destinations {
            for rule in rules_of(destination) {
                batch.add_rule(FAMILY, &self.name, &name, &rule.verdict(&Verdict::Accept));
            }
        }
        batch.add_rule(FAMILY, &self.name, &name, &Rule::new().verdict(&prohibited()));
    }

    /// Removes the chain of a list that no element leads to.
    pub(super) fn remove_list(&self, batch: &mut Batch, number: u64) {
        batch.remove_chain(FAMILY, &self.name, &list_name(number));
    }
}

/// The verdict that leads to a list.
pub(super) fn to_list(number: u64) -> Verdict {
    Verdict::Goto(list_name(number))
}

fn list_name(number: u64) -> String {
    format!("list-{number}")
}

fn prohibited() -> Verdict {
    Verdict::Goto(PROHIBITED.to_owned())
}

fn plain(word: &str, family: Family, networks: bool) -> Set {
    Set {
        name: match family {
            Family::V4 => format!("{word}4"),
            Family::V6 => format!("{word}6"),
        },
        family,
        networks,
        verdicts: false,
    }
}

/// One rule for each set of peers that are apart.
fn apart(rule: impl Fn(Rule, Family, &str) -> Rule) -> Vec<Rule> {
    let mut rules = Vec::new();
    for family in Family::ALL {
        for networks in [false, true] {
            let set = Table::set(Kind::Apart, family, networks);
            rules.push(rule(Rule::new().family(family), family, &set.name));
        }
    }
    rules
}

/// The gateway's DNS is the peers', and this host's own.
fn strangers(interface: &str) -> impl Iterator<Item = Rule> {
    let rule = |family| {
        Rule::new()
            .not_from_interface(interface)
            .not_from_interface("lo")
            .family(family)
            .destination_in(family, &plain("own", family, false).name)
    };
    let rules = Family::ALL.map(|family| [rule(family).udp(), rule(family).tcp()]);
    let drop = |rule: Rule| rule.to_ports(DNS_PORT, DNS_PORT).verdict(&Verdict::Drop);
    rules.into_iter().flatten().map(drop)
}

/// What all packets of peers go through, to this host and beyond.
fn from_peers() -> Vec<Rule> {
    let mut rules = vec![
        Rule::new().reply().verdict(&Verdict::Accept),
        Rule::new().related().verdict(&Verdict::Accept),
    ];
    for family in Family::ALL {
        let own = plain("own", family, false).name;
        let own = || Rule::new().family(family).destination_in(family, &own);
        for service in [
            own().udp().to_ports(DNS_PORT, DNS_PORT),
            own().tcp().to_ports(DNS_PORT, DNS_PORT),
            own().icmp(family),
        ] {
            rules.push(service.verdict(&Verdict::Accept));
        }
    }
    for family in Family::ALL {
        let rule = || Rule::new().family(family);
        let guarded = plain("guarded", family, true).name;
        rules.push(rule().destination_in(family, &guarded).verdict(&prohibited()));
        for networks in [false, true] {
            let lists = Table::set(Kind::Lists, family, networks).name;
            rules.push(rule().verdict_of_source(family, &lists));
        }
    }
    rules
}

/// The conditions of a destination; TCP and UDP are two rules.
fn rules_of(destination: &Destination) -> Vec<Rule> {
    let family = Family::of(destination.network.addr());
    let place = || Rule::new().family(family).to_network(destination.network);
    let ports = |rule: Rule, ports: wg::access::Ports| {
        if ports == wg::access::Ports::ALL {
            rule
        } else {
            rule.to_ports(ports.first, ports.last)
        }
    };
    match destination.traffic {
        Traffic::Any => vec![place()],
        Traffic::Icmp => vec![place().icmp(family)],
        Traffic::Tcp(range) => vec![ports(place().tcp(), range)],
        Traffic::Udp(range) => vec![ports(place().udp(), range)],
        Traffic::TcpAndUdp(range) => vec![ports(place().tcp(), range), ports(place().udp(), range)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_kernel_knows_what_is_hidden_by_its_source() {
        let addresses: Vec<IpNet> = ["10.13.13.1/24", "fd00::1/64"].map(|text| text.parse().unwrap()).into();
        let out = |by_source| Table::new("adit".to_owned(), &addresses, true, by_source).out("wg0");
        let by_interface = out(false);
        assert_eq!(by_interface.len(), 1);
        let v4 = Rule::new().family(Family::V4).from_network(addresses[0].trunc());
        let v6 = Rule::new().family(Family::V6).from_network(addresses[1].trunc());
        let hidden = [v4, v6].map(|rule| rule.not_to_interface("wg0").masquerade());
        assert_eq!(out(true), [by_interface, hidden.to_vec()].concat());
    }
}
