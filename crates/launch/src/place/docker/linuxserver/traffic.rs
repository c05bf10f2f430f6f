//! What happened with a gateway's peers, as programs in its container tell.

use std::{collections::HashMap, net::SocketAddr};

use serde::Deserialize;
use wg::PublicKey;

use crate::Moment;

/// What a program told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Who handles packets, as far as the program tells.
    pub(super) plane: &'static str,
    /// The interfaces' keys.
    interfaces: Vec<PublicKey>,
    /// By their keys.
    pub(super) peers: HashMap<PublicKey, Seen>,
}

/// What happened with a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) latest_handshake: Option<Moment>,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
}

impl Traffic {
    /// Whether there is an interface with this key.
    pub(super) fn runs(&self, key: &PublicKey) -> bool {
        self.interfaces.contains(key)
    }
}

/// Reads `wg show all dump` (wg(8)); `None` if it is none. Private keys in it are passed over.
///
/// ```text
///   wg0  private-key  public-key  listen-port  fwmark
///   wg0  public-key  preshared-key  endpoint  allowed-ips  latest-handshake  rx  tx  keepalive
/// ```
pub(super) fn of_wg(output: &[u8]) -> Option<Traffic> {
    let mut traffic = Traffic {
        // The image goes nowhere without it.
        plane: "kernel",
        ..Traffic::default()
    };
    for line in std::str::from_utf8(output).ok()?.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.as_slice() {
            [_, _, public, _, _] => traffic.interfaces.push(public.parse().ok()?),
            [_, public, _, endpoint, _, handshake, received, sent, _] => {
                let seen = Seen {
                    endpoint: endpoint.parse().ok(),
                    latest_handshake: moment(handshake.parse().ok()?),
                    received_bytes: received.parse().ok()?,
                    sent_bytes: sent.parse().ok()?,
                };
                traffic.peers.insert(public.parse().ok()?, seen);
            }
            _ => return None,
        }
    }
    Some(traffic)
}

/// Reads `adit show --json`; `None` if it is none.
pub(super) fn of_adit(output: &[u8]) -> Option<Traffic> {
    let tunnels: Vec<Tunnel> = serde_json::from_slice(output).ok()?;
    let mut traffic = Traffic {
        plane: "unknown",
        ..Traffic::default()
    };
    for tunnel in tunnels {
        traffic.interfaces.extend(tunnel.public_key);
        traffic.peers.extend(tunnel.peers.into_iter().map(|peer| {
            let seen = Seen {
                endpoint: peer.endpoint.and_then(|endpoint| endpoint.parse().ok()),
                latest_handshake: peer.latest_handshake.and_then(moment),
                received_bytes: peer.received_bytes,
                sent_bytes: peer.sent_bytes,
            };
            (peer.public_key, seen)
        }));
    }
    Some(traffic)
}

#[derive(Deserialize)]
struct Tunnel {
    public_key: Option<PublicKey>,
    peers: Vec<TunnelPeer>,
}

#[derive(Deserialize)]
struct TunnelPeer {
    public_key: PublicKey,
    endpoint: Option<String>,
    latest_handshake: Option<u64>,
    received_bytes: u64,
    sent_bytes: u64,
}

/// Seconds since 1970; zero is never.
fn moment(secs: u64) -> Option<Moment> {
    (secs != 0).then(|| Moment::from_millis(secs.saturating_mul(1_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
    const PHONE: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    const LAPTOP: &str = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";

    #[test]
    fn both_programs_tell_the_same() {
        let dump = format!(
            "wg0\tsecret\t{SERVER}\t51820\toff\n\
             wg0\t{PHONE}\t(none)\t192.0.2.7:40000\t10.13.13.2/32\t1700000000\t1480\t92\toff\n\
             wg0\t{LAPTOP}\t(none)\t(none)\t10.13.13.3/32\t0\t0\t0\t25\n"
        );
        let json = format!(
            r#"[{{"name":"wg0","public_key":"{SERVER}","listen_port":51820,"fwmark":null,"peers":[
            {{"public_key":"{PHONE}","has_preshared_key":false,"endpoint":"192.0.2.7:40000","allowed_ips":["10.13.13.2/32"],
            "latest_handshake":1700000000,"received_bytes":1480,"sent_bytes":92,"persistent_keepalive":null}},
            {{"public_key":"{LAPTOP}","has_preshared_key":false,"endpoint":null,"allowed_ips":[],"latest_handshake":null,
            "received_bytes":0,"sent_bytes":0,"persistent_keepalive":25}}]}}]"#
        );
        let (server, phone, laptop) = (SERVER.parse().unwrap(), PHONE.parse().unwrap(), LAPTOP.parse().unwrap());
        for traffic in [of_wg(dump.as_bytes()).unwrap(), of_adit(json.as_bytes()).unwrap()] {
            assert!(traffic.runs(&server) && !traffic.runs(&phone));
            let seen = Seen {
                endpoint: Some("192.0.2.7:40000".parse().unwrap()),
                latest_handshake: Some(Moment::from_millis(1_700_000_000_000)),
                received_bytes: 1_480,
                sent_bytes: 92,
            };
            assert_eq!(traffic.peers[&phone], seen);
            assert_eq!(traffic.peers[&laptop], Seen::default());
        }
    }

    #[test]
    fn what_is_neither_is_passed_over() {
        assert_eq!(
            of_wg(b""),
            Some(Traffic {
                plane: "kernel",
                ..Traffic::default()
            })
        );
        for wrong in [
            &b"Unable to access interface: No such device\n"[..],
            b"wg0\tx\ty\tz\tw\n",
            b"\xff",
        ] {
            assert_eq!(of_wg(wrong), None);
            assert_eq!(of_adit(wrong), None);
        }
    }
}
