//! Writes replies to requests.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use zeroize::Zeroizing;

use crate::{Peer, PeerStatus, PublicKey, Status};

/// The reply to [`Request::Get`](super::Request::Get), with its blank line. Contains the private key.
pub fn get_reply(status: &Status) -> Zeroizing<String> {
    let device = &status.device;
    // Room for all, so that growing leaves no copy of a key behind.
    let networks: usize = device.peers.values().map(|peer| peer.allowed_ips.len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(256 + 512 * device.peers.len() + 64 * networks));
    if let Some(key) = &device.private_key {
        push(&mut text, "private_key", &*key.danger_hex());
    }
    if let Some(port) = device.listen_port {
        push(&mut text, "listen_port", port);
    }
    if let Some(mark) = device.fwmark {
        push(&mut text, "fwmark", mark);
    }
    for (key, peer) in &device.peers {
        let happened = status.peers.get(key).copied().unwrap_or_default();
        push_peer(&mut text, key, peer, happened);
    }
    text.push_str("errno=0\n\n");
    text
}

/// The reply to [`Request::Set`](super::Request::Set), or to a request that failed, with its blank line.
///
/// `Err` is an error's number, not negative.
pub fn set_reply(result: Result<(), i32>) -> String {
    // Like wireguard-go: `wg` takes the number with its sign turned.
    format!("errno={}\n\n", result.err().map_or(0, |errno| -errno.abs()))
}

fn push_peer(text: &mut String, key: &PublicKey, peer: &Peer, happened: PeerStatus) {
    push(text, "public_key", key.to_hex());
    if let Some(key) = &peer.preshared_key {
        push(text, "preshared_key", &*key.danger_hex());
    }
    push(text, "protocol_version", 1);
    if let Some(endpoint) = peer.endpoint {
        push(text, "endpoint", endpoint);
    }
    let since_epoch = happened
        .latest_handshake
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .unwrap_or(Duration::ZERO);
    push(text, "last_handshake_time_sec", since_epoch.as_secs());
    push(text, "last_handshake_time_nsec", since_epoch.subsec_nanos());
    push(text, "tx_bytes", happened.tx_bytes);
    push(text, "rx_bytes", happened.rx_bytes);
    push(
        text,
        "persistent_keepalive_interval",
        peer.persistent_keepalive.unwrap_or(0),
    );
    for network in &peer.allowed_ips {
        push(text, "allowed_ip", network);
    }
}

/// Adds a line `key=value`.
pub(super) fn push(text: &mut String, key: &str, value: impl std::fmt::Display) {
    let _infallible = writeln!(text, "{key}={value}");
}
