//! What other gateways of a network namespace have, and what killed ones have left.

use linux::{
    forwarding::Forwarding,
    link,
    netlink::Netlink,
    nftables::{
        Batch, Nftables,
        guest::{self, Label},
    },
};

use super::{
    FirewallError, NAME,
    table::{FAMILY, LEARNING},
};

/// What other gateways of this network namespace have: killed ones, which are those of this interface's name and those
/// whose interfaces are gone, and living ones.
#[derive(Debug)]
pub(super) struct Leftovers {
    /// Removes what killed ones left.
    pub(super) removal: Batch,
    /// What those had switched on, under `/proc/sys`.
    left: Forwarding,
    /// The same, and what living ones have switched on.
    pub(super) switched: Forwarding,
    /// Whether a gateway that lives, or a stranger, has the table's name.
    pub(super) is_taken: bool,
}

impl Leftovers {
    pub(super) fn find(nftables: &mut Nftables, interface: &str) -> Result<Self, FirewallError> {
        let links = Netlink::route().and_then(|mut netlink| link::list(&mut netlink));
        let links = links.map_err(FirewallError::Links)?;
        let is_left = |of: &str| of == interface || links.iter().all(|link| link.name != of);
        let mut found = Self {
            removal: guest::dismiss(nftables, is_left).map_err(FirewallError::Nftables)?,
            left: Forwarding::default(),
            switched: Forwarding::default(),
            is_taken: false,
        };
        for table in nftables.tables().map_err(FirewallError::Nftables)? {
            let is_named = table.family == FAMILY && table.name == NAME;
            let label = table.comment.as_deref().and_then(Label::read);
            let Some(label) = label.filter(|_| table.family == FAMILY) else {
                found.is_taken |= is_named;
                continue;
            };
            let names = nftables.names(FAMILY, &table.name, LEARNING);
            let switched = Forwarding {
                switched: label.forwarding,
                learning: names.map_err(FirewallError::Nftables)?,
            };
            found.switched.add(switched.clone());
            if is_left(&label.interface) {
                found.removal.remove_table(FAMILY, &table.name);
                found.left.add(switched);
            } else {
                found.is_taken |= is_named;
            }
        }
        Ok(found)
    }
}

/// Removes what killed gateways whose interfaces are gone left in the calling thread's network namespace, and switches off
/// what they had switched on, unless somebody else forwards.
///
/// # Errors
///
/// The kernel's refusal. Without nf_tables, or without the right to see it, there is nothing to remove.
pub fn clear() -> Result<(), FirewallError> {
    let found = Nftables::open()
        .map_err(FirewallError::Nftables)
        .and_then(|mut nftables| {
            // No interface has an empty name.
            let left = Leftovers::find(&mut nftables, "")?;
            Ok((nftables, left))
        });
    let Ok((mut nftables, mut left)) = found else {
        return Ok(());
    };
    nftables
        .commit(&left.removal, || "removing what a killed gateway left".to_owned())
        .map_err(FirewallError::Nftables)?;
    if !guest::others_forward(&mut nftables) {
        left.left.switch_back();
    }
    Ok(())
}
