//! What leads a container's questions for names to its resolver: rules in the container's namespace.
//!
//! Docker's own resolver at 127.0.0.11 stays in use for all that the link does not know: the resolver asks it by a socket
//! with a mark, which is let pass to where Docker leads it.

use std::net::{IpAddr, Ipv4Addr};

use docker::Inside;
use linux::{
    netlink::Error,
    nftables::{Batch, Chain, ChainType, Hook, Nftables, Policy, Rule, TableFamily, Verdict},
};

use super::HostError;

/// The table's name.
const TABLE: &str = "adit-link";

/// Its only chain.
const CHAIN: &str = "names";

/// Where it hangs: before Docker's own, at -100, since a flow is redirected once.
const PRIORITY: i32 = -150;

/// Where Docker's own resolver answers.
pub(crate) const ENGINE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

/// The port of DNS.
const DNS: u16 = 53;

/// The mark of the resolver's own questions.
pub(crate) const MARK: u32 = 0x0ad1;

/// Leads the questions of a container to this port of its loopback.
pub(crate) fn redirect(inside: &Inside, port: u16) -> Result<(), HostError> {
    Ok(inside.run(|| commit(&table(port)))??)
}

/// Leads them to Docker's own resolver again.
pub(crate) fn give_back(inside: &Inside) -> Result<(), HostError> {
    Ok(inside.run(|| commit(&Batch::new()))??)
}

fn commit(batch: &Batch) -> Result<(), Error> {
    let mut nftables = Nftables::open()?;
    let mut whole = Batch::new();
    let is_ours = |found: &linux::nftables::FoundTable| found.family == TableFamily::V4 && found.name == TABLE;
    if nftables.tables()?.iter().any(is_ours) {
        whole.remove_table(TableFamily::V4, TABLE);
    }
    whole.append(batch.clone());
    nftables.commit(&whole, || "leading a container's questions for names".to_owned())
}

fn table(port: u16) -> Batch {
    let mut batch = Batch::new();
    batch.add_table(TableFamily::V4, TABLE, "adit link");
    let base = Chain {
        kind: ChainType::Nat,
        hook: Hook::Output,
        priority: PRIORITY,
        policy: Policy::Accept,
    };
    batch.add_chain(TableFamily::V4, TABLE, CHAIN, Some(base));
    let mut add = |rule: Rule| batch.add_rule(TableFamily::V4, TABLE, CHAIN, &rule);
    add(Rule::new().marked(MARK).verdict(&Verdict::Accept));
    let to = || Rule::new().to_network(ENGINE.into());
    add(to().udp().to_ports(DNS, DNS).redirect(port));
    add(to().tcp().to_ports(DNS, DNS).redirect(port));
    batch
}

#[cfg(test)]
mod tests {
    use linux::netns::Namespace;

    use super::*;

    #[test]
    fn questions_are_led_away_and_the_resolver_s_own_are_not() {
        netlab::requires!("root", "nft");
        let inside = Inside::from(Namespace::anonymous().unwrap());
        // A second time changes nothing but the port.
        redirect(&inside, 5353).unwrap();
        redirect(&inside, 5354).unwrap();
        let list = || {
            let nft = std::process::Command::new("nft").args(["list", "ruleset"]).output();
            String::from_utf8(nft.unwrap().stdout).unwrap()
        };
        let text = inside.run(list).unwrap();
        for rule in [
            "type nat hook output priority mangle; policy accept;",
            "meta mark 0x00000ad1 accept",
            "ip daddr 127.0.0.11 udp dport 53 redirect to :5354",
            "ip daddr 127.0.0.11 tcp dport 53 redirect to :5354",
        ] {
            assert_eq!(text.matches(rule).count(), 1, "{rule}: {text}");
        }
    }
}
