//! The roster and a directory, from one start to the next.

use std::fs;

use wg::PublicKey;

use super::*;
use crate::{environment, pictures::Pictures};

fn wish(peers: &str) -> Wish {
    Wish {
        peers: environment::peers(peers).unwrap(),
        subnets: vec![DEFAULT_SUBNET.into()],
        without_ipv6: WithoutIpv6::Keep,
        keepalive: Keepalive::Off,
        networks: BTreeMap::new(),
        access: Access::OPEN,
        destinations: BTreeMap::new(),
    }
}

fn terms(roster: &Roster) -> Terms {
    Terms {
        server_key: roster.private_key().public_key(),
        endpoint: ("vpn.example.com".parse().unwrap(), 51820),
        dns: vec!["10.13.13.1".parse().unwrap()],
        allowed_ips: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
        mtu: None,
        listen_port: Some(51820),
        form: None,
    }
}

/// One start of a gateway: what it decided, and whose configuration it wrote.
fn start(directory: &Directory, wish: &Wish) -> (Roster, Vec<String>) {
    let roster = Roster::new(directory, wish).unwrap();
    let pictures = Pictures::new(|text| Some(text.len().to_string().into_bytes()), |_| {}).unwrap();
    let changed = roster
        .keep(directory, &terms(&roster), 51820, &pictures.turn())
        .unwrap();
    let changed = changed.iter().map(|member| member.id.file_name()).collect();
    (roster, changed)
}

fn keys(roster: &Roster) -> Vec<PublicKey> {
    roster.members().map(|member| member.peer.public_key).collect()
}

fn v4(roster: &Roster) -> Vec<String> {
    roster
        .members()
        .map(|member| member.client.addresses[0].to_string())
        .collect()
}

#[test]
fn a_second_start_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let directory = Directory::open(root.path()).unwrap();
    let (first, written) = start(&directory, &wish("laptop,7"));
    assert_eq!(written, ["peer_laptop", "peer7"]);
    assert!(
        first
            .addresses()
            .iter()
            .any(|address| address.to_string().starts_with("fd"))
    );
    let (second, written) = start(&directory, &wish("laptop,7"));
    assert!(written.is_empty(), "{written:?}");
    assert_eq!(
        (first.addresses(), keys(&first), v4(&first)),
        (second.addresses(), keys(&second), v4(&second))
    );
    assert_eq!(first.private_key(), second.private_key());
}

#[test]
fn the_layout_and_the_texts_are_linuxservers() {
    let root = tempfile::tempdir().unwrap();
    let directory = Directory::open(root.path()).unwrap();
    let mut wish = wish("laptop,7");
    wish.subnets.push("fd00:1::/64".parse().unwrap());
    wish.keepalive = Keepalive::Only(vec!["7".parse().unwrap()]);
    wish.networks
        .insert("laptop".parse().unwrap(), vec!["192.168.1.0/24".parse().unwrap()]);
    let (roster, _) = start(&directory, &wish);
    let read = |path: &str| {
        fs::read_to_string(root.path().join(path))
            .unwrap()
            .trim_end()
            .to_owned()
    };
    let members: Vec<&Member> = roster.members().collect();
    let [laptop, seven] = [members[0], members[1]];
    let conf = format!(
        "[Interface]\nAddress = fd00:1::2, 10.13.13.2\nPrivateKey = {}\nListenPort = 51820\nDNS = 10.13.13.1\n\n\
         [Peer]\nPublicKey = {}\nPresharedKey = {}\nEndpoint = vpn.example.com:51820\nAllowedIPs = 0.0.0.0/0, ::/0",
        read("peer_laptop/privatekey-peer_laptop"),
        read("server/publickey-server"),
        read("peer_laptop/presharedkey-peer_laptop"),
    );
    assert_eq!(read("peer_laptop/peer_laptop.conf"), conf);
    assert_eq!(read("peer_laptop/peer_laptop.png"), (conf.len() + 1).to_string());
    assert_eq!(read("peer7/publickey-peer7"), seven.peer.public_key.to_string());
    let conf = format!(
        "[Interface]\nAddress = fd00:1::1, 10.13.13.1\nListenPort = 51820\nPrivateKey = {}\n\n\
         [Peer]\n# peer_laptop\nPublicKey = {}\nPresharedKey = {}\n\
         AllowedIPs = 10.13.13.2/32,fd00:1::2/128,192.168.1.0/24\n\n\
         [Peer]\n# peer7\nPublicKey = {}\nPresharedKey = {}\nAllowedIPs = 10.13.13.3/32,fd00:1::3/128\n\
         PersistentKeepalive = 25",
        read("server/privatekey-server"),
        laptop.peer.public_key,
        read("peer_laptop/presharedkey-peer_laptop"),
        seven.peer.public_key,
        read("peer7/presharedkey-peer7"),
    );
    assert_eq!(read("wg_confs/wg0.conf"), conf);
}

#[test]
fn a_removed_peer_frees_its_address_and_comes_back_beside_its_successor() {
    let root = tempfile::tempdir().unwrap();
    let directory = Directory::open(root.path()).unwrap();
    let (before, _) = start(&directory, &wish("laptop,phone"));
    let (with_tablet, _) = start(&directory, &wish("tablet,phone"));
    assert_eq!(v4(&with_tablet), ["10.13.13.2", "10.13.13.3"]);
    let (all, written) = start(&directory, &wish("laptop,tablet,phone"));
    assert_eq!(v4(&all), ["10.13.13.4", "10.13.13.2", "10.13.13.3"]);
    assert_eq!(written, ["peer_laptop"]);
    assert_eq!(keys(&all)[0], keys(&before)[0]);
}

#[test]
fn another_subnet_moves_every_peer_to_the_same_place() {
    let root = tempfile::tempdir().unwrap();
    let directory = Directory::open(root.path()).unwrap();
    start(&directory, &wish("3"));
    let mut wish = wish("3");
    wish.subnets = vec!["192.168.77.0/24".parse().unwrap()];
    let (moved, written) = start(&directory, &wish);
    assert_eq!(v4(&moved), ["192.168.77.2", "192.168.77.3", "192.168.77.4"]);
    assert_eq!(written.len(), 3);
}

#[test]
fn an_old_installation_is_taken_over_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let (server, peer) = (PrivateKey::from_random([1; 32]), PrivateKey::from_random([2; 32]));
    let server_conf = "[Interface]\nAddress = 10.13.13.1\nListenPort = 51820\n\n[Peer]\n# peer1\n";
    for (path, text) in [
        ("server/privatekey-server", format!("{}\n", *server.danger_base64())),
        ("wg_confs/wg0.conf", server_conf.into()),
        ("peer1/privatekey-peer1", format!("{}\n", *peer.danger_base64())),
        (
            "peer1/peer1.conf",
            "[Interface]\nAddress = 10.13.13.9\nListenPort = 51820\n".into(),
        ),
    ] {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let directory = Directory::open(root.path()).unwrap();
    let (roster, _) = start(&directory, &wish("2"));
    let one = roster.members().next().unwrap();
    assert_eq!((roster.private_key(), &one.client.private_key), (&server, &Some(peer)));
    // No preshared key, no IPv6: the client has neither.
    assert_eq!(
        (one.client.preshared_key.as_ref(), one.client.addresses.len()),
        (None, 1)
    );
    assert_eq!(v4(&roster), ["10.13.13.9", "10.13.13.2"]);
    assert!(roster.members().nth(1).unwrap().client.preshared_key.is_some());
}

#[test]
fn a_start_that_was_cut_short_is_finished_by_the_next() {
    // The files of a whole start, and every state in which a part of them is missing.
    let root = tempfile::tempdir().unwrap();
    let (whole, _) = start(&Directory::open(root.path()).unwrap(), &wish("1"));
    let files = [
        "server/publickey-server",
        "peer1/publickey-peer1",
        "peer1/peer1.png",
        "peer1/peer1.conf",
        "wg_confs/wg0.conf",
    ];
    for missing in 0..1_u32 << files.len() {
        for (bit, file) in files.iter().enumerate() {
            if missing & 1 << bit != 0 {
                fs::remove_file(root.path().join(file)).unwrap();
            }
        }
        let (again, _) = start(&Directory::open(root.path()).unwrap(), &wish("1"));
        assert_eq!(
            (whole.private_key(), keys(&whole), v4(&whole)),
            (again.private_key(), keys(&again), v4(&again))
        );
        assert!(files.iter().all(|file| root.path().join(file).exists()), "{missing:b}");
    }
}

#[test]
fn a_network_that_is_another_peers_is_refused_before_anything_is_written() {
    let root = tempfile::tempdir().unwrap();
    let directory = Directory::open(root.path()).unwrap();
    let error = |networks: &[(&str, &str)]| {
        let mut wish = wish("laptop,phone");
        for (peer, network) in networks {
            let networks = environment::networks(network).unwrap();
            wish.networks.insert(peer.parse().unwrap(), networks);
        }
        Roster::new(&directory, &wish).err().map(|error| error.to_string())
    };
    let same = error(&[("laptop", "192.168.5.0/24"), ("phone", "192.168.5.0/24")]).unwrap();
    assert!(same.starts_with("SERVER_ALLOWEDIPS_PEER_phone: "), "{same}");
    assert!(
        same.contains("192.168.5.0/24") && same.contains("that of peer_laptop"),
        "{same}"
    );
    let gateway = error(&[("laptop", "10.13.13.1")]).unwrap();
    assert!(gateway.starts_with("SERVER_ALLOWEDIPS_PEER_laptop: "), "{gateway}");
    // An address behind a peer is leased to no other, so that these two are not in each other's way.
    assert_eq!(error(&[("laptop", "10.13.13.3")]), None);
    assert!(!root.path().join("server/privatekey-server").exists());
    start(&directory, &wish("laptop,phone"));
    let address = error(&[("laptop", "10.13.13.3")]).unwrap();
    assert!(
        address.contains("10.13.13.3/32") && address.contains("that of peer_phone"),
        "{address}"
    );
    let error = |record: &str| {
        directory
            .keep_record(&"phone".parse().unwrap(), &Record::read(record).unwrap())
            .unwrap();
        Roster::new(&directory, &wish("laptop,phone")).unwrap_err().to_string()
    };
    let kept = error("{\"networks\":[\"10.13.13.2/32\"]}");
    assert!(
        kept.starts_with("peer_phone/.adit.json: ") && kept.contains("peer_laptop"),
        "{kept}"
    );
}

#[test]
fn more_peers_than_addresses_are_refused_before_anything_is_written() {
    let root = tempfile::tempdir().unwrap();
    let directory = Directory::open(root.path()).unwrap();
    let error = Roster::new(&directory, &wish("254")).unwrap_err();
    assert!(
        error.to_string().contains("no address is left in 10.13.13.0/24"),
        "{error}"
    );
    assert!(!root.path().join("server/privatekey-server").exists());
    assert_eq!(Roster::new(&directory, &wish("253")).unwrap().len(), 253);
}
