//! The rules of links: containers of members reach each other, and nobody else comes in by a link or goes out by it.
//!
//! ```text
//!   adbr-blue ⇄ adit-blue   containers here and there: with the addresses of their own host
//!   adit-blue ─▶ this host   members' exchange, pings; everything if the link is plain
//!   anything else            dropped
//! ```
//!
//! On a plain link other networks' containers go out by it, too, with the host's address, and come to be reached at the
//! ports that they publish.
//!
//! One table a link. Where iptables' FORWARD chain drops what it does not know, as Docker sets it, the link's packets are let
//! pass as guests.

use std::net::IpAddr;

use linux::{
    Family,
    netlink::Error,
    nftables::{
        Batch, Chain, ChainType, Hook, Nftables, Policy, Rule, TableFamily, Verdict,
        guest::{self, Label},
    },
};
use wg::IpNet;

use crate::{LinkName, PORT, link::Link};

/// The table sees both families.
const FAMILY: TableFamily = TableFamily::Inet;

/// `NF_IP_PRI_FILTER`.
const FILTER: i32 = 0;

/// The chains.
const INPUT: &str = "input";
const ARRIVE: &str = "arrive";
const FORWARD: &str = "forward";

/// Where this host speaks with itself.
const LOOPBACK: &str = "lo";

/// The rules of this host's links.
#[derive(Debug, Default)]
pub(crate) struct Firewall {
    /// The state of nf_tables in which all was as it is to be, and what that was.
    seen: Option<(u32, Vec<Wanted>)>,
}

/// What a link's table follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    name: LinkName,
    plain: bool,
    own: Vec<IpNet>,
    everything: Vec<IpNet>,
    speakers: Vec<IpNet>,
    address: IpAddr,
}

impl Wanted {
    fn new(link: &Link) -> Self {
        Self {
            name: link.name.clone(),
            plain: link.settings.plain,
            own: link.addresses.subnets(link.number()).to_vec(),
            everything: link.addresses.everything().to_vec(),
            speakers: link.addresses.speakers().map(IpNet::from).to_vec(),
            address: link.address().into(),
        }
    }
}

impl Firewall {
    /// Makes the tables of all links what they are to be, unless nobody has changed anything since.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub(crate) fn mend<'a>(&mut self, links: impl Iterator<Item = &'a Link>) -> Result<(), Error> {
        let wanted: Vec<Wanted> = links.map(Wanted::new).collect();
        if wanted.is_empty() && self.seen.is_none() {
            return Ok(());
        }
        let mut nftables = Nftables::open()?;
        let generation = nftables.generation()?;
        if self.seen.as_ref() == Some(&(generation, wanted.clone())) {
            return Ok(());
        }
        let tables = nftables.tables()?;
        let mut batch = Batch::new();
        for link in &wanted {
            let name = link.name.tunnel();
            if tables.iter().any(|table| table.family == FAMILY && table.name == name) {
                batch.remove_table(FAMILY, &name);
            }
            batch.append(table(link));
            for interface in [link.name.tunnel(), link.name.bridge()] {
                batch.append(guest::mend(&mut nftables, &interface, &Family::ALL)?);
            }
        }
        nftables.commit(&batch, || "setting the rules of links".to_owned())?;
        self.seen = Some((nftables.generation()?, wanted));
        Ok(())
    }

    /// Removes the rules of a link.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub(crate) fn remove(&mut self, link: &LinkName) -> Result<(), Error> {
        let mut nftables = Nftables::open()?;
        let (tunnel, bridge) = (link.tunnel(), link.bridge());
        let mut batch = guest::dismiss(&mut nftables, |interface| interface == tunnel || interface == bridge)?;
        let tables = nftables.tables()?;
        if tables
            .iter()
            .any(|table| table.family == FAMILY && table.name == tunnel)
        {
            batch.remove_table(FAMILY, &tunnel);
        }
        nftables.commit(&batch, || format!("removing the rules of {link}"))
    }
}

fn table(link: &Wanted) -> Batch {
    let (name, bridge) = (link.name.tunnel(), link.name.bridge());
    let mut batch = Batch::new();
    batch.add_table(FAMILY, &name, &Label::new(&name, &[]).to_string());
    batch.add_chain(FAMILY, &name, ARRIVE, None);
    let drop = || Verdict::Drop;
    let accept = || Verdict::Accept;
    let of = |network: &IpNet| Rule::new().family(Family::of(network.addr()));
    let mut arrive = vec![
        Rule::new().reply().verdict(&accept()),
        Rule::new().related().verdict(&accept()),
    ];
    for speakers in &link.speakers {
        let to = of(speakers).from_network(*speakers).to_network(link.address.into());
        arrive.push(to.tcp().to_ports(PORT, PORT).verdict(&accept()));
    }
    for family in Family::ALL {
        arrive.push(Rule::new().icmp(family).verdict(&accept()));
    }
    if link.plain {
        for network in &link.own {
            arrive.push(of(network).to_network(*network).verdict(&accept()));
        }
    }
    arrive.push(Rule::new().counter().verdict(&drop()));
    let input = [
        Rule::new()
            .from_interface(&name)
            .verdict(&Verdict::Jump(ARRIVE.to_owned())),
        // Containers have their host's bridge, not the place where members speak.
        of(&IpNet::from(link.address))
            .to_network(link.address.into())
            .not_from_interface(LOOPBACK)
            .verdict(&drop()),
    ];
    let mut forward = Vec::new();
    for (networks, from, to) in [
        (&link.own, &bridge, &name),
        (&link.everything, &name, &bridge),
        (&link.own, &bridge, &bridge),
    ] {
        for network in networks {
            forward.push(
                of(network)
                    .from_network(*network)
                    .from_interface(from)
                    .to_interface(to)
                    .verdict(&accept()),
            );
        }
    }
    if link.plain {
        // Containers of other networks, hidden by Docker behind this host's address; and their published ports.
        forward.push(Rule::new().to_interface(&name).verdict(&accept()));
        let arriving = || Rule::new().from_interface(&name);
        forward.push(arriving().reply().verdict(&accept()));
        forward.push(arriving().related().verdict(&accept()));
        forward.push(arriving().led_elsewhere().verdict(&accept()));
    }
    // Neighbour discovery between containers, where bridged packets come by here.
    forward.push(
        Rule::new()
            .from_interface(&bridge)
            .to_interface(&bridge)
            .verdict(&accept()),
    );
    for interface in [&name, &bridge] {
        forward.push(Rule::new().from_interface(interface).counter().verdict(&drop()));
        forward.push(Rule::new().to_interface(interface).counter().verdict(&drop()));
    }
    for (chain, hook, rules) in [(INPUT, Hook::Input, input.to_vec()), (FORWARD, Hook::Forward, forward)] {
        let base = Chain {
            kind: ChainType::Filter,
            hook,
            priority: FILTER,
            policy: Policy::Accept,
        };
        batch.add_chain(FAMILY, &name, chain, Some(base));
        for rule in rules {
            batch.add_rule(FAMILY, &name, chain, &rule);
        }
    }
    for rule in arrive {
        batch.add_rule(FAMILY, &name, ARRIVE, &rule);
    }
    batch
}

#[cfg(test)]
mod tests {
    use linux::netns::Namespace;

    use super::*;
    use crate::{link::Settings, secret::Secret};

    fn link(plain: bool) -> Link {
        Link::create(
            "blue".parse().unwrap(),
            "10.77.0.0/16".parse().unwrap(),
            "host-a".parse().unwrap(),
            None,
            51820,
            Settings {
                plain,
                ..Settings::default()
            },
            [1, 2].map(|seed| Secret::from_bytes([seed; 32])),
            1000,
        )
        .unwrap()
    }

    fn listed() -> String {
        let nft = std::process::Command::new("nft").args(["list", "ruleset"]).output();
        String::from_utf8(nft.unwrap().stdout).unwrap()
    }

    #[test]
    fn the_table_is_as_written_and_is_mended() {
        netlab::requires!("root", "nft");
        let snapshot = include_str!("firewall.nft");
        let namespace = Namespace::anonymous().unwrap();
        let mut firewall = Firewall::default();
        namespace
            .run(|| {
                firewall.mend([&link(false)].into_iter()).unwrap();
                let text = listed();
                if std::env::var_os("ADIT_UPDATE_SNAPSHOTS").is_some() {
                    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/host/firewall.nft"), &text).unwrap();
                } else {
                    assert_eq!(text, snapshot);
                }
                for command in ["flush ruleset", "flush chain inet adit-blue forward"] {
                    let nft = std::process::Command::new("nft").args(command.split(' ')).status();
                    assert!(nft.unwrap().success());
                    firewall.mend([&link(false)].into_iter()).unwrap();
                    assert_eq!(listed(), text, "{command}");
                }
                // A plain link lets members in.
                firewall.mend([&link(true)].into_iter()).unwrap();
                assert_ne!(listed(), text);
                firewall.remove(&"blue".parse().unwrap()).unwrap();
                assert_eq!(listed(), "");
            })
            .unwrap();
    }
}
