//! Changes a tunnel that is up to another configuration without taking it down: its sessions live on.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use linux::{link, netlink::Netlink, route};
use wg::{
    Device, IpNet, PublicKey,
    conf::{Conf, Interface, Peer, Table},
};

use super::{
    Error, Errors, Options, SourceError, endpoint, interrupt::Ear, journal::Journal, routes, source::Source, undo,
};
use crate::control::Control;

/// Checks a configuration's text as [`up`](super::up) would, before it does anything. `target` is its file.
///
/// # Errors
///
/// Says what is wrong with it, and in which line.
pub fn check(target: &Path, text: &str) -> Result<(), SourceError> {
    Source::new(target)?.parse(text).map(drop)
}

/// Changes a tunnel that was brought up with the text `before`, if only peers are others, or its key, port or mark: only
/// the difference, with the routes of peers' networks. Gives whether that was so; if not, nothing was done, and the
/// tunnel is to go down and up.
///
/// Peers' endpoints, and what somebody else has set on the tunnel, stay where the file says the same as before. So does
/// the MTU.
///
/// # Errors
///
/// The first step that failed; the tunnel is as it was, and what went wrong with that follows.
pub fn change(options: Options<'_>, before: &str) -> Result<bool, Errors> {
    let Options {
        target,
        text,
        retries,
        say,
        ..
    } = options;
    let source = Source::new(target)?;
    let (before, wanted) = (source.parse(before)?, source.read(text, say)?);
    if !can_live(&before, &wanted) {
        return Ok(false);
    }
    let mut netlink = Netlink::route().map_err(Error::from)?;
    let (journal, records) = Journal::open(&source.name)?;
    let link = link::find(&mut netlink, &source.name).map_err(Error::from)?;
    let Some(link) = link.filter(undo::is_served).filter(|_| !records.is_empty()) else {
        if records.is_empty() {
            journal.remove()?;
        }
        return Ok(false);
    };
    for warning in wanted.warnings() {
        say(&format!("warning: {warning}"));
    }
    let mut control = Control::open(&source.name).map_err(Error::from)?;
    let there = control.status().map_err(Error::from)?.device;
    let device = device(&there, &before, &wanted, retries, say)?;
    let (had, has) = (networks(&before), networks(&wanted));
    let [lost, gained] = [&had - &has, &has - &had].map(routes::in_order);
    let mut ways = Ways {
        netlink,
        index: link.index,
        interface: wanted.interface(),
    };
    let changed = control
        .change(&there.difference(&device))
        .map_err(Error::from)
        .and_then(|()| ways.change(&lost, &gained));
    match changed {
        Ok(()) => Ok(true),
        Err(error) => {
            let back = control.status().map(|status| status.device.difference(&there));
            let back = back.and_then(|back| control.change(&back)).err().map(Error::from);
            let others = back.into_iter().chain(ways.change(&gained, &lost).err());
            Err(Errors::with(error, others.collect()))
        }
    }
}

/// Whether the difference is one that a tunnel takes while it is up.
fn can_live(before: &Conf, wanted: &Conf) -> bool {
    let (old, new) = (before.interface(), wanted.interface());
    let rest = |interface: &Interface| Interface {
        private_key: None,
        listen_port: None,
        fwmark: None,
        ..interface.clone()
    };
    let defaults = |conf: &Conf| -> BTreeSet<IpNet> {
        let is_default = |network: &IpNet| network.prefix_len() == 0;
        let networks = networks(conf).into_iter().filter(is_default);
        networks.filter(|_| old.table == Table::Auto).collect()
    };
    // Rules and guards of default routes, which have the mark, are not made anew here.
    let same_defaults =
        defaults(before) == defaults(wanted) && (old.fwmark == new.fwmark || defaults(before).is_empty());
    let is_open = |old: bool, new: bool| old && !new;
    rest(&old) == rest(&new)
        && same_defaults
        && !is_open(old.private_key.is_some(), new.private_key.is_some())
        && !is_open(old.listen_port.is_some(), new.listen_port.is_some())
}

fn networks(conf: &Conf) -> BTreeSet<IpNet> {
    conf.peers().flat_map(|peer| peer.allowed_ips).collect()
}

/// What is to be there: as it is, but for what the two configurations have differently.
fn device(
    there: &Device,
    before: &Conf,
    wanted: &Conf,
    retries: Option<u32>,
    say: &mut dyn FnMut(&str),
) -> Result<Device, Error> {
    let peers =
        |conf: &Conf| -> BTreeMap<PublicKey, Peer> { conf.peers().map(|peer| (peer.public_key, peer)).collect() };
    let (old_peers, new_peers) = (peers(before), peers(wanted));
    let is_another = |peer: &&Peer| old_peers.get(&peer.public_key).map(|old| &old.endpoint) != Some(&peer.endpoint);
    let others = new_peers.values().filter(is_another);
    let others: BTreeSet<String> = others
        .filter_map(|peer| Some(peer.endpoint.as_ref()?.to_string()))
        .collect();
    let mut device = wanted.device(|endpoint| {
        if others.contains(&endpoint.to_string()) {
            endpoint::resolve(endpoint, retries, Ear(None), say)
        } else {
            // Nobody's but of peers whose endpoints stay.
            Ok::<_, Error>(([0, 0, 0, 0], endpoint.port).into())
        }
    })?;
    for (key, peer) in &mut device.peers {
        let (Some(old), Some(new)) = (old_peers.get(key), new_peers.get(key)) else {
            continue;
        };
        if old.endpoint == new.endpoint {
            peer.endpoint = None;
        }
        let Some(there) = there.peers.get(key) else { continue };
        if old.preshared_key == new.preshared_key {
            peer.preshared_key = there.preshared_key.clone();
        }
        if old.persistent_keepalive == new.persistent_keepalive {
            peer.persistent_keepalive = there.persistent_keepalive;
        }
    }
    // Of whoever has added them.
    for (key, peer) in &there.peers {
        if !old_peers.contains_key(key) && !device.peers.contains_key(key) {
            device.peers.insert(*key, peer.clone());
        }
    }
    let (old, new) = (before.interface(), wanted.interface());
    if old.private_key == new.private_key {
        device.private_key = there.private_key.clone();
    }
    if old.listen_port == new.listen_port {
        device.listen_port = there.listen_port;
    }
    if old.fwmark == new.fwmark {
        device.fwmark = there.fwmark;
    }
    Ok(device)
}

/// The routes to the networks of a tunnel's peers.
struct Ways {
    netlink: Netlink,
    index: u32,
    interface: Interface,
}

impl Ways {
    fn change(&mut self, lost: &[IpNet], gained: &[IpNet]) -> Result<(), Error> {
        let (netlink, index, addresses) = (&mut self.netlink, self.index, &self.interface.addresses);
        match self.interface.table {
            Table::Off => {}
            Table::Number(table) => {
                routes::add_to_table(netlink, index, gained, table)?;
                routes::remove(netlink, index, lost, table, addresses)?;
            }
            Table::Auto => {
                routes::add_more(netlink, index, gained, addresses)?;
                routes::remove(netlink, index, lost, route::MAIN, addresses)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 2] = [
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
        "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=",
    ];

    fn conf(interface: &str, peers: &[&str]) -> Conf {
        let peers = peers.iter().zip(KEYS);
        let peers = peers.map(|(lines, key)| format!("[Peer]\nPublicKey = {key}\n{lines}\n"));
        Conf::parse(
            "x.conf",
            &format!("[Interface]\n{interface}\n{}", peers.collect::<String>()),
        )
        .unwrap()
    }

    #[test]
    fn only_what_a_tunnel_takes_while_it_is_up_is_changed_on_it() {
        let one = "AllowedIPs = 10.0.0.1/32";
        let all = "AllowedIPs = 0.0.0.0/0";
        // (the interface and its peers before and after, whether it can live)
        for (before, wanted, lives) in [
            (("", &[one][..]), ("", &[one, "AllowedIPs = 10.0.0.2/32"][..]), true),
            (("", &[one]), ("", &[]), true),
            (("ListenPort = 1", &[]), ("ListenPort = 2", &[]), true),
            (("ListenPort = 1", &[]), ("", &[]), false),
            (("FwMark = 1", &[one]), ("FwMark = 2", &[one]), true),
            (("FwMark = 1", &[all]), ("FwMark = 2", &[all]), false),
            (("", &[one]), ("", &[all]), false),
            (("Table = off", &[one]), ("Table = off", &[all]), true),
            (("Address = 10.0.0.1/24", &[]), ("Address = 10.0.0.2/24", &[]), false),
            (("MTU = 1400", &[]), ("", &[]), false),
            (("PostDown = true", &[]), ("PostDown = false", &[]), false),
        ] {
            let is_live = can_live(&conf(before.0, before.1), &conf(wanted.0, wanted.1));
            assert_eq!(is_live, lives, "{before:?} {wanted:?}");
        }
    }

    #[test]
    fn what_the_file_says_as_before_stays_as_it_is() {
        let [key, other] = KEYS.map(|key| key.parse::<PublicKey>().unwrap());
        let before = conf("", &["Endpoint = 192.0.2.1:1\nAllowedIPs = 10.0.0.1/32"]);
        let mut there = before.device(|_| Err(())).unwrap();
        // It has roamed, `up` has chosen a mark and the kernel a port.
        there.peers.get_mut(&key).unwrap().endpoint = Some("192.0.2.9:9".parse().unwrap());
        (there.fwmark, there.listen_port) = (Some(51820), Some(7));
        let wanted = conf(
            "",
            &[
                "Endpoint = 192.0.2.1:1\nAllowedIPs = 10.0.0.1/32",
                "Endpoint = 192.0.2.2:2\nAllowedIPs = 10.0.0.2/32",
            ],
        );
        let device = device(&there, &before, &wanted, None, &mut |_| {}).unwrap();
        let update = there.difference(&device);
        let [added] = &update.peers[..] else {
            panic!("one peer is added: {update:?}")
        };
        assert_eq!(
            (added.public_key, added.endpoint),
            (other, Some("192.0.2.2:2".parse().unwrap()))
        );
        assert!(update.fwmark.is_none() && update.listen_port.is_none() && update.private_key.is_none());
    }
}
