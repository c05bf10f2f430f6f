//! Batches in a namespace of their own, as Debian's `nft` reads them back.

use std::{net::Ipv4Addr, process::Command};

use ipnet::IpNet;

use super::{Batch, Chain, ChainType, Element, Hook, Nftables, Policy, Rule, Set, TableFamily, Verdict};
use crate::{Family, netns::Namespace};

const INET: TableFamily = TableFamily::Inet;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn list() -> String {
    let output = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn commit(nftables: &mut Nftables, batch: &Batch) {
    nftables.commit(batch, || "testing".to_owned()).unwrap();
}

fn base(kind: ChainType, hook: Hook, priority: i32) -> Chain {
    Chain {
        kind,
        hook,
        priority,
        policy: Policy::Accept,
    }
}

fn set(name: &str, family: Family, networks: bool, verdicts: bool) -> Set {
    Set {
        name: name.to_owned(),
        family,
        networks,
        verdicts,
    }
}

/// One of everything.
fn everything() -> Batch {
    let mut batch = Batch::new();
    batch.add_table(INET, "lab", "a table of adit's");
    let hosts = set("hosts", Family::V4, false, false);
    let networks = set("networks", Family::V6, true, false);
    let lists = set("lists", Family::V4, true, true);
    for set in [&hosts, &networks, &lists] {
        batch.add_set(INET, "lab", set);
    }
    batch.add_chain(INET, "lab", "end", None);
    let goto_end = Verdict::Goto("end".to_owned());
    batch.add_elements(
        INET,
        "lab",
        &hosts,
        &[net("10.0.0.2/32").into(), net("10.0.0.3/32").into()],
    );
    batch.add_elements(
        INET,
        "lab",
        &networks,
        &[net("fd00::/8").into(), net("ff00::/8").into()],
    );
    let list = Element::with_verdict(net("10.0.0.0/8"), goto_end.clone());
    batch.add_elements(INET, "lab", &lists, &[list]);
    for (name, chain) in [
        ("forward", base(ChainType::Filter, Hook::Forward, 0)),
        ("mss", base(ChainType::Filter, Hook::Forward, -150)),
        ("out", base(ChainType::Nat, Hook::Postrouting, 100)),
        ("raw", base(ChainType::Filter, Hook::Prerouting, -300)),
    ] {
        batch.add_chain(INET, "lab", name, Some(chain));
    }
    let rule = Rule::new;
    for (chain, rule) in [
        (
            "forward",
            rule().from_interface("wg0").to_interface("wg0").verdict(&Verdict::Drop),
        ),
        ("forward", rule().reply().verdict(&Verdict::Accept)),
        ("forward", rule().related().verdict(&Verdict::Accept)),
        ("forward", rule().led_elsewhere().verdict(&Verdict::Accept)),
        (
            "forward",
            rule()
                .family(Family::V4)
                .source_in(Family::V4, "hosts")
                .counter()
                .verdict(&Verdict::Return),
        ),
        (
            "forward",
            rule()
                .family(Family::V6)
                .destination_in(Family::V6, "networks")
                .verdict(&Verdict::Drop),
        ),
        (
            "forward",
            rule().family(Family::V4).verdict_of_source(Family::V4, "lists"),
        ),
        ("forward", rule().verdict(&Verdict::Jump("end".to_owned()))),
        ("mss", rule().to_interface("wg0").tcp_syn().clamp_mss()),
        (
            "out",
            rule()
                .from_interface("wg0")
                .not_to_interface("wg0")
                .masquerade()
                .comment("adit wg0"),
        ),
        (
            "raw",
            rule()
                .not_from_interface("wg0")
                .family(Family::V4)
                .to_network(net("10.0.0.1/32"))
                .not_from_this_host()
                .verdict(&Verdict::Drop),
        ),
        ("raw", rule().udp().restore_mark()),
        ("raw", rule().udp().marked(51820).save_mark()),
        (
            "end",
            rule()
                .family(Family::V4)
                .to_network(net("192.0.2.0/24"))
                .tcp()
                .to_ports(443, 443)
                .verdict(&Verdict::Accept),
        ),
        (
            "end",
            rule()
                .family(Family::V6)
                .to_network(net("2001:db8::/32"))
                .udp()
                .to_ports(8000, 8080)
                .verdict(&Verdict::Accept),
        ),
        (
            "end",
            rule()
                .family(Family::V6)
                .to_network(net("::/0"))
                .icmp(Family::V6)
                .verdict(&Verdict::Accept),
        ),
        ("end", rule().tcp().reset()),
        ("end", rule().prohibit()),
    ] {
        batch.add_rule(INET, "lab", chain, &rule);
    }
    batch
}

const EVERYTHING: &str = r#"table inet lab {
	comment "a table of adit's"
	set hosts {
		type ipv4_addr
		elements = { 10.0.0.2, 10.0.0.3 }
	}

	set networks {
		type ipv6_addr
		flags interval
		elements = { fd00::/8,
			     ff00::/8 }
	}

	map lists {
		type ipv4_addr : verdict
		flags interval
		elements = { 10.0.0.0/8 : goto end }
	}

	chain end {
		ip daddr 192.0.2.0/24 tcp dport 443 accept
		ip6 daddr 2001:db8::/32 udp dport 8000-8080 accept
		meta l4proto ipv6-icmp accept
		meta l4proto tcp reject with tcp reset
		reject with icmpx admin-prohibited
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname "wg0" oifname "wg0" drop
		ct direction reply accept
		ct state related accept
		ct status dnat accept
		ip saddr @hosts counter packets 0 bytes 0 return
		ip6 daddr @networks drop
		ip saddr vmap @lists
		jump end
	}

	chain mss {
		type filter hook forward priority mangle; policy accept;
		oifname "wg0" tcp flags syn / syn,rst tcp option maxseg size set rt mtu
	}

	chain out {
		type nat hook postrouting priority srcnat; policy accept;
		iifname "wg0" oifname != "wg0" masquerade comment "adit wg0"
	}

	chain raw {
		type filter hook prerouting priority raw; policy accept;
		iifname != "wg0" ip daddr 10.0.0.1 fib saddr type != local drop
		meta l4proto udp meta mark set ct mark
		meta l4proto udp meta mark 0x0000ca6c ct mark set meta mark
	}
}
"#;

#[test]
fn nft_reads_back_what_was_written() {
    netlab::requires!("root", "nft");
    Namespace::anonymous()
        .unwrap()
        .run(|| {
            let mut nftables = Nftables::open().unwrap();
            commit(&mut nftables, &everything());
            assert_eq!(list(), EVERYTHING);
        })
        .unwrap();
}

#[test]
fn a_batch_happens_as_a_whole_or_not_at_all() {
    netlab::requires!("root", "nft");
    Namespace::anonymous()
        .unwrap()
        .run(|| {
            let mut nftables = Nftables::open().unwrap();
            let mut batch = everything();
            batch.add_rule(INET, "lab", "no such chain", &Rule::new());
            let error = nftables.commit(&batch, || "trying".to_owned()).unwrap_err();
            assert!(error.is_missing(), "{error}");
            assert_eq!(list(), "");
            // A table is removed whether it is there or not, and may be made again in the same batch.
            for _ in 0..2 {
                let mut batch = Batch::new();
                batch.remove_table(INET, "lab");
                batch.append(everything());
                commit(&mut nftables, &batch);
                assert_eq!(list(), EVERYTHING);
            }
            let error = nftables.commit(&everything(), String::new).unwrap_err();
            assert!(error.is_there_already(), "{error}");
            let mut batch = Batch::new();
            batch.remove_table(INET, "lab");
            batch.remove_table(TableFamily::V4, "never there");
            commit(&mut nftables, &batch);
            assert_eq!(list(), "");
        })
        .unwrap();
}

#[test]
fn elements_chains_and_rules_come_and_go_one_by_one() {
    netlab::requires!("root", "nft");
    Namespace::anonymous()
        .unwrap()
        .run(|| {
            let mut nftables = Nftables::open().unwrap();
            commit(&mut nftables, &everything());
            let (hosts, lists) = (
                set("hosts", Family::V4, false, false),
                set("lists", Family::V4, true, true),
            );
            let mut batch = Batch::new();
            batch.add_chain(INET, "lab", "other", None);
            let other = Verdict::Goto("other".to_owned());
            let element = |network: &str| Element::with_verdict(net(network), other.clone());
            batch.remove_elements(INET, "lab", &hosts, &[net("10.0.0.2/32").into()]);
            batch.clear_set(INET, "lab", &lists);
            batch.add_elements(INET, "lab", &lists, &[element("10.1.0.0/16"), element("10.2.0.0/16")]);
            commit(&mut nftables, &batch);
            let listed = list();
            assert!(listed.contains("elements = { 10.0.0.3 }"), "{listed}");
            assert!(listed.contains("10.1.0.0/16 : goto other"), "{listed}");
            assert!(!listed.contains("10.0.0.0/8"), "{listed}");

            let found = nftables.commented_rules(INET, "lab").unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!((&*found[0].chain, &*found[0].comment), ("out", "adit wg0"));
            let tables = nftables.tables().unwrap();
            assert_eq!(tables[0].comment.as_deref(), Some("a table of adit's"));
            let chains = nftables.chains().unwrap();
            let hooked = chains.iter().filter(|chain| chain.hook.is_some()).count();
            assert_eq!((chains.len(), hooked), (6, 4));

            let mut batch = Batch::new();
            batch.remove_rule(INET, "lab", "out", found[0].handle);
            batch.insert_rule(INET, "lab", "out", &Rule::new().to_interface("first").masquerade());
            batch.clear_set(INET, "lab", &lists);
            batch.remove_chain(INET, "lab", "other");
            commit(&mut nftables, &batch);
            let listed = list();
            assert!(!listed.contains("adit wg0") && !listed.contains("other"), "{listed}");
            assert!(listed.contains("oifname \"first\" masquerade"), "{listed}");
        })
        .unwrap();
}

#[test]
fn ten_thousand_peers_fit_into_one_batch() {
    netlab::requires!("root", "nft");
    Namespace::anonymous()
        .unwrap()
        .run(|| {
            let mut nftables = Nftables::open().unwrap();
            let lists = set("lists", Family::V4, false, true);
            let mut batch = Batch::new();
            batch.add_table(INET, "lab", "");
            batch.add_set(INET, "lab", &lists);
            let mut elements = Vec::new();
            for peer in 0..10_000_u32 {
                let chain = format!("list-{peer}");
                batch.add_chain(INET, "lab", &chain, None);
                let rule = Rule::new().family(Family::V4).to_network(net("192.0.2.0/24"));
                batch.add_rule(INET, "lab", &chain, &rule.verdict(&Verdict::Accept));
                batch.add_rule(INET, "lab", &chain, &Rule::new().prohibit());
                elements.push(Element::with_verdict(
                    IpNet::from(std::net::IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + peer))),
                    Verdict::Goto(chain),
                ));
            }
            batch.add_elements(INET, "lab", &lists, &elements);
            commit(&mut nftables, &batch);
            assert_eq!(nftables.chains().unwrap().len(), 10_000);
        })
        .unwrap();
}
