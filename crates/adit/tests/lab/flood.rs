//! A stranger who floods the gateway while a client works.
//!
//! ```text
//!   client ══ tunnel ══ gateway (nobody) ── server
//!                        ↑ garbage, and handshakes that look right
//!   stranger 192.0.2.66 ─┘
//! ```

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use blake2::digest::{Digest as _, KeyInit as _, Mac as _};
use blake2::{Blake2s256, Blake2sMac};
use netlab::traffic;

use crate::gateway::Gateway;
use crate::network::{self, Network};
use crate::peer::Peer;

/// The stranger stops by itself then.
const LIMIT: Duration = Duration::from_secs(40);

/// Length of a handshake initiation, *WireGuard whitepaper 5.4.2*.
const INITIATION: usize = 148;

/// One datagram of the flood: garbage of any length, or an initiation that proves to know the gateway's public key.
fn datagram(number: u64, key: &wg::PublicKey) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[2]
    };
    let length = match number % 4 {
        0 => usize::from(next()) * 6,
        1 => 32 + usize::from(next()) * 4,
        2 => 92,
        _ => INITIATION,
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(length).collect();
    let kind = [0, 4, 2, 1][usize::try_from(number % 4).expect("below four")];
    if kind != 0 {
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
    }
    if kind == 1 {
        let key = Blake2s256::new()
            .chain_update(b"mac1----")
            .chain_update(key.as_bytes())
            .finalize();
        let mac = Blake2sMac::<blake2::digest::consts::U16>::new_from_slice(&key).expect("a key of 32 bytes");
        let mac1 = mac.chain_update(&bytes[..116]).finalize().into_bytes();
        bytes[116..132].copy_from_slice(&mac1);
        bytes[132..].fill(0);
    }
    bytes
}

/// Sends about 5,000 datagrams a second until told to stop.
fn flood(target: SocketAddr, key: &wg::PublicKey, stop: &AtomicBool, sent: &AtomicUsize) {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let start = Instant::now();
    let mut number = 0;
    while !stop.load(Ordering::Acquire) && start.elapsed() < LIMIT {
        for _ in 0..25 {
            // A gateway that is busy fills buffers on the way: no matter to the stranger.
            let _ = socket.send_to(&datagram(number, key), target);
            number += 1;
        }
        sent.fetch_add(25, Ordering::AcqRel);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_transfer_goes_on_and_a_client_comes_in_while_a_stranger_floods() {
    crate::needs_a_lab!();
    let network = Network::new();
    let stranger = network::connect(
        &network.internet,
        &network.lab.host("stranger"),
        "192.0.2.66",
        "2001:db8:1::66",
    );
    let gateway = Gateway::launch(&network);
    let peer = Peer::up(&network.client, &gateway.file("peer1"));
    let key: wg::PublicKey = peer.gateway_key().parse().expect("a public key");
    let target = SocketAddr::from(([203, 0, 113, 2], peer.gateway_port()));
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let flooding = {
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        stranger.spawn(move || flood(target, &key, &stop, &sent))
    };
    netlab::wait_until("the flood is on", Duration::from_secs(10), || {
        (sent.load(Ordering::Acquire) > 1000).then_some(())
    });
    let (server, size) = (network::server_v4(80), 200_000_000);
    let (down, up) = network
        .client
        .run(|| (traffic::download(server, size), traffic::upload(server, size / 4)));
    assert_eq!(down.expect("download"), traffic::pattern_digest(size));
    assert_eq!(up.expect("upload"), traffic::pattern_digest(size / 4));
    let _other = Peer::up(&network.other, &gateway.file("peer2"));
    network
        .other
        .run(|| traffic::echo(network::server_v4(7), b"hello").expect("a client comes in"));
    assert!(!flooding.is_finished(), "the flood went on through all of this");
    stop.store(true, Ordering::Release);
    flooding.join().expect("the stranger does not panic");
}
