//! The routes to a tunnel's peers, and the rules that let its own packets past a default route.
//!
//! As wg-quick has it: a default route lies in a table of its own, which packets without the tunnel's mark take, unless
//! the main table has something more specific than a default route for them.
//!
//! ```text
//! 32764: from all lookup main suppress_prefixlength 0
//! 32765: not from all fwmark 0xca6c lookup 51820
//! 32766: from all lookup main
//! ```

use std::cmp::Reverse;

use linux::{
    Family,
    netlink::{Error, Netlink},
    route::{self, Route},
    rule::{self, Packets, Rule},
};
use wg::IpNet;

/// The first table that is tried for default routes: wg-quick's.
const FIRST_TABLE: u32 = 51820;

/// The networks in the order in which routes to them are added: the longest prefixes first, then as wg-quick.
pub(super) fn in_order(networks: impl IntoIterator<Item = IpNet>) -> Vec<IpNet> {
    let mut networks: Vec<_> = networks.into_iter().collect();
    networks.sort_by_cached_key(|network| Reverse((network.prefix_len(), network.to_string())));
    networks
}

/// Adds routes to networks out of an interface to the main table, but for those that its routes there lead to already.
pub(super) fn add_missing(netlink: &mut Netlink, interface: u32, networks: &[IpNet]) -> Result<(), Error> {
    for family in Family::ALL {
        let wanted = networks.iter().filter(|network| Family::of(network.addr()) == family);
        let mut there = None;
        for network in wanted {
            // A route that is added here leads to no network of the list that comes after it: those are as large.
            if there.is_none() {
                let mut routes = route::list(netlink, family, route::MAIN)?;
                routes.retain(|route| route.interface == Some(interface));
                there = Some(routes);
            }
            let led_to = |route: &Route| route.destination.contains(network);
            if !there.iter().flatten().any(led_to) {
                route::add(netlink, &Route::direct(*network, interface))?;
            }
        }
    }
    Ok(())
}

/// Adds routes to networks out of an interface that is up to the main table: those that [`add_missing`] would have
/// added with all others. `addresses` are the interface's, whose networks the kernel leads there by itself.
pub(super) fn add_more(
    netlink: &mut Netlink,
    interface: u32,
    networks: &[IpNet],
    addresses: &[IpNet],
) -> Result<(), Error> {
    for family in Family::ALL {
        let there = route::list(netlink, family, route::MAIN)?;
        let is_there = |network: &IpNet| {
            let mut own = there.iter().filter(|route| route.interface == Some(interface));
            own.any(|route| route.destination == *network)
        };
        for network in networks {
            let leads = addresses.iter().any(|address| address.trunc().contains(network));
            if Family::of(network.addr()) == family && !leads && !is_there(network) {
                route::add(netlink, &Route::direct(*network, interface))?;
            }
        }
    }
    Ok(())
}

/// Removes routes to networks out of an interface from a table, as far as they are there; not those that the kernel
/// made for the interface's addresses.
pub(super) fn remove(
    netlink: &mut Netlink,
    interface: u32,
    networks: &[IpNet],
    table: u32,
    addresses: &[IpNet],
) -> Result<(), Error> {
    for network in networks {
        if table == route::MAIN && addresses.iter().any(|address| address.trunc() == *network) {
            continue;
        }
        let route = Route {
            table,
            ..Route::direct(*network, interface)
        };
        match route::delete(netlink, &route) {
            Err(error) if !error.is_missing() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Adds routes to networks out of an interface to a table, which may be any.
pub(super) fn add_to_table(netlink: &mut Netlink, interface: u32, networks: &[IpNet], table: u32) -> Result<(), Error> {
    for network in networks {
        route::add(
            netlink,
            &Route {
                table,
                ..Route::direct(*network, interface)
            },
        )?;
    }
    Ok(())
}

/// The first table from `first` on that no route is in and no rule leads to.
fn free_table(netlink: &mut Netlink, first: u32) -> Result<u32, Error> {
    let mut rules = rule::list(netlink, Family::V4)?;
    rules.extend(rule::list(netlink, Family::V6)?);
    let mut table = first;
    loop {
        let mut used = rules.iter().any(|rule| rule.table == table);
        for family in Family::ALL {
            used = used || route::is_table_used(netlink, family, table)?;
        }
        if !used {
            return Ok(table);
        }
        table += 1;
    }
}

/// Adds default routes to a table that is no other tunnel's in their families, `wanted` or a free one, and gives its number.
/// Without rules they mean nothing yet.
pub(super) fn add_defaults(
    netlink: &mut Netlink,
    interface: u32,
    defaults: &[IpNet],
    wanted: Option<u32>,
) -> Result<u32, Error> {
    let mut table = match wanted {
        Some(table) => table,
        None => free_table(netlink, FIRST_TABLE)?,
    };
    loop {
        match add_to_table(netlink, interface, defaults, table) {
            Ok(()) => return Ok(table),
            // Somebody who does not wait for us was faster.
            Err(error) if error.is_there_already() && wanted.is_none() => {
                remove(netlink, interface, defaults, table, &[])?;
                table = free_table(netlink, table + 1)?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The tables of a number that have a default route out of an interface.
pub(super) fn with_default(netlink: &mut Netlink, interface: u32, table: u32) -> Result<Vec<(Family, u32)>, Error> {
    let mut found = Vec::new();
    for family in Family::ALL {
        let routes = route::list(netlink, family, table)?;
        let is_default = |route: &Route| route.destination.prefix_len() == 0 && route.interface == Some(interface);
        if routes.iter().any(is_default) {
            found.push((family, table));
        }
    }
    Ok(found)
}

/// Sends a family's packets without the mark `table` to the table of that number.
pub(super) fn add_rules(netlink: &mut Netlink, family: Family, table: u32) -> Result<(), Error> {
    let unmarked = Rule {
        family,
        priority: None,
        packets: Packets::NotMarked(table),
        table,
        suppress_prefix_length: None,
    };
    rule::add(netlink, &unmarked)?;
    let specific = Rule {
        packets: Packets::All,
        table: route::MAIN,
        suppress_prefix_length: Some(0),
        ..unmarked
    };
    rule::add(netlink, &specific)
}

/// Removes the rules of [`add_rules`] for these tables, and no others. Goes on after errors and gathers them.
pub(super) fn remove_rules(netlink: &mut Netlink, tables: &[(Family, u32)]) -> Vec<Error> {
    let mut errors = Vec::new();
    for (family, table) in tables {
        let rules = match rule::list(netlink, *family) {
            Ok(rules) => rules,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        for rule in ours(&rules, *table) {
            match rule::delete(netlink, rule) {
                Err(error) if !error.is_missing() => errors.push(error),
                _ => {}
            }
        }
    }
    errors
}

/// Whether rules send unmarked packets to any table, as those of a tunnel with a default route do.
pub(super) fn has_rules(netlink: &mut Netlink) -> Result<bool, Error> {
    Ok(rule::list(netlink, Family::V4)?.iter().any(is_unmarked))
}

fn is_unmarked(rule: &Rule) -> bool {
    rule.packets == Packets::NotMarked(rule.table)
}

/// The rules for a table: those for unmarked packets, and of the look into the main table the one that was added next,
/// which therefore comes before, with no other tunnel's between. Other tunnels have the very same.
fn ours(rules: &[Rule], table: u32) -> Vec<&Rule> {
    let mut found = Vec::new();
    let is_specific = |rule: &Rule| {
        rule.packets == Packets::All && rule.table == route::MAIN && rule.suppress_prefix_length == Some(0)
    };
    for (at, rule) in rules.iter().enumerate() {
        if rule.table == table && is_unmarked(rule) {
            found.push(rule);
            let before = rules[..at]
                .iter()
                .rev()
                .find(|rule| is_specific(rule) || is_unmarked(rule));
            found.extend(before.filter(|rule| is_specific(rule)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux::netns::Namespace;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_longest_prefixes_come_first() {
        let sorted = nets(&[
            "fd00::/64",
            "10.0.0.2/32",
            "10.0.0.1/32",
            "10.0.0.0/8",
            "::/0",
            "0.0.0.0/0",
        ]);
        let mut shuffled = sorted.clone();
        shuffled.reverse();
        assert_eq!(in_order(shuffled), sorted);
    }

    fn rule(priority: u32, packets: Packets, table: u32, suppress: Option<u32>) -> Rule {
        Rule {
            family: Family::V4,
            priority: Some(priority),
            packets,
            table,
            suppress_prefix_length: suppress,
        }
    }

    #[test]
    fn only_the_rules_of_the_table_are_removed() {
        let local = rule(0, Packets::All, 255, None);
        let main = rule(32766, Packets::All, 254, None);
        let specific = |priority| rule(priority, Packets::All, 254, Some(0));
        let unmarked = |priority, table| rule(priority, Packets::NotMarked(table), table, None);
        // (the rules, in order; the priorities of those of table 51820)
        let cases = [
            (vec![local.clone(), main.clone()], vec![]),
            (
                vec![local.clone(), specific(32764), unmarked(32765, 51820), main.clone()],
                vec![32765, 32764],
            ),
            // Killed before the second rule: the other tunnel's stays.
            (
                vec![
                    specific(32763),
                    unmarked(32764, 51821),
                    unmarked(32765, 51820),
                    main.clone(),
                ],
                vec![32765],
            ),
            (
                vec![
                    specific(32762),
                    unmarked(32763, 51820),
                    specific(32764),
                    unmarked(32765, 51821),
                    main.clone(),
                ],
                vec![32763, 32762],
            ),
            (vec![specific(100), unmarked(32765, 51821), main], vec![]),
        ];
        for (rules, expected) in cases {
            let found: Vec<_> = ours(&rules, 51820).iter().filter_map(|rule| rule.priority).collect();
            assert_eq!(found, expected, "{rules:?}");
        }
    }

    #[test]
    fn two_tunnels_with_default_routes_do_not_take_each_others_rules() {
        netlab::requires!("root");
        let namespace = Namespace::anonymous().unwrap();
        namespace
            .run(|| {
                let mut netlink = Netlink::route().unwrap();
                linux::link::set_up(&mut netlink, 1).unwrap();
                let rules = |netlink: &mut Netlink| Family::ALL.map(|family| rule::list(netlink, family).unwrap());
                let before = rules(&mut netlink);
                let both = nets(&["0.0.0.0/0", "::/0"]);
                let add = |netlink: &mut Netlink, defaults: &[IpNet], wanted| {
                    let table = add_defaults(netlink, 1, defaults, wanted)?;
                    for network in defaults {
                        add_rules(netlink, Family::of(network.addr()), table).unwrap();
                    }
                    Ok::<u32, Error>(table)
                };
                let tables = |table| Family::ALL.map(|family| (family, table));
                assert_eq!(add(&mut netlink, &both[..1], None).unwrap(), 51820);
                let one = rules(&mut netlink);
                let second = add(&mut netlink, &both, None).unwrap();
                assert_eq!(second, 51821);
                assert_eq!(with_default(&mut netlink, 1, 51820).unwrap(), [(Family::V4, 51820)]);
                assert_eq!(with_default(&mut netlink, 1, second).unwrap(), tables(second));
                assert_eq!(with_default(&mut netlink, 2, second).unwrap(), []);
                assert!(remove_rules(&mut netlink, &tables(second)).is_empty());
                assert_eq!(rules(&mut netlink), one);

                // A table that is asked for: not if it has a default route of the family already.
                let taken = add(&mut netlink, &both[..1], Some(51820)).unwrap_err();
                assert!(taken.is_there_already(), "{taken}");
                assert_eq!(rules(&mut netlink), one);
                add(&mut netlink, &both[1..], Some(51820)).unwrap();
                assert!(remove_rules(&mut netlink, &[(Family::V6, 51820)]).is_empty());
                assert_eq!(rules(&mut netlink), one);
                assert!(has_rules(&mut netlink).unwrap());
                assert!(remove_rules(&mut netlink, &[(Family::V4, 51820)]).is_empty());
                assert!(!has_rules(&mut netlink).unwrap());
                assert_eq!(rules(&mut netlink), before);
            })
            .unwrap();
    }
}
