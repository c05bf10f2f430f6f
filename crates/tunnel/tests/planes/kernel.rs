//! Tunnels on the kernel plane, where the kernel has WireGuard: in the guest of `cargo xtask test`.

use std::{
    net::{IpAddr, UdpSocket},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use linux::wireguard::{self, Wireguard};
use netlab::{Host, Lab};
use tunnel::{ApplyError, CloseReason, OpenError, Place, Plane, Spec, Tunnel};
use wg::{AllowedIpChange, Device, IpNet, Peer, PeerUpdate, PresharedKey, PrivateKey, PublicKey, Update};

/// There where the kernel's WireGuard is.
pub(crate) const WIREGUARD: &str = "/sys/module/wireguard";

const LIMIT: Duration = Duration::from_secs(20);

fn spec(name: &str, place: Place) -> Spec {
    Spec {
        name: name.to_owned(),
        mtu: 1380,
        place,
    }
}

pub(crate) fn bare(name: &str) -> Spec {
    spec(name, Place::BareKernel)
}

fn private(number: u8) -> PrivateKey {
    PrivateKey::from_random([number; 32])
}

fn key(number: u32) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    PublicKey::from_bytes(bytes)
}

fn network(number: u32) -> IpNet {
    let address = if number.is_multiple_of(2) {
        IpAddr::from((0x0a00_0000 + number).to_be_bytes())
    } else {
        IpAddr::from((0xfd00_u128 << 112 | u128::from(number)).to_be_bytes())
    };
    address.into()
}

fn host() -> Host {
    Lab::new().host("host")
}

#[test]
fn an_interface_is_what_it_was_told_and_goes_with_its_tunnel() {
    netlab::requires!("root", WIREGUARD, "ip");
    let host = host();
    let addresses = ["10.9.0.1/24", "fd09::1/64"].map(|text| text.parse().unwrap());
    let place = Place::Kernel {
        addresses: addresses.into(),
    };
    let tunnel = host.run(|| Tunnel::open(&spec("wg0", place))).unwrap();
    assert_eq!(tunnel.plane(), Plane::Kernel);
    assert_ne!(tunnel.port(), 0, "the kernel chose a port");
    assert_eq!(tunnel.addresses(), addresses);
    let mut wanted = Device {
        private_key: Some(private(1)),
        listen_port: Some(51820),
        fwmark: Some(0xca6c),
        ..Device::default()
    };
    for (number, endpoint) in [(1, Some("192.0.2.1:1")), (2, Some("[2001:db8::1]:65535")), (3, None)] {
        let peer = Peer {
            preshared_key: endpoint.map(|_| PresharedKey::from_bytes([9; 32])),
            endpoint: endpoint.map(|text| text.parse().unwrap()),
            persistent_keepalive: endpoint.map(|_| 25),
            allowed_ips: (number * 10..number * 11).map(network).collect(),
        };
        wanted.peers.insert(key(number), peer);
    }
    tunnel.apply(&Device::default().difference(&wanted)).unwrap();
    let status = tunnel.status();
    assert_eq!(status.device, wanted);
    let mut happened = status.peers.values();
    assert!(happened.all(|happened| happened.latest_handshake.is_none()));
    assert_eq!(tunnel.port(), 51820);
    let shown = host.ip("link show wg0");
    for expected in ["mtu 1380", "UP", "alias adit", "group default"] {
        assert!(shown.contains(expected), "{expected} is not in {shown}");
    }
    for address in ["10.9.0.1/24", "fd09::1/64"] {
        assert!(host.ip("address show wg0").contains(address));
    }
    assert_eq!(tunnel.ended(), None);
    tunnel.close();
    assert_eq!(host.links(), ["lo"]);
}

#[test]
fn thousands_of_peers_and_networks_are_set_and_read_whole() {
    netlab::requires!("root", WIREGUARD);
    let host = host();
    let tunnel = host.run(|| Tunnel::open(&bare("wg0"))).unwrap();
    // (peers, networks of each)
    for (peers, count) in [(10_000, 2), (1, 130_000)] {
        let mut wanted = Device {
            private_key: Some(private(1)),
            ..Device::default()
        };
        for number in 0..peers {
            let peer = Peer {
                allowed_ips: (number * count..(number + 1) * count).map(network).collect(),
                ..Peer::default()
            };
            wanted.peers.insert(key(number), peer);
        }
        let update = Update {
            replace_peers: true,
            ..Device::default().difference(&wanted)
        };
        let begun = Instant::now();
        tunnel.apply(&update).unwrap();
        let (set, begun) = (begun.elapsed(), Instant::now());
        let found = tunnel.status().device;
        let read = begun.elapsed();
        eprintln!("{peers} peers with {count} networks: set in {set:?}, read in {read:?}");
        wanted.listen_port = found.listen_port;
        assert!(found == wanted, "{peers} peers with {count} networks");
    }
}

#[test]
fn changes_do_to_the_kernel_what_they_do_to_a_device() {
    netlab::requires!("root", WIREGUARD);
    let host = host();
    let tunnel = host.run(|| Tunnel::open(&bare("wg0"))).unwrap();
    let mut random = Random(1);
    let mut expected = tunnel.status().device;
    for round in 0..200 {
        let update = Update {
            replace_peers: random.below(8) == 0,
            fwmark: (random.below(4) == 0).then(|| random.below(3)),
            peers: (0..random.below(4)).map(|_| random.peer()).collect(),
            ..Update::default()
        };
        tunnel.apply(&update).unwrap();
        expected.apply(&update);
        assert_eq!(tunnel.status().device, expected, "round {round}: {update:?}");
    }
}

/// Numbers that are the same in every run (Knuth's linear congruence).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::try_from(self.0 >> 33).expect("31 bits") % limit
    }

    fn peer(&mut self) -> PeerUpdate {
        let change = |random: &mut Self| {
            let network = network(random.below(8));
            match random.below(2) {
                0 => AllowedIpChange::Add(network),
                _ => AllowedIpChange::Remove(network),
            }
        };
        PeerUpdate {
            remove: self.below(8) == 0,
            update_only: self.below(3) == 0,
            replace_allowed_ips: self.below(4) == 0,
            persistent_keepalive: (self.below(2) == 0).then_some(25),
            allowed_ips: (0..self.below(5)).map(|_| change(self)).collect(),
            ..PeerUpdate::new(key(self.below(4)))
        }
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_and_changes_nothing() {
    netlab::requires!("root", WIREGUARD);
    let host = host();
    let place = Place::Kernel { addresses: Vec::new() };
    let (tunnel, taken) = host.run(|| {
        let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
        (Tunnel::open(&spec("wg0", place)).unwrap(), taken)
    });
    let port = taken.local_addr().unwrap().port();
    let before = tunnel.status();
    let update = Update {
        private_key: Some(private(1)),
        listen_port: Some(port),
        fwmark: Some(1),
        ..Update::default()
    };
    let error = tunnel.apply(&update).unwrap_err();
    assert!(
        matches!(error, ApplyError::Port { port: named, .. } if named == port),
        "{error}"
    );
    assert_eq!(tunnel.status(), before);
    let free = Update {
        listen_port: Some(0),
        ..update
    };
    tunnel.apply(&free).unwrap();
    assert!(![0, port].contains(&tunnel.port()));
}

#[test]
fn the_end_of_the_interface_is_the_end_of_the_tunnel() {
    netlab::requires!("root", WIREGUARD, "ip");
    let host = host();
    for removed in [true, false] {
        let tunnel = Arc::new(host.run(|| Tunnel::open(&bare("wg0"))).unwrap());
        let (sender, ended) = mpsc::channel();
        let waiting = Arc::clone(&tunnel);
        let waiter = thread::spawn(move || sender.send(waiting.wait_for_interface()));
        let reason = removed.then_some(CloseReason::InterfaceGone);
        if removed {
            host.ip("link delete wg0");
        } else {
            tunnel.stop();
        }
        assert_eq!(ended.recv_timeout(LIMIT).unwrap(), reason);
        assert_eq!(tunnel.ended(), reason);
        if removed {
            assert_eq!(tunnel.status(), wg::Status::default());
        }
        waiter.join().unwrap().unwrap();
        drop(tunnel);
        assert_eq!(host.links(), ["lo"]);
    }
}

#[test]
fn what_a_killed_process_left_is_cleared_away_and_nothing_else() {
    netlab::requires!("root", WIREGUARD, "ip");
    let host = host();
    let open = |name: &str| host.run(|| Tunnel::open(&bare(name)));
    // Killed before and after the alias was set; and another one that was killed.
    for (name, mark) in [
        ("wg0", "group 1633970548"),
        ("wg0", "alias adit"),
        ("wg7", "group 1633970548"),
    ] {
        host.ip(&format!("link add {name} type wireguard"));
        host.ip(&format!("link set {name} {mark}"));
        let tunnel = open("wg0").unwrap();
        assert_eq!(host.links(), ["lo", "wg0"], "{name} {mark}");
        tunnel.close();
    }
    host.ip("link add wg0 type wireguard");
    let error = open("wg0").unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("ip link delete wg0"), "{error}");
    host.ip("link delete wg0");

    let first = open("wg0").unwrap();
    let error = open("wg0").unwrap_err();
    assert!(matches!(error, OpenError::Claimed { .. }), "{error}");
    let second = open("wg1").unwrap();
    assert_eq!(host.links(), ["lo", "wg0", "wg1"], "what lives is left alone");
    drop((first, second));
    assert_eq!(host.links(), ["lo"]);
}

#[test]
fn the_kernel_and_our_own_plane_speak_with_each_other() {
    netlab::requires!("root", WIREGUARD, "/dev/net/tun", "ping", "ip");
    for preshared in [None, Some(PresharedKey::from_bytes([5; 32]))] {
        let lab = Lab::new();
        let (one, other) = (lab.host("one"), lab.host("other"));
        one.link("eth0", &["192.0.2.1/24"], &other, "eth0", &["192.0.2.2/24"]);
        let addresses = |text: &str| vec![text.parse().unwrap()];
        let kernel = Place::Kernel {
            addresses: addresses("10.9.0.1/24"),
        };
        let tun = Place::Tun {
            addresses: addresses("10.9.0.2/24"),
        };
        let kernel = one.run(|| Tunnel::open(&spec("wg0", kernel))).unwrap();
        let tun = other.run(|| Tunnel::open(&spec("wg0", tun))).unwrap();
        let peer = |number, address: &str, port: Option<u16>| PeerUpdate {
            preshared_key: preshared.clone(),
            endpoint: port.map(|port| ([192, 0, 2, 2], port).into()),
            allowed_ips: vec![AllowedIpChange::Add(address.parse().unwrap())],
            ..PeerUpdate::new(private(number).public_key())
        };
        let update = |number, peer| Update {
            private_key: Some(private(number)),
            peers: vec![peer],
            ..Update::default()
        };
        tun.apply(&update(2, peer(1, "10.9.0.1/32", None))).unwrap();
        let of_tun = peer(2, "10.9.0.2/32", Some(tun.port()));
        kernel.apply(&update(1, of_tun)).unwrap();
        one.command("ping").args(["-c1", "-W15", "10.9.0.2"]).run();
        other.command("ping").args(["-c1", "-W15", "10.9.0.1"]).run();
        let happened = kernel.status().peers[&private(2).public_key()];
        assert!(happened.latest_handshake.is_some() && happened.rx_bytes > 0 && happened.tx_bytes > 0);
    }
}

#[test]
fn an_interface_of_another_kind_is_told_from_one_that_is_gone() {
    netlab::requires!("root", WIREGUARD);
    host().run(|| {
        let mut wireguard = Wireguard::open().unwrap();
        let error = wireguard.status(1).unwrap_err();
        assert!(matches!(error, wireguard::Error::OtherKind { index: 1 }), "{error}");
        let error = wireguard.status(4242).unwrap_err();
        assert!(matches!(error, wireguard::Error::Gone), "{error}");
        wireguard::probe().unwrap();
    });
}
