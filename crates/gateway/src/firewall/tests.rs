//! The table in a namespace of its own, as Debian's `nft` reads it back.

use std::{net::IpAddr, process::Command};

use linux::netns::Namespace;
use wg::{Access, Destination, PublicKey};

use super::{table::LEARNING, *};
use crate::server::{Gateway, Peer, Plan};

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The table's objects, without what a table has in any case.
fn listed(table: &str) -> String {
    run("nft", &["list", "table", "inet", table])
}

fn peer(addresses: &[&str], networks: &[&str], destinations: Option<&str>, peer_to_peer: Option<bool>) -> Peer {
    Peer {
        public_key: PublicKey::from_bytes([1; 32]),
        preshared_key: None,
        addresses: addresses.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect(),
        networks: nets(networks),
        keepalive: None,
        access: Access {
            destinations: destinations.map(|text| Destination::list(text).unwrap()),
            peer_to_peer,
        },
    }
}

fn set(number: u16, peer: Peer) -> PeerChange {
    PeerChange::Set(Name::numbered(number.into()), peer)
}

fn remove(number: u16) -> PeerChange {
    PeerChange::Remove(Name::numbered(number.into()))
}

fn in_namespace(test: impl FnOnce() + Send) {
    let up = || run("ip", &["link", "set", "lo", "up"]);
    let test = || {
        up();
        // Which interfaces a namespace begins with is the kernel's affair.
        for entry in std::fs::read_dir("/proc/sys/net/ipv6/conf").unwrap() {
            std::fs::write(entry.unwrap().path().join("accept_ra"), "0").unwrap();
        }
        test();
    };
    Namespace::anonymous().unwrap().run(test).unwrap();
}

/// Makes changes as a gateway does, with nothing between.
fn both(firewall: &mut Firewall, changes: &[PeerChange]) {
    firewall.change_before(changes).unwrap();
    firewall.change_after(changes).unwrap();
}

const ADDRESSES: [&str; 2] = ["10.13.13.1/24", "fd00::1/64"];

/// The elements of a set, in one line.
fn elements(set: &str) -> String {
    let text = run("nft", &["list", "set", "inet", "adit", set]);
    let elements = text.split_once("elements = {").map_or("", |(_, rest)| rest);
    let elements = elements.split_once('}').map_or("", |(elements, _)| elements);
    elements.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn map_elements(map: &str) -> String {
    let text = run("nft", &["list", "map", "inet", "adit", map]);
    let elements = text.split_once("elements = {").map_or("", |(_, rest)| rest);
    let elements = elements.split_once('}').map_or("", |(elements, _)| elements);
    elements.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_table_is_as_drawn() {
    netlab::requires!("root", "nft", "ip");
    in_namespace(|| {
        check(&nets(&ADDRESSES)).unwrap();
        assert_eq!(run("nft", &["list", "ruleset"]), "", "a check leaves nothing");
        let firewall = Firewall::open("lo", &nets(&ADDRESSES), true, None).unwrap();
        assert_eq!(listed("adit"), include_str!("table.nft"));
        drop(firewall);
        assert_eq!(run("nft", &["list", "ruleset"]), "");
    });
}

#[test]
fn peers_that_do_not_reach_each_other_are_reached_by_nobody() {
    netlab::requires!("root", "nft", "ip");
    in_namespace(|| {
        let _firewall = Firewall::open("lo", &nets(&ADDRESSES), false, None).unwrap();
        let chain = run("nft", &["list", "chain", "inet", "adit", "forward"]);
        let rules: Vec<&str> = chain
            .lines()
            .map(str::trim)
            .filter(|line| line.contains("ifname"))
            .collect();
        assert_eq!(
            rules,
            [
                "iifname \"lo\" oifname \"lo\" jump between-peers",
                "iifname \"lo\" jump from-peers",
                "iifname != \"lo\" oifname \"lo\" ct direction reply accept",
                "iifname != \"lo\" oifname \"lo\" ct state related accept",
                "iifname != \"lo\" oifname \"lo\" goto prohibited",
            ]
        );
    });
}

#[test]
fn a_launcher_reaches_its_port_and_nobody_else_does() {
    netlab::requires!("root", "nft", "ip");
    in_namespace(|| {
        let launcher = Launcher {
            public_key: PublicKey::from_bytes([9; 32]),
            address: "198.19.9.8".parse().unwrap(),
            own: "198.19.9.9/31".parse().unwrap(),
            port: 51_820,
            socket: "/nowhere".into(),
        };
        let _firewall = Firewall::open("lo", &nets(&ADDRESSES), false, Some(&launcher)).unwrap();
        for (chain, expected) in [
            (
                "input",
                &[
                    "iifname \"lo\" ip saddr 198.19.9.8 ip daddr 198.19.9.9 tcp dport 51820 accept",
                    "iifname \"lo\" ip saddr 198.19.9.8 goto prohibited",
                    "ip daddr 198.19.9.9 drop",
                ][..],
            ),
            ("forward", &["iifname \"lo\" ip saddr 198.19.9.8 goto prohibited"]),
        ] {
            let listed = run("nft", &["list", "chain", "inet", "adit", chain]);
            let rules = listed
                .lines()
                .map(str::trim)
                .skip_while(|line| !line.starts_with("type"));
            let rules: Vec<&str> = rules.skip(1).take(expected.len()).collect();
            assert_eq!(rules, expected, "{listed}");
        }
    });
}

#[test]
fn a_change_touches_what_it_names() {
    netlab::requires!("root", "nft", "ip");
    in_namespace(|| {
        let mut firewall = Firewall::open("lo", &nets(&ADDRESSES), true, None).unwrap();
        let web = Some("192.0.2.0/24:443/tcp, [2001:db8::/32]:53");
        let laptop = peer(&["10.13.13.2", "fd00::2"], &[], web, None);
        let phone = peer(&["10.13.13.3", "fd00::3"], &[], web, Some(false));
        let open = peer(&["10.13.13.4"], &[], None, Some(true));
        both(&mut firewall, &[set(1, laptop), set(2, phone.clone()), set(3, open)]);
        assert_eq!(
            map_elements("lists4"),
            "10.13.13.2 : goto list-1, 10.13.13.3 : goto list-1"
        );
        assert_eq!(map_elements("lists6"), "fd00::2 : goto list-1, fd00::3 : goto list-1");
        assert_eq!(elements("apart4"), "10.13.13.3");
        let list = run("nft", &["list", "chain", "inet", "adit", "list-1"]);
        for rule in [
            "ip daddr 192.0.2.0/24 tcp dport 443 accept",
            "ip6 daddr 2001:db8::/32 tcp dport 53 accept",
            "ip6 daddr 2001:db8::/32 udp dport 53 accept",
            "goto prohibited",
        ] {
            assert!(list.contains(rule), "{rule} in {list}");
        }
        // Another list, then none; an address moves to another peer in the same change.
        let closed = peer(&["10.13.13.2"], &[], Some("none"), Some(false));
        both(&mut firewall, &[set(1, closed), remove(2), set(3, phone)]);
        assert_eq!(
            map_elements("lists4"),
            "10.13.13.2 : goto list-2, 10.13.13.3 : goto list-1"
        );
        assert_eq!(elements("apart4"), "10.13.13.2, 10.13.13.3");
        both(
            &mut firewall,
            &[set(1, peer(&["10.13.13.2"], &[], None, None)), remove(3), remove(9)],
        );
        assert_eq!(
            (map_elements("lists4"), elements("apart4")),
            (String::new(), String::new())
        );
        assert_eq!(listed("adit"), include_str!("table.nft"), "as if they had never been");
    });
}

#[test]
fn networks_in_networks_keep_their_own_rules() {
    netlab::requires!("root", "nft", "ip");
    in_namespace(|| {
        let mut firewall = Firewall::open("lo", &nets(&ADDRESSES), true, None).unwrap();
        let list = Some("192.0.2.1");
        both(
            &mut firewall,
            &[
                set(1, peer(&["10.13.13.2"], &["10.0.0.0/8"], list, None)),
                set(2, peer(&["10.13.13.3"], &["10.1.0.0/16"], None, None)),
                set(3, peer(&["10.13.13.4"], &["10.1.2.0/24"], list, None)),
            ],
        );
        assert_eq!(
            map_elements("lists4-networks"),
            "10.0.0.0/16 : goto list-1, 10.1.2.0/24 : goto list-1, 10.2.0.0-10.13.13.1 : goto list-1, \
             10.13.13.5-10.255.255.255 : goto list-1"
        );
        both(&mut firewall, &[remove(2)]);
        let routes = run("ip", &["route"]);
        assert_eq!(
            routes,
            "10.0.0.0/8 dev lo scope link \n10.1.2.0/24 dev lo scope link \n"
        );
        assert!(map_elements("lists4-networks").starts_with("10.0.0.0-10.1.1.255 : goto list-1, 10.1.2.0/24"));
        both(&mut firewall, &[remove(1), remove(3)]);
        assert_eq!(map_elements("lists4-networks"), "");
        assert_eq!(run("ip", &["route"]), "");
    });
}

#[test]
fn a_network_that_the_host_reaches_otherwise_stays_the_host_s() {
    netlab::requires!("root", "nft", "ip");
    in_namespace(|| {
        run("ip", &["tuntap", "add", "wg0", "mode", "tun"]);
        run("ip", &["link", "set", "wg0", "up"]);
        run("ip", &["route", "add", "192.0.2.0/24", "dev", "lo"]);
        let before = run("ip", &["route"]);
        let mut firewall = Firewall::open("wg0", &nets(&ADDRESSES), true, None).unwrap();
        let site = peer(&["10.13.13.2"], &["198.51.100.0/24", "192.0.2.0/24"], None, None);
        let error = firewall.change_before(&[set(1, site)]).unwrap_err().to_string();
        assert!(
            error.contains("192.0.2.0/24") && error.contains("remove the other route"),
            "{error}"
        );
        assert_eq!(run("ip", &["route"]), before, "all is undone");
        // One of its own that is there already is no error.
        run("ip", &["route", "add", "203.0.113.0/24", "dev", "wg0"]);
        let site = peer(&["10.13.13.2"], &["203.0.113.0/24"], None, None);
        firewall.change_before(&[set(1, site)]).unwrap();
    });
}

#[test]
fn a_killed_gateway_s_table_is_replaced_and_a_living_one_s_is_not() {
    netlab::requires!("root", "nft", "ip");
    in_namespace(|| {
        for name in ["wg0", "wg1"] {
            run("ip", &["tuntap", "add", name, "mode", "tun"]);
        }
        let open = |name: &str| Firewall::open(name, &nets(&ADDRESSES), true, None).unwrap();
        let tables = || run("nft", &["list", "tables"]);
        std::mem::forget(open("wg0"));
        let again = open("wg0");
        assert_eq!(tables(), "table inet adit\n");
        let other = open("wg1");
        assert_eq!(tables(), "table inet adit\ntable inet adit-wg1\n");
        drop(again);
        assert_eq!(tables(), "table inet adit-wg1\n");
        std::mem::forget(other);
        run("ip", &["link", "delete", "wg1"]);
        let last = open("wg0");
        assert_eq!(
            tables(),
            "table inet adit\n",
            "the table of an interface that is gone goes"
        );
        drop(last);
        assert_eq!(tables(), "");
    });
}

#[test]
fn rules_in_others_chains_come_and_go_with_the_gateway() {
    netlab::requires!("root", "nft", "iptables", "ip6tables", "ip");
    in_namespace(|| {
        run("ip", &["tuntap", "add", "wg0", "mode", "tun"]);
        for program in ["iptables", "ip6tables"] {
            run(program, &["-P", "FORWARD", "DROP"]);
        }
        run("iptables", &["-N", "DOCKER-USER"]);
        run("iptables", &["-I", "FORWARD", "-j", "DOCKER-USER"]);
        let rules = || (run("iptables", &["-S"]), run("ip6tables", &["-S"]));
        let before = rules();
        let open = || Firewall::open("wg0", &nets(&ADDRESSES), true, None).unwrap();
        std::mem::forget(open());
        let firewall = open();
        let (v4, v6) = rules();
        let added =
            |chain: &str, way: &str| format!("-A {chain} {way} wg0 -m comment --comment \"adit wg0\" -j ACCEPT\n");
        assert_eq!(
            v4,
            before.0.clone() + &added("DOCKER-USER", "-i") + &added("DOCKER-USER", "-o")
        );
        assert_eq!(v6, before.1.clone() + &added("FORWARD", "-i") + &added("FORWARD", "-o"));
        drop(firewall);
        assert_eq!(rules(), before);
    });
}

#[test]
fn what_somebody_removed_is_made_again() {
    netlab::requires!("root", "nft", "iptables", "ip6tables", "ip");
    in_namespace(|| {
        run("ip", &["tuntap", "add", "wg0", "mode", "tun"]);
        run("ip", &["link", "set", "wg0", "up"]);
        let mut firewall = Firewall::open("wg0", &nets(&ADDRESSES), true, None).unwrap();
        let peers = [
            (
                Name::numbered(1),
                peer(
                    &["10.13.13.2", "fd00::2"],
                    &["192.0.2.0/24"],
                    Some("198.51.100.7:443"),
                    None,
                ),
            ),
            (Name::numbered(2), peer(&["10.13.13.3"], &[], None, Some(false))),
        ];
        let changes: Vec<PeerChange> = peers
            .iter()
            .map(|(name, peer)| PeerChange::Set(name.clone(), peer.clone()))
            .collect();
        both(&mut firewall, &changes);
        let mut mend = || firewall.mend(peers.iter().map(|(name, peer)| (name, peer))).unwrap();
        assert!(!mend(), "all is there");
        let before = listed("adit");
        run("nft", &["flush", "ruleset"]);
        assert!(mend(), "it had gone");
        assert_eq!(listed("adit"), before);
        assert!(!mend(), "it is there again");
        // Docker starts only now.
        for program in ["iptables", "ip6tables"] {
            run(program, &["-P", "FORWARD", "DROP"]);
        }
        assert!(!mend(), "the table itself is there");
        for program in ["iptables", "ip6tables"] {
            let rules = run(program, &["-S", "FORWARD"]);
            assert_eq!(rules.matches("adit wg0").count(), 2, "{rules}");
            run(program, &["-F", "FORWARD"]);
        }
        assert!(!mend(), "the table itself is there");
        assert_eq!(run("iptables", &["-S", "FORWARD"]).matches("adit wg0").count(), 2);
        // Its own knowledge is that of the kernel: a change finds what it expects.
        both(&mut firewall, &[remove(1), remove(2)]);
    });
}

#[test]
fn forwarding_is_switched_back_unless_somebody_else_forwards() {
    netlab::requires!("root", "nft", "ip");
    let state =
        || ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"].map(|name| linux::sysctl::read(name).unwrap());
    in_namespace(|| {
        for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            linux::sysctl::write(name, "0").unwrap();
        }
        let open = |name: &str| Firewall::open(name, &nets(&ADDRESSES), true, None).unwrap();
        let firewall = open("lo");
        assert_eq!(state(), ["1", "1"]);
        drop(firewall);
        assert_eq!(state(), ["0", "0"]);
        // A killed one's switch becomes the next one's.
        std::mem::forget(open("lo"));
        drop(open("lo"));
        assert_eq!(state(), ["0", "0"]);
        let firewall = open("lo");
        run("nft", &["add", "table", "ip", "other"]);
        run(
            "nft",
            &["add chain ip other forward { type filter hook forward priority 0; }"],
        );
        drop(firewall);
        assert_eq!(state(), ["1", "1"]);
    });
}

#[test]
fn what_several_gateways_need_is_switched_off_by_the_last() {
    netlab::requires!("root", "nft", "ip");
    let settings = [
        "net.ipv4.ip_forward",
        "net.ipv6.conf.all.forwarding",
        "net.ipv6.conf.eth0.accept_ra",
    ];
    let state = || settings.map(|name| linux::sysctl::read(name).unwrap());
    let (off, on) = (["0", "0", "1"], ["1", "1", "2"]);
    in_namespace(|| {
        run("ip", &["link", "add", "eth0", "type", "veth", "peer", "name", "eth1"]);
        for (name, value) in settings.iter().zip(off) {
            linux::sysctl::write(name, value).unwrap();
        }
        let make = |name: &str| drop(run("ip", &["tuntap", "add", name, "mode", "tun"]));
        let unmake = |name: &str| drop(run("ip", &["link", "delete", name]));
        let open = |name: &str| Firewall::open(name, &nets(&ADDRESSES), true, None).unwrap();
        make("wg0");
        make("wg1");
        let (first, second) = (open("wg0"), open("wg1"));
        let learning = run("nft", &["list", "set", "inet", "adit-wg1", LEARNING]);
        assert!(learning.contains("elements = { \"eth0\" }"), "{learning}");
        drop(first);
        assert_eq!(state(), on);
        drop(second);
        assert_eq!(state(), off);
        let (first, second) = (open("wg0"), open("wg1"));
        drop(second);
        assert_eq!(state(), on);
        drop(first);
        assert_eq!(state(), off);
        // One is killed, another lives.
        std::mem::forget(open("wg0"));
        let second = open("wg1");
        unmake("wg0");
        clear().unwrap();
        assert_eq!(state(), on);
        drop(second);
        assert_eq!(state(), off);
        // The only one is killed.
        std::mem::forget(open("wg1"));
        assert_eq!(state(), on);
        unmake("wg1");
        clear().unwrap();
        assert_eq!(state(), off);
        assert_eq!(run("nft", &["list", "ruleset"]), "");
        // It is killed, and the next takes its place.
        make("wg0");
        std::mem::forget(open("wg0"));
        drop(open("wg0"));
        assert_eq!(state(), off);
    });
}

#[test]
fn a_gateway_that_ends_leaves_the_table_that_took_its_own_s_place() {
    netlab::requires!("root", "nft", "iptables", "ip");
    in_namespace(|| {
        let make = |name: &str| drop(run("ip", &["tuntap", "add", name, "mode", "tun"]));
        let open = |name: &str| Firewall::open(name, &nets(&ADDRESSES), true, None).unwrap();
        let tables = || run("nft", &["list", "tables"]);
        run("iptables", &["-P", "FORWARD", "DROP"]);
        let before = run("iptables", &["-S"]);
        let others = tables();
        make("wg0");
        make("wg1");
        for (first, second) in [("wg0", "wg1"), ("wg1", "wg1")] {
            let ending = open(first);
            if first != second {
                run("ip", &["link", "delete", first]);
            }
            let living = open(second);
            let there = (listed("adit"), run("iptables", &["-S"]));
            assert!(there.1.contains(&format!("adit {second}")));
            drop(ending);
            assert_eq!((listed("adit"), run("iptables", &["-S"])), there, "{first} {second}");
            drop(living);
            assert_eq!((tables(), run("iptables", &["-S"])), (others.clone(), before.clone()));
        }
    });
}

#[test]
fn a_change_whose_rules_cannot_go_is_undone_in_the_tunnel_too() {
    in_namespace(|| {
        let restricted = Some("192.0.2.0/24");
        let key = wg::PrivateKey::from_random([3; 32]);
        let peers = vec![
            (Name::numbered(1), peer(&["10.0.0.2"], &[], restricted, None)),
            (
                Name::numbered(2),
                Peer {
                    public_key: PublicKey::from_bytes([2; 32]),
                    ..peer(&["10.0.0.3"], &[], None, None)
                },
            ),
        ];
        let gateway = Gateway::open(Plan {
            name: "wgundo".to_owned(),
            plane: tunnel::Plane::Tun,
            private_key: key,
            listen_port: 0,
            addresses: nets(&["10.0.0.1/24"]),
            mtu: 1_420,
            dns: None,
            peer_to_peer: true,
            peers,
            launcher: None,
        })
        .unwrap();
        let live = || {
            let mut client = tunnel::uapi::Client::open("wgundo").unwrap();
            client.get().unwrap().device.peers.len()
        };
        assert_eq!(live(), 2);
        // Somebody takes the table away: rules in it can neither come nor go.
        run("nft", &["delete", "table", "inet", NAME]);
        gateway.change(&[remove(1), remove(2)]).unwrap_err();
        assert_eq!((live(), gateway.peers().unwrap().len()), (2, 2));
        // Who has no rules can go.
        gateway.change(&[remove(2)]).unwrap();
        assert_eq!((live(), gateway.peers().unwrap().len()), (1, 1));
    });
}
