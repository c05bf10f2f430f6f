//! Configuration in, status out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, atomic::Ordering},
};

use wg::{AllowedIpChange, Device, IpNet, PeerStatus, PeerUpdate, PrivateKey, PublicKey, Status, Update};

use super::Engine;
use crate::{
    allowed_ips::AllowedIps,
    buffer::Outbox,
    cookie::Checker,
    noise::KeyPair,
    peer::{Endpoint, Identity, Peer},
    time::Time,
};

/// The configuration, as it was applied.
#[derive(Debug, Default)]
pub(super) struct Config {
    private_key: Option<PrivateKey>,
    listen_port: Option<u16>,
    fwmark: Option<u32>,
    peers: BTreeMap<PublicKey, Configured>,
    next_id: u32,
}

#[derive(Debug)]
struct Configured {
    peer: Arc<Peer>,
    allowed_ips: BTreeSet<IpNet>,
}

impl Engine {
    /// Changes the configuration, and only what the update names: sessions of other peers live on.
    ///
    /// What a plane has to do itself, the port and the mark, is only remembered for [`Engine::status`].
    pub fn apply(&self, now: Time, update: &Update, outbox: &mut Outbox) {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.listen_port = update
            .listen_port
            .map_or(config.listen_port, |port| Some(port).filter(|&port| port != 0));
        config.fwmark = update
            .fwmark
            .map_or(config.fwmark, |mark| Some(mark).filter(|&mark| mark != 0));
        if let Some(private_key) = &update.private_key {
            self.set_private_key(now, &mut config, private_key);
        }
        if update.replace_peers {
            let named: BTreeSet<_> = update.peers.iter().map(|peer| peer.public_key).collect();
            let gone: Vec<_> = config
                .peers
                .keys()
                .filter(|key| !named.contains(key))
                .copied()
                .collect();
            for key in gone {
                self.remove_peer(&mut config, &key);
            }
        }
        for peer in &update.peers {
            self.apply_peer(now, &mut config, peer, outbox);
        }
        drop(config);
        self.handle_timeout(now, outbox);
    }

    fn set_private_key(&self, now: Time, config: &mut Config, private_key: &PrivateKey) {
        let private_key = (!private_key.is_zero()).then(|| private_key.clone());
        if private_key == config.private_key {
            return;
        }
        let identity = private_key.as_ref().map(|key| {
            let keys = KeyPair::new(key);
            Arc::new(Identity {
                checker: Checker::new(&keys.public),
                keys,
            })
        });
        config.private_key = private_key;
        (*self.identity.write().unwrap_or_else(PoisonError::into_inner)).clone_from(&identity);
        if let Some(identity) = &identity {
            self.remove_peer(config, &identity.keys.public);
        }
        for Configured { peer, .. } in config.peers.values() {
            self.introduce(peer, identity.as_ref());
            if peer.timers.persistent_interval_secs() != 0 {
                peer.timers.persistent_keepalive.set(now);
                self.queue.schedule(peer);
            }
        }
    }

    /// Gives a peer this host's identity. Its sessions receive as long as they last, but send nothing more, so that
    /// the next packet begins a handshake with the new key.
    fn introduce(&self, peer: &Peer, identity: Option<&Arc<Identity>>) {
        let mut state = peer.lock();
        state.identity = identity.cloned();
        state.static_static = identity.and_then(|identity| identity.keys.agree(peer.public_key().as_bytes()));
        self.index
            .remove(state.initiation.take().map(|initiation| initiation.local_index));
        peer.set_last_sent_handshake(None);
        let sessions = peer.sessions.read().unwrap_or_else(PoisonError::into_inner);
        for session in [&sessions.current, &sessions.next].into_iter().flatten() {
            session.sealer.disable();
        }
    }

    fn apply_peer(&self, now: Time, config: &mut Config, update: &PeerUpdate, outbox: &mut Outbox) {
        if update.remove {
            return self.remove_peer(config, &update.public_key);
        }
        let own = self
            .identity()
            .is_some_and(|identity| identity.keys.public == update.public_key);
        let known = config
            .peers
            .get(&update.public_key)
            .map(|configured| Arc::clone(&configured.peer));
        let peer = match known {
            Some(peer) => peer,
            None if own || update.update_only => return,
            None => self.add_peer(config, update.public_key),
        };
        if let Some(preshared_key) = &update.preshared_key {
            peer.lock().preshared_key.copy_from_slice(preshared_key.danger_bytes());
        }
        let was_placed = peer.place().is_some();
        if let Some(address) = update.endpoint.filter(|&address| peer.endpoint() != Some(address)) {
            peer.move_to(Endpoint { address, local: None });
        }
        self.change_allowed_ips(config, &peer, update);

        let mut call = !was_placed && peer.timers.persistent_interval_secs() != 0;
        if let Some(secs) = update.persistent_keepalive {
            call |= secs != 0 && peer.timers.persistent_interval_secs() == 0;
            peer.timers.set_persistent_interval_secs(secs);
            if secs == 0 {
                peer.timers.persistent_keepalive.clear();
            }
        }
        if peer.place().is_some() {
            let mut state = peer.lock();
            if call {
                self.send_keepalive(now, &peer, &mut state, outbox);
            } else {
                self.send_staged(now, &peer, &mut state, outbox);
            }
        }
    }

    fn add_peer(&self, config: &mut Config, public_key: PublicKey) -> Arc<Peer> {
        let peer = Arc::new(Peer::new(config.next_id, public_key));
        config.next_id += 1;
        self.introduce(&peer, self.identity().as_ref());
        config.peers.insert(
            public_key,
            Configured {
                peer: Arc::clone(&peer),
                allowed_ips: BTreeSet::new(),
            },
        );
        self.peers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(public_key, Arc::clone(&peer));
        peer
    }

    fn remove_peer(&self, config: &mut Config, public_key: &PublicKey) {
        let Some(Configured { peer, allowed_ips }) = config.peers.remove(public_key) else {
            return;
        };
        self.change_routes(|routes| {
            for net in allowed_ips {
                routes.remove(net);
            }
        });
        self.peers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(public_key);
        peer.mark_removed();
        self.zero_keys(&peer);
        let mut state = peer.lock();
        state.staged.clear();
        state.identity = None;
        state.static_static = None;
        drop(state);
        peer.timers.clear();
        self.queue.remove(&peer);
    }

    fn change_allowed_ips(&self, config: &mut Config, peer: &Arc<Peer>, update: &PeerUpdate) {
        let added: BTreeSet<IpNet> = update
            .allowed_ips
            .iter()
            .filter_map(|change| match change {
                AllowedIpChange::Add(net) => Some(net.trunc()),
                AllowedIpChange::Remove(_) => None,
            })
            .collect();
        let Some(configured) = config.peers.get_mut(peer.public_key()) else {
            return;
        };
        let gone: Vec<IpNet> = if update.replace_allowed_ips {
            let gone = configured.allowed_ips.difference(&added).copied().collect();
            configured.allowed_ips.retain(|net| added.contains(net));
            gone
        } else {
            Vec::new()
        };
        if gone.is_empty() && update.allowed_ips.is_empty() {
            return;
        }
        self.change_routes(|routes| {
            for net in gone {
                routes.remove(net);
            }
            for change in &update.allowed_ips {
                match *change {
                    AllowedIpChange::Add(net) => give(config, routes, net.trunc(), peer),
                    AllowedIpChange::Remove(net) => take(config, routes, net.trunc(), peer),
                }
            }
        });
    }

    /// Changes the routes: in place, unless a batch is looking at them.
    fn change_routes(&self, change: impl FnOnce(&mut AllowedIps<Arc<Peer>>)) {
        change(Arc::make_mut(
            &mut self.routes.write().unwrap_or_else(PoisonError::into_inner),
        ));
    }

    /// The configuration as it is, and what has happened with each peer.
    pub fn status(&self) -> Status {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let mut status = Status {
            device: Device {
                private_key: config.private_key.clone(),
                listen_port: config.listen_port,
                fwmark: config.fwmark,
                peers: BTreeMap::new(),
            },
            peers: BTreeMap::new(),
        };
        for (key, Configured { peer, allowed_ips }) in &config.peers {
            let preshared_key = wg::PresharedKey::from_bytes(*peer.lock().preshared_key);
            let described = wg::Peer {
                preshared_key: Some(preshared_key).filter(|key| !key.is_zero()),
                endpoint: peer.endpoint(),
                persistent_keepalive: Some(peer.timers.persistent_interval_secs()).filter(|&secs| secs != 0),
                allowed_ips: allowed_ips.clone(),
            };
            status.device.peers.insert(*key, described);
            let happened = PeerStatus {
                latest_handshake: peer.latest_handshake().map(|time| self.wall(time)),
                rx_bytes: peer.rx_bytes.load(Ordering::Relaxed),
                tx_bytes: peer.tx_bytes.load(Ordering::Relaxed),
            };
            status.peers.insert(*key, happened);
        }
        status
    }
}

/// Gives a network to a peer, and takes it from the one that has it.
fn give(config: &mut Config, routes: &mut AllowedIps<Arc<Peer>>, net: IpNet, peer: &Arc<Peer>) {
    if let Some(owner) = routes.insert(net, Arc::clone(peer))
        && let Some(owner) = config.peers.get_mut(owner.public_key())
    {
        owner.allowed_ips.remove(&net);
    }
    if let Some(configured) = config.peers.get_mut(peer.public_key()) {
        configured.allowed_ips.insert(net);
    }
}

/// Takes a network from a peer, if it has it.
fn take(config: &mut Config, routes: &mut AllowedIps<Arc<Peer>>, net: IpNet, peer: &Arc<Peer>) {
    if routes.exact(net).is_some_and(|owner| Arc::ptr_eq(owner, peer)) {
        routes.remove(net);
        if let Some(configured) = config.peers.get_mut(peer.public_key()) {
            configured.allowed_ips.remove(&net);
        }
    }
}
