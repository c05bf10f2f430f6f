//! The configurations of a lease that is followed: written once it is ready, and again when they have become other ones.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use gateway::Name;
use hub::api::words::{Gateway, Lease};
use wg::PrivateKey;

use super::Follower;
use crate::command::launch::{event::Event, leases, login, screen};

/// How long it is tried to get the configurations of a gateway that was started anew.
const LIMIT: Duration = Duration::from_secs(120);

/// Whose configurations lead to a gateway that is not there any more.
#[derive(Debug)]
pub(super) struct Stale {
    since: Instant,
    names: Vec<Name>,
}

impl Follower<'_> {
    /// Writes every client's configuration.
    pub(super) fn hand_out(&mut self, lease: &Lease) -> anyhow::Result<()> {
        let names: Vec<Name> = self.clients.iter().map(|(name, _)| name.clone()).collect();
        names.iter().try_for_each(|name| self.hand(lease, name))
    }

    /// Writes the private key that logs in, if that was asked for, and says how.
    pub(super) fn hand_login(&mut self, lease: &Lease, endpoint: &str) -> anyhow::Result<()> {
        let Some(login) = &self.login else { return Ok(()) };
        let path = self.files.write_login(&format!("lease {}", lease.id), login)?;
        let command = login::command(&path, endpoint);
        self.screen.line(&format!("log in with: {command}"));
        self.emit(&Event::Ssh {
            command: &command,
            key: &path,
        })
    }

    /// Says that the gateway has another key or address, if it has, and writes the configurations anew.
    pub(super) fn look_at_gateway(&mut self, before: &Lease, lease: &Lease) -> anyhow::Result<()> {
        let (Some(old), Some(gateway)) = (&before.gateway, &lease.gateway) else {
            return Ok(());
        };
        if has_other_way(old, gateway) {
            self.screen.warning(&said(old, gateway));
            self.emit(&Event::Rekeyed {
                lease: lease.id.to_string(),
                endpoint: &gateway.endpoint,
                public_key: &gateway.public_key.to_string(),
            })?;
            // A peer that is none any more, or that another command gave another key, has its file from there.
            let is_ours = |(name, key): &(Name, Option<PrivateKey>)| {
                let peer = lease.peers.iter().find(|peer| peer.name == name.as_str());
                let own = key.as_ref().map(PrivateKey::public_key);
                peer.is_some_and(|peer| own.is_none() || peer.public_key == own)
            };
            let ours = self.clients.iter().filter(|client| is_ours(client));
            self.stale = Some(Stale {
                since: Instant::now(),
                names: ours.map(|(name, _)| name.clone()).collect(),
            });
            for peer in &lease.peers {
                if !self.clients.iter().any(|(name, _)| name.as_str() == peer.name) {
                    self.screen.warning(&format!(
                        "{} has to take a new configuration: `adit launch peer rekey {} {}`",
                        peer.name, lease.id, peer.name
                    ));
                }
            }
        }
        self.renew(lease);
        Ok(())
    }

    /// Writes anew what leads nowhere. What cannot be had now is tried again at the next look.
    fn renew(&mut self, lease: &Lease) {
        let Some(stale) = self.stale.take() else { return };
        let mut left = Vec::new();
        for name in stale.names {
            match self.hand(lease, &name) {
                Ok(()) => {}
                Err(error) if stale.since.elapsed() > LIMIT => self.screen.warning(&format!(
                    "{name} has no new configuration: {error:#}; `adit launch peer rekey {} {name}` makes one",
                    lease.id
                )),
                Err(_) => left.push(name),
            }
        }
        if !left.is_empty() {
            self.stale = Some(Stale { names: left, ..stale });
        }
    }

    /// Writes a client's configuration, shows it, and says where it is.
    fn hand(&mut self, lease: &Lease, name: &Name) -> anyhow::Result<()> {
        let width = self.clients.iter().map(|(name, _)| name.as_str().len()).max();
        let client = self.clients.iter().find(|(client, _)| client == name);
        let key = client.and_then(|(_, key)| key.as_ref());
        let whole = leases::whole(self.leases.as_ref(), lease.id, name.as_str(), key);
        let text = self.runtime.block_on(whole)?;
        let note = format!("{name}, until {}", lease.ends_at);
        let path = self.files.write(name, &note, text.danger_text())?;
        let peer = lease.peers.iter().find(|peer| peer.name == name.as_str());
        let addresses = peer.map(|peer| peer.addresses.clone()).unwrap_or_default();
        let public_key = key
            .map(PrivateKey::public_key)
            .or(peer.and_then(|peer| peer.public_key));
        let line = screen::handed(name.as_str(), width.unwrap_or_default(), &addresses, &path);
        self.screen.line(&line);
        self.screen
            .qr(self.config.qr, text.danger_text(), self.clients.len())
            .context("cannot show the QR code")?;
        self.emit(&Event::Peer {
            peer: name.as_str(),
            public_key: public_key.map(|key| key.to_string()).unwrap_or_default(),
            addresses: &addresses,
            config: &path,
        })
    }
}

/// Whether what led to the gateway leads there no more.
fn has_other_way(old: &Gateway, gateway: &Gateway) -> bool {
    (old.public_key, &old.endpoint) != (gateway.public_key, &gateway.endpoint)
}

/// What a person reads of it.
fn said(old: &Gateway, gateway: &Gateway) -> String {
    let what = if old.public_key == gateway.public_key {
        format!("the gateway has another address, {}", gateway.endpoint)
    } else {
        format!(
            "the gateway was started anew and has another key, {}, at {}",
            gateway.public_key, gateway.endpoint
        )
    };
    format!(
        "{what}: the configurations of before lead nowhere, and new ones take their place; give them to the clients again"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_key_or_address_makes_configurations_worthless() {
        let gateway = |key: u8, endpoint: &str, plane: &str| Gateway {
            public_key: PrivateKey::from_random([key; 32]).public_key(),
            endpoint: endpoint.to_owned(),
            plane: plane.to_owned(),
            addresses: Vec::new(),
        };
        let old = gateway(1, "192.0.2.1:443", "netstack");
        for (new, said_of_it) in [
            (gateway(1, "192.0.2.1:443", "tun"), None),
            (
                gateway(1, "192.0.2.2:443", "netstack"),
                Some("another address, 192.0.2.2:443"),
            ),
            (gateway(2, "192.0.2.1:443", "netstack"), Some("another key")),
        ] {
            assert_eq!(has_other_way(&old, &new), said_of_it.is_some());
            if let Some(expected) = said_of_it {
                assert!(said(&old, &new).contains(expected));
            }
        }
    }
}
