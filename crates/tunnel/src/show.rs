//! What tunnels there are, as `wg show` prints it and as data.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use wg::{Peer, PeerStatus, PublicKey, Status};

use crate::control::{self, Control, ControlError};

/// A tunnel and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// How it is.
    pub status: Status,
}

/// Asks the tunnel of this name: the kernel's, ours or any other program's that has a socket.
///
/// # Errors
///
/// [`crate::uapi::ClientError::Unknown`] if there is none.
pub fn one(name: &str) -> Result<Shown, ControlError> {
    let status = Control::open(name)?.status()?;
    Ok(Shown {
        name: name.to_owned(),
        status,
    })
}

/// Asks all tunnels, in the order of their names, and gathers the errors of those that do not answer.
///
/// Sockets whose process was killed are passed over.
pub fn all() -> (Vec<Shown>, Vec<ControlError>) {
    let (mut shown, mut errors) = (Vec::new(), Vec::new());
    for (name, control) in control::all() {
        match control.and_then(|mut control| control.status()) {
            Ok(status) => shown.push(Shown { name, status }),
            Err(error) => errors.push(error),
        }
    }
    (shown, errors)
}

/// The tunnels as `wg show` prints them. Private and preshared keys are hidden.
pub fn text(tunnels: &[Shown], now: SystemTime) -> String {
    let sections: Vec<_> = tunnels.iter().map(|tunnel| one_text(tunnel, now)).collect();
    sections.join("\n")
}

fn one_text(tunnel: &Shown, now: SystemTime) -> String {
    let device = &tunnel.status.device;
    let mut text = format!("interface: {}\n", tunnel.name);
    let mut line = |word: &str, value: &str| {
        let _infallible = writeln!(text, "  {word}: {value}");
    };
    if let Some(key) = &device.private_key {
        line("public key", &key.public_key().to_string());
        line("private key", "(hidden)");
    }
    if let Some(port) = device.listen_port {
        line("listening port", &port.to_string());
    }
    if let Some(mark) = device.fwmark {
        line("fwmark", &format!("{mark:#x}"));
    }
    for (key, peer, happened) in in_order(&tunnel.status) {
        text.push('\n');
        peer_text(&mut text, key, peer, &happened, now);
    }
    text
}

fn peer_text(text: &mut String, key: &PublicKey, peer: &Peer, happened: &PeerStatus, now: SystemTime) {
    let _infallible = writeln!(text, "peer: {key}");
    let mut line = |word: &str, value: &str| {
        let _infallible = writeln!(text, "  {word}: {value}");
    };
    if peer.preshared_key.is_some() {
        line("preshared key", "(hidden)");
    }
    if let Some(endpoint) = peer.endpoint {
        line("endpoint", &endpoint.to_string());
    }
    let networks: Vec<_> = peer.allowed_ips.iter().map(ToString::to_string).collect();
    line(
        "allowed ips",
        if networks.is_empty() {
            "(none)".to_owned()
        } else {
            networks.join(", ")
        }
        .as_str(),
    );
    if let Some(handshake) = happened.latest_handshake {
        line("latest handshake", &ago(handshake, now));
    }
    if happened.rx_bytes > 0 || happened.tx_bytes > 0 {
        line(
            "transfer",
            &format!(
                "{} received, {} sent",
                bytes(happened.rx_bytes),
                bytes(happened.tx_bytes)
            ),
        );
    }
    if let Some(secs) = peer.persistent_keepalive {
        line("persistent keepalive", &format!("every {}", duration(secs.into())));
    }
}

/// The peers, those that were heard last first, as `wg` has them.
fn in_order(status: &Status) -> Vec<(&PublicKey, &Peer, PeerStatus)> {
    let happened = |key| status.peers.get(key).copied().unwrap_or_default();
    let mut peers: Vec<_> = status
        .device
        .peers
        .iter()
        .map(|(key, peer)| (key, peer, happened(key)))
        .collect();
    peers.sort_by_key(|(_, _, happened)| std::cmp::Reverse(happened.latest_handshake));
    peers
}

fn ago(then: SystemTime, now: SystemTime) -> String {
    match now.duration_since(then).map(|passed| passed.as_secs()) {
        Ok(0) => "Now".to_owned(),
        Ok(secs) => format!("{} ago", duration(secs)),
        Err(_) => "(System clock wound backward; connection problems may ensue.)".to_owned(),
    }
}

/// Seconds in words, as `1 hour, 2 minutes`.
fn duration(secs: u64) -> String {
    let units = [
        ("year", 365 * 86_400),
        ("day", 86_400),
        ("hour", 3_600),
        ("minute", 60),
        ("second", 1),
    ];
    let mut rest = secs;
    let mut words = Vec::new();
    for (name, length) in units {
        let count = rest / length;
        rest %= length;
        if count > 0 {
            words.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        }
    }
    words.join(", ")
}

#[allow(clippy::cast_precision_loss, reason = "two digits after the point are shown")]
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2} {}", UNITS[unit])
}

/// A tunnel as data, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TunnelData {
    name: String,
    public_key: Option<String>,
    listen_port: Option<u16>,
    fwmark: Option<u32>,
    peers: Vec<PeerData>,
}

/// A peer as data, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerData {
    public_key: String,
    has_preshared_key: bool,
    endpoint: Option<String>,
    allowed_ips: Vec<String>,
    /// Seconds since 1970; null is never.
    latest_handshake: Option<u64>,
    received_bytes: u64,
    sent_bytes: u64,
    /// Seconds; null is off.
    persistent_keepalive: Option<u16>,
}

impl From<&Shown> for TunnelData {
    fn from(shown: &Shown) -> Self {
        let device = &shown.status.device;
        Self {
            name: shown.name.clone(),
            public_key: device.private_key.as_ref().map(|key| key.public_key().to_string()),
            listen_port: device.listen_port,
            fwmark: device.fwmark,
            peers: in_order(&shown.status).into_iter().map(PeerData::new).collect(),
        }
    }
}

impl PeerData {
    fn new((key, peer, happened): (&PublicKey, &Peer, PeerStatus)) -> Self {
        let since_epoch = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            public_key: key.to_string(),
            has_preshared_key: peer.preshared_key.is_some(),
            endpoint: peer.endpoint.map(|endpoint| endpoint.to_string()),
            allowed_ips: peer.allowed_ips.iter().map(ToString::to_string).collect(),
            latest_handshake: happened.latest_handshake.map(|time| since_epoch(time).as_secs()),
            received_bytes: happened.rx_bytes,
            sent_bytes: happened.tx_bytes,
            persistent_keepalive: peer.persistent_keepalive,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn shown() -> (Shown, SystemTime) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let (first, second) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
        let peer = Peer {
            preshared_key: Some(wg::PresharedKey::from_bytes([3; 32])),
            endpoint: Some("192.0.2.1:51820".parse().unwrap()),
            persistent_keepalive: Some(25),
            allowed_ips: ["10.0.0.0/24", "fd00::/64"].map(|text| text.parse().unwrap()).into(),
        };
        let happened = PeerStatus {
            latest_handshake: Some(now - Duration::from_secs(3_723)),
            rx_bytes: 1_536,
            tx_bytes: 5 << 30,
        };
        let device = wg::Device {
            private_key: Some(wg::PrivateKey::from_bytes([9; 32])),
            listen_port: Some(51820),
            fwmark: Some(51820),
            peers: BTreeMap::from([(first, Peer::default()), (second, peer)]),
        };
        let status = Status {
            device,
            peers: BTreeMap::from([(first, PeerStatus::default()), (second, happened)]),
        };
        (
            Shown {
                name: "wg0".into(),
                status,
            },
            now,
        )
    }

    #[test]
    fn a_tunnel_is_shown_as_wg_shows_it() {
        let (shown, now) = shown();
        let public = wg::PrivateKey::from_bytes([9; 32]).public_key();
        let expected = format!(
            "interface: wg0\n  public key: {public}\n  private key: (hidden)\n  listening port: 51820\n  \
             fwmark: 0xca6c\n\npeer: {}\n  preshared key: (hidden)\n  endpoint: 192.0.2.1:51820\n  \
             allowed ips: 10.0.0.0/24, fd00::/64\n  latest handshake: 1 hour, 2 minutes, 3 seconds ago\n  \
             transfer: 1.50 KiB received, 5.00 GiB sent\n  persistent keepalive: every 25 seconds\n\npeer: {}\n  \
             allowed ips: (none)\n",
            PublicKey::from_bytes([2; 32]),
            PublicKey::from_bytes([1; 32]),
        );
        assert_eq!(text(std::slice::from_ref(&shown), now), expected);
        assert_eq!(text(&[shown.clone(), shown], now), format!("{expected}\n{expected}"));
    }

    #[test]
    fn times_and_sizes_are_in_words() {
        for (secs, expected) in [
            (1, "1 second"),
            (61, "1 minute, 1 second"),
            (7_200, "2 hours"),
            (86_400 * 366 + 60, "1 year, 1 day, 1 minute"),
        ] {
            assert_eq!(duration(secs), expected);
        }
        for (count, expected) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.00 KiB"),
            (1 << 20, "1.00 MiB"),
            (5 << 50, "5120.00 TiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(ago(now, now), "Now");
        assert!(ago(now + Duration::from_secs(1), now).contains("wound backward"));
    }
}
