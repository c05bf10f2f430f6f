//! Rules as a guest in another's table: where Docker or ufw drop all that they do not know, the tunnel's packets pass.
//!
//! A chain that accepts a packet speaks for itself alone: another on the same hook may still drop it. iptables' FORWARD
//! chain does so by its policy once Docker or ufw has set it. There, and nowhere else, two rules let the tunnel's packets
//! pass: in DOCKER-USER, which Docker keeps for others, or in FORWARD itself. They carry a comment, and are written so
//! that `iptables` can show them.

use linux::{
    Family,
    netlink::Error,
    nftables::{Batch, Hook, Nftables, Rule, TableFamily, Verdict},
};

use super::table::{FAMILY, Label};

/// The names that iptables has used since its first day.
const TABLE: &str = "filter";
const FORWARD: &str = "FORWARD";
const DOCKER_USER: &str = "DOCKER-USER";

/// Lets packets of the interface pass where a policy would drop them.
pub(super) fn admit(nftables: &mut Nftables, interface: &str) -> Result<Batch, Error> {
    let comment = Label::new(interface, &[]).to_string();
    let chains = nftables.chains()?;
    let mut batch = Batch::new();
    for chain in &chains {
        let is_forward = chain.table == TABLE && chain.name == FORWARD && chain.hook == Some(Hook::Forward as u32);
        if chain.family == FAMILY || !is_forward || !chain.drops {
            continue;
        }
        let has_own_place = chains
            .iter()
            .any(|other| (other.family, &*other.table, &*other.name) == (chain.family, TABLE, DOCKER_USER));
        let place = if has_own_place { DOCKER_USER } else { FORWARD };
        for rule in [
            Rule::new().to_interface(interface),
            Rule::new().from_interface(interface),
        ] {
            let rule = rule.counter().verdict(&Verdict::Accept).comment(&comment);
            batch.insert_rule(chain.family, TABLE, place, &rule);
        }
    }
    Ok(batch)
}

/// Removes the rules of [`admit`] for all interfaces that `is_over` names.
pub(super) fn dismiss(nftables: &mut Nftables, is_over: impl Fn(&str) -> bool) -> Result<Batch, Error> {
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
pub(super) fn others_forward(nftables: &mut Nftables) -> bool {
    nftables
        .chains()
        .is_ok_and(|chains| chains.iter().any(|chain| chain.hook == Some(Hook::Forward as u32)))
}
