//! Where a packet of a peer's goes.

use std::{net::IpAddr, sync::Arc};

use super::{Verdict, access::Rules, config::Config, sys};
use crate::engine::{Engine, Peer};

/// The way of a packet.
#[derive(Clone, Debug)]
pub(super) enum Route {
    /// To the gateway itself.
    Own,
    /// To the network outside.
    Outside,
    /// To another peer.
    Peer(Arc<Peer>),
    /// Nowhere: the policy forbids it.
    Prohibited,
    /// Nowhere: the address is of the tunnel's network, and no peer has it.
    NoPeer,
    /// Nowhere, without a word: no host has such an address.
    Nowhere,
}

/// Finds the way to a destination.
///
/// The gateway's own addresses come first, then the networks of other peers, so that a policy cannot be got around by
/// an address that a peer also has. A peer that is everybody's way out (0.0.0.0/0) is a peer like any other.
pub(super) fn find(config: &Config, rules: &Rules, engine: &Engine, from: &Peer, destination: IpAddr) -> Route {
    if config.is_reserved(from.public_key(), destination) {
        return Route::Prohibited;
    }
    if config.is_own(destination) {
        return Route::Own;
    }
    if config.is_broadcast(destination) {
        return Route::Nowhere;
    }
    match config.policy.judge(destination) {
        Verdict::Allow => {}
        Verdict::Prohibit => return Route::Prohibited,
        Verdict::Drop => return Route::Nowhere,
    }
    if let Some(peer) = engine.peer_for(destination).filter(|peer| peer.id() != from.id()) {
        return if rules.are_willing(&config.policy, [from, &peer]) {
            Route::Peer(peer)
        } else {
            Route::Prohibited
        };
    }
    if config.is_inside(destination) {
        return Route::NoPeer;
    }
    // The loopback has a switch of its own, which was asked above.
    if !config.policy.host_addresses && !destination.is_loopback() && sys::is_this_host(destination) {
        return Route::Prohibited;
    }
    Route::Outside
}
