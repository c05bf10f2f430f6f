//! Tunnels put into namespaces that look like a container's.

use linux::{
    netns::Namespace,
    tun::{Tun, TunOptions},
};
use wg::PrivateKey;

use super::*;
use crate::Server;

fn offer(addresses: &[&str], networks: &[&str]) -> Offer {
    let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Offer {
        server: "one".to_owned(),
        region: None,
        private_key: PrivateKey::from_random([1; 32]),
        addresses: parse(addresses),
        dns: Vec::new(),
        search: Vec::new(),
        mtu: Some(1400),
        peers: vec![Server {
            public_key: PrivateKey::from_random([2; 32]).public_key(),
            preshared_key: None,
            endpoint: "192.0.2.1:51820".parse().unwrap(),
            allowed_ips: parse(networks),
            persistent_keepalive: None,
        }],
    }
}

fn ip(arguments: &str) -> String {
    let output = std::process::Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_tunnel_gets_addresses_and_routes_and_a_repeat_changes_nothing() {
    netlab::requires!("root", "ip");
    let inside = Inside::from(Namespace::anonymous().unwrap());
    let tun = inside.run(|| Tun::open("wg0", TunOptions::default()).unwrap()).unwrap();
    // What Docker does to a container on a bridge.
    let bridge = || {
        ip("link add eth0 type veth peer name far");
        ip("addr add 172.17.0.2/16 dev eth0");
        ip("link set eth0 up");
        ip("link set far up");
        ip("route add default via 172.17.0.1");
    };
    inside.run(bridge).unwrap();
    let surroundings = Surroundings {
        direct: vec![Direct {
            network: "192.168.1.0/24".parse().unwrap(),
            router: "172.17.0.1".parse().unwrap(),
        }],
        is_alone: false,
    };
    let first = offer(&["10.77.0.2/32"], &["0.0.0.0/0"]);
    assert_eq!(look(&inside).unwrap(), Some(Vec::new()));
    for _ in 0..2 {
        place(&inside, &first, &surroundings).unwrap();
        let seen = || {
            assert_eq!(
                ip("route show"),
                "default via 172.17.0.1 dev eth0\n172.17.0.0/16 dev eth0 proto kernel scope link src 172.17.0.2\n192.168.1.0/24 via 172.17.0.1 dev eth0"
            );
            assert_eq!(ip("route show table 51820"), "default dev wg0 scope link");
            let way = |to: &str| ip(&format!("route get {to}")).split(" uid").next().unwrap().to_owned();
            assert_eq!(way("1.1.1.1"), "1.1.1.1 dev wg0 table 51820 src 10.77.0.2");
            assert_eq!(way("172.17.0.9"), "172.17.0.9 dev eth0 src 172.17.0.2");
            assert_eq!(way("192.168.1.9"), "192.168.1.9 via 172.17.0.1 dev eth0 src 172.17.0.2");
            assert!(ip("link show wg0").contains("mtu 1400"), "{}", ip("link show wg0"));
        };
        inside.run(seen).unwrap();
    }
    let own: Vec<IpNet> = vec!["10.77.0.2/32".parse().unwrap()];
    assert_eq!(
        look(&inside)
            .unwrap()
            .map(|all| all.into_iter().filter(is_global).collect()),
        Some(own)
    );
    // Another server, in place.
    let second = offer(&["10.78.0.3/32", "fd78::3/128"], &["10.0.0.0/8", "::/0"]);
    place(&inside, &second, &surroundings).unwrap();
    let seen = || {
        assert!(!ip("addr show wg0").contains("10.77.0.2"));
        assert_eq!(ip("route show table 51820"), "10.0.0.0/8 dev wg0 scope link");
        assert_eq!(
            ip("-6 route show table 51820"),
            "default dev wg0 metric 1024 pref medium"
        );
    };
    inside.run(seen).unwrap();
    drop(tun);
    assert!(matches!(place(&inside, &second, &surroundings), Err(PlaceError::Gone)));
}
