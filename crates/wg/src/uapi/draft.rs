//! An update while its lines are being read.

use std::collections::BTreeSet;

use super::{Fault, value};
use crate::{AllowedIpChange, PeerUpdate, PresharedKey, PrivateKey, PublicKey, Update};

/// An update that is being read.
#[derive(Debug, Default)]
pub(super) struct Draft {
    update: Update,
    /// The peer that lines are about.
    peer: Option<PeerUpdate>,
    /// Peers that have been read.
    named: BTreeSet<PublicKey>,
}

impl Draft {
    /// Takes the line `key=value`.
    pub(super) fn take(
        &mut self,
        key: &str,
        value: &str,
        zone_index: &dyn Fn(&str) -> Option<u32>,
    ) -> Result<(), Fault> {
        if key == "public_key" {
            self.end_peer();
            self.peer = Some(PeerUpdate::new(PublicKey::from_hex(value)?));
            return Ok(());
        }
        match &mut self.peer {
            None => take_interface(&mut self.update, key, value),
            Some(peer) => take_peer(peer, key, value, zone_index),
        }
    }

    /// Adds the peer that was being read to the update.
    ///
    /// After `replace_peers=true` the protocol has an interface without peers, which the request then adds. An
    /// [`Update`] keeps the peers that it names, with their sessions; so each is named with all that it shall be.
    fn end_peer(&mut self) {
        let Some(mut peer) = self.peer.take() else {
            return;
        };
        if self.update.replace_peers && !self.named.contains(&peer.public_key) {
            if peer.update_only {
                return;
            }
            peer.replace_allowed_ips = true;
            peer.persistent_keepalive = peer.persistent_keepalive.or(Some(0));
            peer.preshared_key = peer
                .preshared_key
                .or_else(|| Some(PresharedKey::from_bytes([0; crate::key::KEY_LEN])));
        }
        self.named.insert(peer.public_key);
        self.update.peers.push(peer);
    }

    /// The update, when all its lines were read.
    pub(super) fn finish(mut self) -> Update {
        self.end_peer();
        self.update
    }
}

fn take_interface(update: &mut Update, key: &str, value: &str) -> Result<(), Fault> {
    match key {
        "private_key" => update.private_key = Some(PrivateKey::from_hex(value)?),
        "listen_port" => update.listen_port = Some(value::number(value, u16::MAX.into())?),
        "fwmark" => update.fwmark = Some(value::number(value, u32::MAX.into())?),
        "replace_peers" => update.replace_peers = value::flag(value)?,
        _ => return Err(Fault::NotOfInterface),
    }
    Ok(())
}

fn take_peer(
    peer: &mut PeerUpdate,
    key: &str,
    value: &str,
    zone_index: &dyn Fn(&str) -> Option<u32>,
) -> Result<(), Fault> {
    match key {
        "remove" => peer.remove = value::flag(value)?,
        "update_only" => peer.update_only = value::flag(value)?,
        "preshared_key" => peer.preshared_key = Some(PresharedKey::from_hex(value)?),
        "endpoint" => peer.endpoint = Some(value::endpoint(value, zone_index)?),
        "persistent_keepalive_interval" => {
            peer.persistent_keepalive = Some(value::number(value, u16::MAX.into())?);
        }
        "replace_allowed_ips" => {
            peer.replace_allowed_ips = value::flag(value)?;
            peer.allowed_ips.clear();
        }
        "allowed_ip" => peer.allowed_ips.push(match value.strip_prefix('-') {
            Some(network) => AllowedIpChange::Remove(value::network(network)?),
            None => AllowedIpChange::Add(value::network(value)?),
        }),
        "protocol_version" if value == "1" => {}
        "protocol_version" => return Err(Fault::Version),
        _ => return Err(Fault::NotOfPeer),
    }
    Ok(())
}
