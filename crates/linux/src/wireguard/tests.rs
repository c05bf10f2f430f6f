//! What is laid out for the kernel, against golden bytes and against what is read back.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use wg::{AllowedIpChange, Device, IpNet, Peer, PeerUpdate, PresharedKey, PrivateKey, PublicKey, Update};

use super::{get, peer_attribute, set};
use crate::{
    attribute::{self, Attributes},
    genetlink::{HEADER_LEN, Message},
};

/// The family's number, which the kernel chooses.
const FAMILY: u16 = 30;
const INDEX: u32 = 7;

fn key(number: u32) -> PublicKey {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    PublicKey::from_bytes(bytes)
}

fn networks(count: u32) -> BTreeSet<IpNet> {
    let network = |number: u32| {
        let v4 = IpNet::from(IpAddr::from((0x0a00_0000 + number).to_be_bytes()));
        let v6 = IpNet::from(IpAddr::from((0xfd00_u128 << 112 | u128::from(number)).to_be_bytes()));
        if number.is_multiple_of(2) { v4 } else { v6 }
    };
    (0..count).map(network).collect()
}

/// What would be there if the kernel took the messages and gave them back as they are.
fn echoed(messages: &[Message]) -> Device {
    let parts = messages.iter().filter_map(|message| get::Part::read(message.bytes()));
    get::merge(parts.collect()).device
}

/// How often a peer is named, how often its networks are replaced, and how often it may be made.
fn mentions(messages: &[Message], wanted: PublicKey) -> (usize, usize, usize) {
    let (mut named, mut replaced, mut made) = (0, 0, 0);
    for message in messages {
        let attributes = attribute::read(&message.bytes()[HEADER_LEN..]);
        let lists = attributes.filter(|(kind, _)| *kind == super::device_attribute::PEERS);
        for (_, peer) in lists.flat_map(|(_, peers)| attribute::read(peers)) {
            let value = |kind| attribute::read(peer).find(|(found, _)| *found == kind);
            if value(peer_attribute::PUBLIC_KEY).is_some_and(|(_, value)| value == wanted.as_bytes()) {
                let flags = value(peer_attribute::FLAGS).and_then(|(_, value)| attribute::u32(value));
                let has = |flag| flags.unwrap_or_default() & flag != 0;
                named += 1;
                replaced += usize::from(has(super::peer_flag::REPLACE_ALLOWEDIPS));
                made += usize::from(!has(super::peer_flag::UPDATE_ONLY));
            }
        }
    }
    (named, replaced, made)
}

#[test]
fn a_change_is_laid_out_as_the_kernel_reads_it() {
    let peer = PeerUpdate {
        endpoint: Some("192.0.2.1:51820".parse().unwrap()),
        persistent_keepalive: Some(25),
        replace_allowed_ips: true,
        allowed_ips: vec![AllowedIpChange::Add("10.1.2.3/24".parse().unwrap())],
        ..PeerUpdate::new(PublicKey::from_bytes([1; 32]))
    };
    let update = Update {
        listen_port: Some(51820),
        fwmark: Some(0x1234),
        peers: vec![peer],
        ..Update::default()
    };
    let messages = set::messages(FAMILY, INDEX, &update);
    let header: &[u8] = &[1, 1, 0, 0, 8, 0, 1, 0, 7, 0, 0, 0];
    let public_key = [&[36, 0, 1, 0][..], &[1; 32]].concat();
    let expected = [
        [header, &[6, 0, 6, 0, 0x6c, 0xca, 0, 0]].concat(),
        [header, &[8, 0, 7, 0, 0x34, 0x12, 0, 0]].concat(),
        [
            header,
            &[112, 0, 8, 0x80, 108, 0, 0, 0x80],
            &public_key,
            &[8, 0, 3, 0, 2, 0, 0, 0],
            &[20, 0, 4, 0, 2, 0, 0xca, 0x6c, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            &[6, 0, 5, 0, 25, 0, 0, 0],
            &[32, 0, 9, 0x80, 28, 0, 0, 0x80],
            &[6, 0, 1, 0, 2, 0, 0, 0],
            &[8, 0, 2, 0, 10, 1, 2, 0],
            &[5, 0, 3, 0, 24, 0, 0, 0],
        ]
        .concat(),
    ];
    if cfg!(target_endian = "little") {
        let found: Vec<_> = messages.iter().map(Message::bytes).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn what_is_laid_out_is_read_back() {
    let mut wanted = Device {
        private_key: Some(PrivateKey::from_bytes([3; 32])),
        listen_port: Some(51820),
        fwmark: Some(0xca6c),
        ..Device::default()
    };
    for (number, endpoint) in [
        (1, Some("192.0.2.1:1")),
        (2, Some("[2001:db8::1]:65535")),
        (3, Some("[fe80::1%3]:5")),
        (4, None),
    ] {
        let peer = Peer {
            preshared_key: endpoint.map(|_| PresharedKey::from_bytes([9; 32])),
            endpoint: endpoint.map(|text| text.parse().unwrap()),
            persistent_keepalive: endpoint.map(|_| 25),
            allowed_ips: networks(number),
        };
        wanted.peers.insert(key(number), peer);
    }
    let four = wanted.peers.get_mut(&key(4)).expect("it was put in");
    four.allowed_ips = ["0.0.0.0/0", "::/0"].map(|text| text.parse().unwrap()).into();
    let peers = wanted.peers.iter().map(|(key, peer)| PeerUpdate {
        preshared_key: peer.preshared_key.clone(),
        endpoint: peer.endpoint,
        persistent_keepalive: peer.persistent_keepalive,
        allowed_ips: peer.allowed_ips.iter().copied().map(AllowedIpChange::Add).collect(),
        ..PeerUpdate::new(*key)
    });
    let update = Update {
        private_key: wanted.private_key.clone(),
        listen_port: wanted.listen_port,
        fwmark: wanted.fwmark,
        replace_peers: false,
        peers: peers.collect(),
    };
    assert_eq!(echoed(&set::messages(FAMILY, INDEX, &update)), wanted);
}

#[test]
fn a_change_too_large_for_one_message_takes_several() {
    // (peers, networks of each)
    for (peers, count) in [(10_000, 2), (1, 130_000), (3, 2_000), (400, 0)] {
        let update = |number| PeerUpdate {
            replace_allowed_ips: true,
            preshared_key: Some(PresharedKey::from_bytes([9; 32])),
            endpoint: Some("[2001:db8::1]:65535".parse().unwrap()),
            persistent_keepalive: Some(25),
            allowed_ips: networks(count).into_iter().map(AllowedIpChange::Add).collect(),
            ..PeerUpdate::new(key(number))
        };
        let update = Update {
            peers: (0..peers).map(update).collect(),
            ..Update::default()
        };
        let messages = set::messages(FAMILY, INDEX, &update);
        assert!(messages.iter().all(|message| message.bytes().len() <= 32 * 1024));
        let there = echoed(&messages);
        assert_eq!(there.peers.len(), usize::try_from(peers).unwrap());
        assert!(there.peers.values().all(|peer| peer.allowed_ips == networks(count)));
        for number in [0, peers - 1] {
            let (named, replaced, made) = mentions(&messages, key(number));
            assert!(named >= 1);
            assert_eq!((replaced, made), (1, 1), "only the first mention replaces and makes");
        }
    }
}

#[test]
fn a_peer_that_goes_is_named_with_its_key_alone() {
    let peer = PeerUpdate {
        remove: true,
        update_only: true,
        preshared_key: Some(PresharedKey::from_bytes([9; 32])),
        allowed_ips: networks(3).into_iter().map(AllowedIpChange::Add).collect(),
        ..PeerUpdate::new(key(1))
    };
    let update = Update {
        peers: vec![peer],
        ..Update::default()
    };
    let messages = set::messages(FAMILY, INDEX, &update);
    let [message] = &messages[..] else {
        panic!("one message, not {}", messages.len());
    };
    let there = echoed(&messages);
    assert_eq!(there.peers[&key(1)], Peer::default());
    assert_eq!(message.bytes().len(), HEADER_LEN + 8 + 2 * 4 + 36 + 8);
    assert!(set::messages(FAMILY, INDEX, &Update::default()).is_empty());
}

#[test]
fn a_peer_spread_over_several_answers_is_one() {
    let answer = |head: &dyn Fn(&mut Attributes), address: [u8; 4]| {
        let mut attributes = Attributes::with_capacity(256);
        attributes.raw(&[0, 1, 0, 0]);
        head(&mut attributes);
        let peers = attributes.begin(8);
        let peer = attributes.begin(0);
        attributes.put(peer_attribute::PUBLIC_KEY, key(1).as_bytes());
        if address[3] == 1 {
            attributes.put(peer_attribute::PRESHARED_KEY, &[0; 32]);
            attributes.put(
                peer_attribute::LAST_HANDSHAKE_TIME,
                &[5_u64.to_ne_bytes(), 250_u64.to_ne_bytes()].concat(),
            );
            attributes.put(peer_attribute::RX_BYTES, &1_u64.to_ne_bytes());
            attributes.put(peer_attribute::TX_BYTES, &u64::MAX.to_ne_bytes());
        }
        let list = attributes.begin(peer_attribute::ALLOWEDIPS);
        let network = attributes.begin(0);
        attributes.put(1, &2_u16.to_ne_bytes());
        attributes.put(2, &address);
        attributes.put(3, &[32]);
        for nest in [network, list, peer, peers] {
            attributes.end(nest);
        }
        get::Part::read(attributes.bytes()).unwrap()
    };
    let first = answer(&|attributes| attributes.put(6, &51820_u16.to_ne_bytes()), [10, 0, 0, 1]);
    let second = answer(&|_| {}, [10, 0, 0, 2]);
    let status = get::merge(vec![first, second]);
    assert_eq!(status.device.listen_port, Some(51820));
    let peer = &status.device.peers[&key(1)];
    assert_eq!((peer.allowed_ips.len(), peer.preshared_key.is_none()), (2, true));
    let happened = status.peers[&key(1)];
    let since = happened
        .latest_handshake
        .unwrap()
        .duration_since(std::time::SystemTime::UNIX_EPOCH);
    assert_eq!(since.unwrap(), Duration::new(5, 250));
    assert_eq!((happened.rx_bytes, happened.tx_bytes), (1, u64::MAX));
}

#[test]
fn an_answer_that_is_cut_short_is_read_as_far_as_it_goes() {
    let update = Update {
        private_key: Some(PrivateKey::from_bytes([3; 32])),
        peers: vec![PeerUpdate {
            endpoint: Some("[2001:db8::1]:1".parse().unwrap()),
            allowed_ips: networks(4).into_iter().map(AllowedIpChange::Add).collect(),
            ..PeerUpdate::new(key(1))
        }],
        ..Update::default()
    };
    for message in set::messages(FAMILY, INDEX, &update) {
        let whole = message.bytes();
        for len in 0..whole.len() {
            let _read_or_not = get::Part::read(&whole[..len]);
            let mut damaged = whole.to_owned();
            damaged[len] ^= 0x55;
            let _read_or_not = get::Part::read(&damaged);
        }
    }
}
