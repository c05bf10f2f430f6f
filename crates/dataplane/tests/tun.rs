//! The tun plane between network namespaces: with itself, and with Debian's wireguard-go.
//!
//! ```text
//!   left 10.9.0.1, fd09::1 ── wg0 ═══ UDP over 192.0.2.0/24 or 2001:db8::/64 ═══ wg0 ── right 10.9.0.2, fd09::2
//! ```

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use dataplane::{
    buffer::{Inbox, Outbox},
    engine::Engine,
    time::Time,
    tun::{End, LinkWatch, Options, Plane},
    udp::{Offloads, Sockets},
};
use linux::tun::{Tun, TunOptions};
use netlab::{Host, Lab, relay, serve, traffic, wait_until};
use wg::{AllowedIpChange, PeerUpdate, PrivateKey, PublicKey, Update};

const PORT: u16 = 51820;
const LIMIT: Duration = Duration::from_secs(10);

/// How a plane is made.
#[derive(Clone, Copy, Debug)]
struct How {
    vnet_hdr: bool,
    coalesce: bool,
    offloads: Offloads,
    lanes: usize,
}

/// Everything that a kernel may lack, and all that may be left after it.
fn combinations() -> Vec<How> {
    let mut all = Vec::new();
    for (vnet_hdr, coalesce) in [(true, true), (true, false), (false, false)] {
        for (gso, gro) in [(true, true), (true, false), (false, true), (false, false)] {
            for lanes in [1, 3] {
                all.push(How {
                    vnet_hdr,
                    coalesce,
                    offloads: Offloads { gso, gro },
                    lanes,
                });
            }
        }
    }
    all
}

const ALL: How = How {
    vnet_hdr: true,
    coalesce: true,
    offloads: Offloads { gso: true, gro: true },
    lanes: 1,
};

const PLAIN: How = How {
    vnet_hdr: false,
    coalesce: false,
    offloads: Offloads { gso: false, gro: false },
    lanes: 1,
};

const IN_LANES: How = How { lanes: 3, ..ALL };

/// A tunnel on the tun plane, in this process.
struct Tunnel {
    engine: Arc<Engine>,
    sockets: Arc<Sockets>,
    plane: Plane,
}

impl Tunnel {
    fn start(host: &Host, key: &PrivateKey, how: How) -> Self {
        let (tun, sockets, link) = host.run(|| {
            let options = TunOptions {
                vnet_hdr: how.vnet_hdr,
                persistent: false,
                queues: NonZeroUsize::new(how.lanes),
            };
            let tun = Tun::open("wg0", options).unwrap();
            let sockets = Sockets::bind_lanes(PORT, 0, how.offloads, how.lanes).unwrap();
            (tun, sockets, LinkWatch::new("wg0").unwrap())
        });
        let sockets = Arc::new(sockets);
        let random = |bytes: &mut [u8]| getrandom::fill(bytes).unwrap();
        let engine = Arc::new(Engine::new(Time::now(), SystemTime::now(), random));
        let options = Options {
            mtu: 1420,
            vnet_hdr: tun.has_vnet_hdr(),
            coalesce: how.coalesce,
            link: Some(link),
        };
        let plane = Plane::start(Arc::clone(&engine), Arc::clone(&sockets), tun.into_queues(), options).unwrap();
        let tunnel = Self { engine, sockets, plane };
        tunnel.apply(&Update {
            private_key: Some(key.clone()),
            ..Update::default()
        });
        tunnel
    }

    fn apply(&self, update: &Update) {
        let mut outbox = Outbox::new();
        self.engine.apply(Time::now(), update, &mut outbox);
        self.engine.seal(Time::now(), &mut outbox);
        self.sockets.send(outbox.runs());
        self.plane.wake();
    }

    fn add_peer(&self, public_key: PublicKey, endpoint: Option<SocketAddr>, number: u8) {
        let mut peer = PeerUpdate::new(public_key);
        peer.endpoint = endpoint;
        for network in [format!("10.9.0.{number}/32"), format!("fd09::{number}/128")] {
            peer.allowed_ips.push(AllowedIpChange::Add(network.parse().unwrap()));
        }
        self.apply(&Update {
            peers: vec![peer],
            ..Update::default()
        });
    }
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_random([number; 32])
}

/// Two hosts with a cable between them.
fn hosts(lab: &Lab) -> (Host, Host) {
    let (left, right) = (lab.host("left"), lab.host("right"));
    left.link(
        "eth0",
        &["192.0.2.1/24", "2001:db8::1/64"],
        &right,
        "eth0",
        &["192.0.2.2/24", "2001:db8::2/64"],
    );
    (left, right)
}

fn bring_up(host: &Host, number: u8) {
    host.ip("link set wg0 mtu 1420 up");
    host.add_address("wg0", &format!("10.9.0.{number}/24"));
    host.add_address("wg0", &format!("fd09::{number}/64"));
}

fn pair(left: &Host, right: &Host, endpoint: &str, hows: [How; 2]) -> (Tunnel, Tunnel) {
    let (a, b) = (
        Tunnel::start(left, &key(1), hows[0]),
        Tunnel::start(right, &key(2), hows[1]),
    );
    a.add_peer(key(2).public_key(), Some(endpoint.parse().unwrap()), 2);
    b.add_peer(key(1).public_key(), None, 1);
    bring_up(left, 1);
    bring_up(right, 2);
    (a, b)
}

fn ping(from: &Host, to: &str) {
    from.command("ping").args(["-c3", "-i0.05", "-w5", to]).run();
}

/// Moves bytes over TCP and datagrams over UDP through the tunnel, both ways, over both families.
fn exchange(left: &Host, right: &Host, bytes: u64) {
    for (client, server, number) in [(left, right, 2), (right, left, 1)] {
        let (_http, _echo) = (serve::http(server, 80), serve::udp_echo(server, 7));
        for address in [format!("10.9.0.{number}"), format!("fd09::{number}")] {
            ping(client, &address);
            let address: IpAddr = address.parse().unwrap();
            client.run(|| {
                let wanted = traffic::pattern_digest(bytes);
                assert_eq!(traffic::upload((address, 80).into(), bytes).unwrap(), wanted);
                assert_eq!(traffic::download((address, 80).into(), bytes).unwrap(), wanted);
                // Up to the longest that UDP carries over both families: in fragments.
                for len in [1, 1000, 1392, 1393, 9000, 65_487] {
                    traffic::echo_datagram((address, 7).into(), &vec![b'x'; len], LIMIT).unwrap();
                }
            });
        }
    }
}

#[test]
fn two_planes_carry_both_families_over_both_families_with_every_combination_of_offloads() {
    netlab::requires!("root", "/dev/net/tun", "ip", "ping");
    let hows = combinations();
    // Each meets itself, and one that is nothing like it.
    let (same, other) = (hows.iter().map(|how| [*how; 2]), hows.iter().zip(hows.iter().rev()));
    let pairs = same.chain(other.map(|(how, other)| [*how, *other]).take(hows.len() / 2));
    let endpoints = ["192.0.2.2:51820", "[2001:db8::2]:51820"].into_iter().cycle();
    for (endpoint, hows) in endpoints.zip(pairs) {
        println!("{endpoint}: {hows:?}");
        let lab = Lab::new();
        let (left, right) = hosts(&lab);
        let (a, b) = pair(&left, &right, endpoint, hows);
        exchange(&left, &right, 4 << 20);
        for tunnel in [&a, &b] {
            assert_eq!(tunnel.plane.ended(), None);
            assert_eq!(tunnel.plane.counters().malformed, 0);
            assert_eq!(tunnel.sockets.counters().failed, 0);
        }
        let began = Instant::now();
        a.plane.stop();
        // The plane itself takes a millisecond, and the kernel, to remove the device, some ten.
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "stopping took {took:?}");
        assert_eq!(a.plane.ended(), Some(End::Stopped));
        assert!(
            !left.links().contains(&"wg0".to_owned()),
            "the device went with the plane"
        );
    }
}

/// Moves 30 MB, or `$ADIT_TEST_BYTES` bytes, each way.
#[test]
fn what_went_in_comes_out_though_the_path_loses_doubles_and_reorders() {
    netlab::requires!("root", "/dev/net/tun", "ip", "ping");
    let lab = Lab::new();
    let (left, right) = hosts(&lab);
    let path = relay::Path {
        delay: Duration::from_millis(2),
        jitter: Duration::from_micros(500),
        loss: 1_000,
        doubled: 5_000,
        seed: 7,
    };
    let listen: SocketAddr = "192.0.2.2:4500".parse().unwrap();
    let relay = relay::Relay::start(&right, listen, "192.0.2.2:51820".parse().unwrap(), path);
    let (a, b) = pair(&left, &right, "192.0.2.2:4500", [ALL, IN_LANES]);
    let bytes = std::env::var("ADIT_TEST_BYTES").map_or(30 << 20, |bytes| bytes.parse().unwrap());
    for (client, server, address) in [(&left, &right, "10.9.0.2"), (&right, &left, "fd09::1")] {
        let _http = serve::http(server, 80);
        let address: IpAddr = address.parse().unwrap();
        let wanted = traffic::pattern_digest(bytes);
        let came = client.run(|| traffic::download((address, 80).into(), bytes));
        assert_eq!(came.unwrap(), wanted);
    }
    let (_, lost) = relay.counts();
    let replayed = [&a, &b].map(|tunnel| tunnel.engine.counters().replayed_data);
    assert!(
        lost > 0 && replayed.iter().all(|count| *count > 0),
        "{lost} lost, {replayed:?} replayed"
    );
}

#[test]
fn it_speaks_with_wireguard_go() {
    netlab::requires!("root", "/dev/net/tun", "ip", "ping", "wireguard-go", "wg");
    for (endpoint, how) in [
        ("192.0.2.2:51820", ALL),
        ("192.0.2.2:51820", IN_LANES),
        ("[2001:db8::2]:51820", PLAIN),
    ] {
        let lab = Lab::new();
        let (left, right) = hosts(&lab);
        let tunnel = Tunnel::start(&left, &key(1), how);
        tunnel.add_peer(key(2).public_key(), Some(endpoint.parse().unwrap()), 2);
        bring_up(&left, 1);
        let _go = wireguard_go(&right);
        bring_up(&right, 2);
        exchange(&left, &right, 20 << 20);
        assert_eq!(tunnel.plane.counters().malformed, 0);
    }
}

/// Starts wireguard-go with the right host's key and the left host as its peer.
fn wireguard_go(right: &Host) -> netlab::Process {
    let process = right.command("wireguard-go").args(["-f", "wg0"]).spawn();
    wait_until("wireguard-go answers", LIMIT, || {
        right
            .command("wg")
            .args(["show", "wg0"])
            .output()
            .status
            .success()
            .then_some(())
    });
    let file = right.folder().join("key");
    std::fs::write(&file, key(2).danger_base64().as_str()).unwrap();
    let (file, peer) = (file.to_string_lossy().into_owned(), key(1).public_key().to_string());
    let port = PORT.to_string();
    let set = ["set", "wg0", "private-key", &file, "listen-port", &port, "peer", &peer];
    right
        .command("wg")
        .args(set)
        .args(["allowed-ips", "10.9.0.1/32,fd09::1/128"])
        .run();
    process
}

#[test]
fn a_link_without_any_offload_is_served_too() {
    netlab::requires!("root", "/dev/net/tun", "ip", "ping", "ethtool");
    for offloads in [netlab::Offloads::ReceiveOnly, netlab::Offloads::Off] {
        let lab = Lab::new();
        let (left, right) = hosts(&lab);
        left.set_offloads("eth0", offloads);
        right.set_offloads("eth0", offloads);
        let _tunnels = pair(&left, &right, "192.0.2.2:51820", [ALL, ALL]);
        exchange(&left, &right, 20 << 20);
    }
}

#[test]
fn a_narrow_path_is_crossed_in_fragments() {
    netlab::requires!("root", "/dev/net/tun", "ip", "ping");
    for endpoint in ["192.0.2.2:51820", "[2001:db8::2]:51820"] {
        let lab = Lab::new();
        let (left, right) = hosts(&lab);
        left.set_mtu("eth0", 1300);
        right.set_mtu("eth0", 1300);
        let (a, b) = pair(&left, &right, endpoint, [ALL, ALL]);
        exchange(&left, &right, 5 << 20);
        assert_eq!((a.sockets.counters().failed, b.sockets.counters().failed), (0, 0));
    }
}

#[test]
fn nothing_is_sent_while_the_link_is_down_and_all_goes_on_when_it_is_up() {
    netlab::requires!("root", "/dev/net/tun", "ip", "ping");
    let lab = Lab::new();
    let (left, right) = hosts(&lab);
    let (a, _b) = pair(&left, &right, "192.0.2.2:51820", [ALL, ALL]);
    ping(&left, "10.9.0.2");
    left.ip("link set wg0 down");
    // The peer asks, and gets no answer.
    let unanswered = right.command("ping").args(["-c2", "-i0.1", "-W1", "10.9.0.1"]).output();
    assert!(!unanswered.status.success());
    let sent = |tunnel: &Tunnel| {
        tunnel
            .engine
            .status()
            .peers
            .values()
            .map(|peer| peer.tx_bytes)
            .sum::<u64>()
    };
    let before = sent(&a);
    assert!(
        !right
            .command("ping")
            .args(["-c2", "-i0.1", "-W1", "10.9.0.1"])
            .output()
            .status
            .success()
    );
    assert_eq!(sent(&a), before);
    // IPv6 addresses went with the link.
    left.ip("link set wg0 mtu 1280 up");
    left.add_address("wg0", "fd09::1/64");
    ping(&right, "10.9.0.1");
    exchange(&left, &right, 1 << 20);
}

#[test]
fn a_removed_device_ends_the_plane() {
    netlab::requires!("root", "/dev/net/tun", "ip", "ping");
    for how in [ALL, PLAIN] {
        let lab = Lab::new();
        let (left, right) = hosts(&lab);
        let (a, _b) = pair(&left, &right, "192.0.2.2:51820", [how, how]);
        ping(&left, "10.9.0.2");
        left.ip("link del wg0");
        assert_eq!(a.plane.wait(), End::DeviceGone);
        assert_eq!(a.plane.ended(), Some(End::DeviceGone));
    }
}

#[test]
fn the_sockets_stay_behind_when_the_device_moves_to_another_namespace() {
    netlab::requires!("root", "/dev/net/tun", "ip", "ping");
    let lab = Lab::new();
    let (left, right) = hosts(&lab);
    let inner = lab.host("inner");
    let (a, _b) = pair(&left, &right, "192.0.2.2:51820", [ALL, ALL]);
    left.ip(&format!("link set wg0 netns {}", inner.namespace_path()));
    bring_up(&inner, 1);
    exchange(&inner, &right, 1 << 20);
    assert_eq!(a.plane.ended(), None);
}

#[test]
fn a_destination_without_a_peer_is_told_unreachable() {
    netlab::requires!("root", "/dev/net/tun", "ip", "ping");
    let lab = Lab::new();
    let (left, right) = hosts(&lab);
    let (a, b) = pair(&left, &right, "192.0.2.2:51820", [ALL, ALL]);
    for (address, family) in [("10.9.0.77", "10.9.0.77"), ("fd09::77", "fd09::77")] {
        let output = left.command("ping").args(["-c1", "-W5", address]).output();
        let text = output.stdout;
        let told = text.contains(&format!("From {family}")) && text.to_lowercase().contains("unreachable");
        assert!(told && output.took < Duration::from_secs(3), "{text}");
    }
    assert!(a.plane.counters().no_peer >= 2);
    // Nobody knows where the peer is.
    b.add_peer(key(3).public_key(), None, 3);
    let output = right.command("ping").args(["-c1", "-W5", "10.9.0.3"]).output();
    assert!(
        output.stdout.to_lowercase().contains("unreachable"),
        "{}",
        output.stdout
    );
}

#[test]
fn a_tunnel_moves_to_another_port_in_the_midst() {
    netlab::requires!("root", "/dev/net/tun", "ip", "ping");
    let lab = Lab::new();
    let (left, right) = hosts(&lab);
    let (a, _b) = pair(&left, &right, "192.0.2.2:51820", [IN_LANES, ALL]);
    ping(&left, "10.9.0.2");
    left.run(|| a.sockets.rebind(4500)).unwrap();
    exchange(&left, &right, 1 << 20);
    assert_eq!(a.sockets.port(), 4500);
}

#[test]
fn what_the_network_and_the_firewall_refuse_is_counted_and_nothing_more() {
    netlab::requires!("root", "ip", "ping");
    let lab = Lab::new();
    let (left, right) = hosts(&lab);
    for (kind, network) in [
        ("unreachable", "198.51.100.1"),
        ("prohibit", "198.51.100.2"),
        ("blackhole", "198.51.100.3"),
    ] {
        left.ip(&format!("route add {kind} {network}/32"));
    }
    left.ip("route add unreachable 2001:db8:1::/64");
    let sockets = left.run(|| Sockets::bind(PORT, 0)).unwrap();
    let theirs = right.run(|| Sockets::bind(PORT, 0)).unwrap();
    let gso = sockets.offloads().gso;
    let mut outbox = Outbox::new();
    // The kernel's word for each: (destination, address that it was heard at, what is counted)
    let good: SocketAddr = "192.0.2.2:51820".parse().unwrap();
    for destination in [
        "198.51.100.1:9",
        "198.51.100.2:9",
        "198.51.100.3:9",
        "[2001:db8:1::1]:9",
        "192.0.2.2:0",
    ] {
        for local in [None, Some("192.0.2.1".parse().unwrap())] {
            outbox.push(destination.parse().unwrap(), local, b"lost");
            outbox.push(good, local, b"sent");
        }
    }
    sockets.send(outbox.runs());
    let counters = sockets.counters();
    assert_eq!(
        counters.unreachable + counters.forbidden + counters.failed,
        10,
        "{counters:?}"
    );
    assert!(counters.unreachable >= 4 && counters.forbidden == 2, "{counters:?}");
    assert_eq!(
        (counters.full, counters.source_lost, sockets.offloads().gso),
        (0, 0, gso)
    );
    let mut inbox = Inbox::new(16);
    let mut received = 0;
    wait_until("all others arrive", LIMIT, || {
        received += theirs.receive(&mut inbox).unwrap();
        (received == 10).then_some(())
    });
}

#[test]
fn a_host_without_ipv6_has_a_tunnel_over_ipv4() {
    netlab::requires!("root", "/dev/net/tun", "ip", "ping");
    let lab = Lab::new();
    let (left, right) = hosts(&lab);
    for host in [&left, &right] {
        host.sysctl("net.ipv6.conf.all.disable_ipv6", "1");
    }
    let (a, b) = (Tunnel::start(&left, &key(1), ALL), Tunnel::start(&right, &key(2), ALL));
    a.add_peer(key(2).public_key(), Some("192.0.2.2:51820".parse().unwrap()), 2);
    b.add_peer(key(1).public_key(), None, 1);
    for (host, number) in [(&left, 1), (&right, 2)] {
        host.ip("link set wg0 up");
        host.add_address("wg0", &format!("10.9.0.{number}/24"));
    }
    ping(&left, "10.9.0.2");
    assert_eq!(a.sockets.counters().failed, 0);
}

#[test]
fn an_address_that_is_taken_away_does_not_end_a_tunnel() {
    netlab::requires!("root", "/dev/net/tun", "ip", "ping");
    let lab = Lab::new();
    let (left, right) = hosts(&lab);
    right.add_address("eth0", "192.0.2.22/24");
    let (a, b) = pair(&left, &right, "192.0.2.22:51820", [ALL, ALL]);
    ping(&left, "10.9.0.2");
    let endpoint = |tunnel: &Tunnel| {
        tunnel
            .engine
            .status()
            .device
            .peers
            .values()
            .find_map(|peer| peer.endpoint)
    };
    // The answers come from where the questions went.
    assert_eq!(endpoint(&a), Some("192.0.2.22:51820".parse().unwrap()));
    right.remove_address("eth0", "192.0.2.22/24");
    // The right host still knows its peer, and sends from the address that is left; the left follows.
    ping(&right, "10.9.0.1");
    assert_eq!(endpoint(&a), Some("192.0.2.2:51820".parse().unwrap()));
    assert!(b.sockets.counters().source_lost > 0);
    ping(&left, "10.9.0.2");
}
