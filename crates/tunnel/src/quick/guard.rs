//! What keeps packets from slipping past a tunnel that has a default route.
//!
//! As wg-quick has it, in a table of its name, so that each of the two programs takes down what the other made: what comes
//! for the tunnel's addresses by another interface is dropped, unless this host itself sent it; and the mark of the
//! tunnel's own UDP is kept with its flow, so that what comes back passes a strict check of the reverse path.

use linux::{
    Family,
    netlink::Error,
    nftables::{Batch, Chain, ChainType, Hook, Nftables, Policy, Rule, TableFamily, Verdict},
};
use wg::IpNet;

/// `NF_IP_PRI_RAW` and `_MANGLE`.
const RAW: i32 = -300;
const MANGLE: i32 = -150;

fn table(name: &str) -> String {
    format!("wg-quick-{name}")
}

/// Makes the guard of one family anew. `addresses` are the tunnel's of both, `mark` is its own packets' mark.
pub(super) fn add(name: &str, family: Family, addresses: &[IpNet], mark: u32) -> Result<(), Error> {
    let batch = describe(name, family, addresses, mark);
    Nftables::open()?.commit(&batch, || format!("guarding the addresses of {name}"))
}

/// Removes the guards of a tunnel, if there are any. Without nf_tables there are none.
pub(super) fn remove(name: &str) -> Result<(), Error> {
    let Ok(mut nftables) = Nftables::open() else {
        return Ok(());
    };
    let Ok(tables) = nftables.tables() else {
        return Ok(());
    };
    let mut batch = Batch::new();
    for found in tables {
        if found.name == table(name) && found.family != TableFamily::Inet {
            batch.remove_table(found.family, &found.name);
        }
    }
    nftables.commit(&batch, || format!("removing the guard of {name}"))
}

fn describe(name: &str, family: Family, addresses: &[IpNet], mark: u32) -> Batch {
    let (table, tables) = (table(name), TableFamily::from(family));
    let mut batch = Batch::new();
    batch.remove_table(tables, &table);
    batch.add_table(tables, &table, "");
    for (chain, hook, priority) in [
        ("preraw", Hook::Prerouting, RAW),
        ("premangle", Hook::Prerouting, MANGLE),
        ("postmangle", Hook::Postrouting, MANGLE),
    ] {
        let base = Chain {
            kind: ChainType::Filter,
            hook,
            priority,
            policy: Policy::Accept,
        };
        batch.add_chain(tables, &table, chain, Some(base));
    }
    let own = addresses.iter().map(IpNet::addr);
    for address in own.filter(|address| Family::of(*address) == family) {
        let rule = Rule::new().not_from_interface(name).to_network(address.into());
        let rule = rule.not_from_this_host().verdict(&Verdict::Drop);
        batch.add_rule(tables, &table, "preraw", &rule);
    }
    batch.add_rule(
        tables,
        &table,
        "postmangle",
        &Rule::new().udp().marked(mark).save_mark(),
    );
    batch.add_rule(tables, &table, "premangle", &Rule::new().udp().restore_mark());
    batch
}

#[cfg(test)]
mod tests {
    use linux::netns::Namespace;

    use super::*;

    #[test]
    fn the_guard_is_wg_quick_s_and_goes_again() {
        netlab::requires!("root", "nft");
        let listed = || {
            let output = std::process::Command::new("nft").args(["list", "ruleset"]).output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        let addresses: Vec<IpNet> = ["10.9.0.2/24", "fd09::2/64"].map(|text| text.parse().unwrap()).into();
        Namespace::anonymous()
            .unwrap()
            .run(|| {
                for _ in 0..2 {
                    add("wg0", Family::V4, &addresses, 51820).unwrap();
                }
                assert_eq!(
                    listed(),
                    "table ip wg-quick-wg0 {\n\
                     \tchain preraw {\n\
                     \t\ttype filter hook prerouting priority raw; policy accept;\n\
                     \t\tiifname != \"wg0\" ip daddr 10.9.0.2 fib saddr type != local drop\n\
                     \t}\n\n\
                     \tchain premangle {\n\
                     \t\ttype filter hook prerouting priority mangle; policy accept;\n\
                     \t\tmeta l4proto udp meta mark set ct mark\n\
                     \t}\n\n\
                     \tchain postmangle {\n\
                     \t\ttype filter hook postrouting priority mangle; policy accept;\n\
                     \t\tmeta l4proto udp meta mark 0x0000ca6c ct mark set meta mark\n\
                     \t}\n\
                     }\n"
                );
                add("wg0", Family::V6, &addresses, 51820).unwrap();
                add("wg1", Family::V6, &addresses, 51821).unwrap();
                assert!(listed().contains("ip6 daddr fd09::2 fib saddr type != local drop"));
                remove("wg0").unwrap();
                assert!(!listed().contains("wg0") && listed().contains("wg1"));
                remove("wg1").unwrap();
                assert_eq!(listed(), "");
                remove("wg1").unwrap();
            })
            .unwrap();
    }
}
