//! The desk with a real gateway on the netstack plane and a directory.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::Path,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use tunnel::Plane;
use wg::Access;

use super::Desk;
use crate::{
    api::{self, Answer, Refusal},
    client::Terms,
    control::{Change, Changed, NewPeer, Reply, Request},
    directory::Directory,
    environment::{self, Keepalive, PeerId},
    key,
    ledger::Before,
    pictures::Pictures,
    record::{FILE_NAME, Settings},
    roster::{DEFAULT_SUBNET, Roster, Wish, WithoutIpv6},
    server::{DEFAULT_MTU, Gateway, Plan},
    text::Text,
};

fn wish(peers: &str) -> Wish {
    Wish {
        peers: environment::peers(peers).unwrap(),
        subnets: vec![DEFAULT_SUBNET.into()],
        without_ipv6: WithoutIpv6::Obey,
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
        dns: Vec::new(),
        allowed_ips: vec!["0.0.0.0/0".parse().unwrap()],
        mtu: None,
        listen_port: None,
        form: None,
    }
}

fn start(root: &Path, peers: &str) -> Desk {
    start_drawing(root, &wish(peers), |text| Some(text.len().to_string().into_bytes()))
}

fn start_drawing(root: &Path, wish: &Wish, draw: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Desk {
    let directory = Directory::open(root).unwrap();
    let roster = Roster::new(&directory, wish).unwrap();
    let terms = terms(&roster);
    let pictures = Arc::new(Pictures::new(draw, |_| {}).unwrap());
    roster.keep(&directory, &terms, 51820, &pictures.turn()).unwrap();
    let gateway = Gateway::open(Plan {
        name: "test".to_owned(),
        plane: Plane::Netstack,
        private_key: roster.private_key().clone(),
        listen_port: 0,
        addresses: roster.addresses(),
        mtu: DEFAULT_MTU,
        dns: None,
        peer_to_peer: true,
        peers: roster.peers(),
        launcher: None,
    })
    .unwrap();
    Desk {
        gateway,
        directory,
        roster,
        terms,
        listen_port: 51820,
        pictures,
        owner: (None, None),
    }
}

fn new(name: &str) -> NewPeer {
    NewPeer {
        name: name.to_owned(),
        ..NewPeer::default()
    }
}

fn add(names: &[&str]) -> Request {
    Request::Add {
        peers: names.iter().map(|name| new(name)).collect(),
    }
}

fn remove(names: &[&str], keep: bool) -> Request {
    Request::Remove {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        keep,
    }
}

#[track_caller]
fn done(desk: &mut Desk, request: Request) -> Vec<Changed> {
    let reply = desk.handle(request).0;
    let Reply::Changed { peers } = reply else {
        panic!("{reply:?}");
    };
    peers
}

#[track_caller]
fn refused(desk: &mut Desk, request: Request) -> String {
    let reply = desk.handle(request).0;
    let Reply::Refused { message } = reply else {
        panic!("{reply:?}");
    };
    message
}

/// The names on the gateway, which are those of the roster, and those that a start would find.
#[track_caller]
fn names(desk: &Desk, listed: &str) -> Vec<String> {
    let names = |peers: Vec<(crate::Name, crate::server::Peer)>| -> Vec<String> {
        let mut names: Vec<_> = peers.iter().map(|(name, _)| name.to_string()).collect();
        names.sort();
        names
    };
    let mut live: Vec<_> = desk
        .gateway
        .peers()
        .unwrap()
        .iter()
        .map(|peer| peer.name.to_string())
        .collect();
    live.sort();
    assert_eq!(names(desk.roster.peers()), live);
    let again = Roster::new(&desk.directory, &wish(listed)).unwrap();
    assert_eq!(names(again.peers()), live, "a start finds the same");
    for member in again.members() {
        let here = desk.roster.member(&member.id).unwrap();
        assert_eq!((&here.peer, &here.record), (&member.peer, &member.record));
    }
    live
}

#[test]
fn peers_are_added_and_removed_and_a_start_finds_them_so() {
    let root = tempfile::tempdir().unwrap();
    let mut desk = start(root.path(), "laptop");
    let added = done(&mut desk, add(&["phone", "7"]));
    assert_eq!(
        added.iter().map(|peer| peer.change).collect::<Vec<_>>(),
        [Change::Added; 2]
    );
    assert_eq!(added[1].addresses, ["10.13.13.4".parse::<IpAddr>().unwrap()]);
    assert!(added[0].is_complete && added[0].config.as_ref().unwrap().is_file());
    assert_eq!(names(&desk, "laptop"), ["peer7", "peer_laptop", "peer_phone"]);
    let before = fs::read_to_string(added[0].config.as_ref().unwrap()).unwrap();
    assert_eq!(done(&mut desk, add(&["phone"]))[0].change, Change::Unchanged);
    assert_eq!(fs::read_to_string(added[0].config.as_ref().unwrap()).unwrap(), before);

    // One of the list stays removed; one that was added goes with its files; its address is free.
    done(&mut desk, remove(&["laptop", "phone"], false));
    assert_eq!(names(&desk, "laptop"), ["peer7"]);
    assert!(!root.path().join("peer_phone").exists());
    let left: Vec<_> = fs::read_dir(root.path().join("peer_laptop")).unwrap().collect();
    assert_eq!(left.len(), 1, "only the record");
    assert_eq!(
        done(&mut desk, add(&["tablet"]))[0].addresses[0].to_string(),
        "10.13.13.2"
    );
    // It comes back by a command, or once the list has left it out.
    done(&mut desk, add(&["laptop"]));
    assert_eq!(names(&desk, "laptop"), ["peer7", "peer_laptop", "peer_tablet"]);
}

#[test]
fn a_removed_peer_of_the_list_comes_back_after_the_list_left_it_out() {
    let root = tempfile::tempdir().unwrap();
    let mut desk = start(root.path(), "laptop,phone");
    done(&mut desk, remove(&["phone"], false));
    drop(desk);
    drop(start(root.path(), "laptop"));
    assert!(!root.path().join("peer_phone").exists());
    let desk = start(root.path(), "laptop,phone");
    assert_eq!(names(&desk, "laptop,phone"), ["peer_laptop", "peer_phone"]);
}

#[test]
fn what_is_kept_of_a_removed_peer_comes_back_with_it() {
    let root = tempfile::tempdir().unwrap();
    let mut desk = start(root.path(), "0");
    let before = done(&mut desk, add(&["phone"])).remove(0);
    done(&mut desk, remove(&["phone"], true));
    assert!(names(&desk, "0").is_empty());
    let after = done(&mut desk, add(&["phone"])).remove(0);
    assert_eq!(
        (after.public_key, after.addresses),
        (before.public_key, before.addresses)
    );
}

#[test]
fn a_client_s_own_key_and_rules_are_kept_through_restarts_and_reloads() {
    let root = tempfile::tempdir().unwrap();
    let mut desk = start(root.path(), "laptop");
    let key = Text(key::private().unwrap().public_key());
    let settings = Settings {
        networks: Some(vec![Text("192.168.7.0/24".parse().unwrap())]),
        keepalive: Some(15),
        allow: Some(vec![Text("10.0.0.0/8".parse().unwrap())]),
        peer_to_peer: Some(false),
    };
    let wanted = |name: &str| NewPeer {
        public_key: Some(key).filter(|_| name == "phone"),
        settings: Settings {
            networks: settings.networks.clone().filter(|_| name == "phone"),
            ..settings.clone()
        },
        ..new(name)
    };
    done(
        &mut desk,
        Request::Add {
            peers: ["phone", "tablet"].map(wanted).into(),
        },
    );
    let set = Request::Set {
        names: vec!["laptop".to_owned()],
        settings: Settings {
            networks: None,
            ..settings.clone()
        },
        address: None,
    };
    done(&mut desk, set);
    let before: Vec<_> = desk.roster.members().map(|member| member.peer.clone()).collect();
    for round in ["at once", "after a restart", "after a reload"] {
        done(&mut desk, remove(&["laptop", "phone", "tablet"], true));
        assert!(names(&desk, "laptop").is_empty(), "{round}");
        match round {
            "after a restart" => {
                drop(desk);
                desk = start(root.path(), "laptop");
            }
            "after a reload" => {
                // The list leaves the laptop out once, and has it again.
                for list in ["0", "laptop"] {
                    desk.reload(&wish(list), |roster| Ok(terms(roster))).unwrap();
                }
                assert_eq!(names(&desk, "laptop"), ["peer_laptop"]);
            }
            _ => {}
        }
        done(&mut desk, add(&["laptop", "phone", "tablet"]));
        for was in &before {
            let mut members = desk.roster.members();
            let is = members.find(|member| member.client.public_key == was.public_key);
            assert_eq!(is.map(|member| &member.peer), Some(was), "{round}");
        }
        assert_eq!(names(&desk, "laptop").len(), 3, "{round}");
        let keys = fs::read_dir(root.path().join("peer_phone")).unwrap();
        let is_private =
            |file: std::io::Result<fs::DirEntry>| file.unwrap().file_name().to_string_lossy().starts_with("privatekey");
        assert!(!keys.into_iter().any(is_private), "{round}");
    }
    // Without --keep nothing of it is left.
    done(&mut desk, remove(&["phone"], false));
    done(&mut desk, add(&["phone"]));
    let member = desk.roster.member(&"phone".parse().unwrap()).unwrap();
    assert_eq!(member.record.settings, Settings::default());
}

#[test]
fn a_client_that_made_its_keys_leaves_no_private_key_here() {
    let root = tempfile::tempdir().unwrap();
    let mut desk = start(root.path(), "laptop");
    let key = key::private().unwrap().public_key();
    let wanted = |key| Request::Add {
        peers: vec![NewPeer {
            public_key: Some(Text(key)),
            ..new("phone")
        }],
    };
    let added = done(&mut desk, wanted(key)).remove(0);
    assert_eq!((added.public_key, added.is_complete), (Text(key), false));
    let mut files: Vec<_> = fs::read_dir(root.path().join("peer_phone"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".png"))
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            FILE_NAME,
            "peer_phone.conf",
            "presharedkey-peer_phone",
            "publickey-peer_phone"
        ]
    );
    let conf = fs::read_to_string(added.config.unwrap()).unwrap();
    assert!(!conf.lines().any(|line| line.starts_with("PrivateKey")), "{conf}");
    assert!(conf.contains(&format!("belongs to {key}")), "{conf}");
    assert_eq!(done(&mut desk, wanted(key))[0].change, Change::Unchanged);
    assert_eq!(names(&desk, "laptop"), ["peer_laptop", "peer_phone"]);
    // The key is one peer's.
    let other = key::private().unwrap().public_key();
    assert!(refused(&mut desk, wanted(other)).contains("remove it first"));
    let taken = Request::Add {
        peers: vec![
            new("fresh"),
            NewPeer {
                public_key: Some(Text(key)),
                ..new("thief")
            },
        ],
    };
    assert!(refused(&mut desk, taken).contains("that of peer_phone"));
    assert!(!root.path().join("peer_fresh").exists() && !root.path().join("peer_thief").exists());
    assert_eq!(
        done(&mut desk, add(&["next"]))[0].addresses[0].to_string(),
        "10.13.13.4"
    );
}

#[test]
fn settings_and_addresses_change_and_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let mut desk = start(root.path(), "laptop,phone");
    let set = |settings: Settings, address: Option<&str>| Request::Set {
        names: vec!["phone".to_owned()],
        settings,
        address: address.map(|address| address.parse().unwrap()),
    };
    let networks = Settings {
        networks: Some(vec![Text("192.168.7.0/24".parse().unwrap())]),
        keepalive: Some(15),
        allow: Some(vec![Text("10.0.0.0/8".parse().unwrap())]),
        peer_to_peer: None,
    };
    assert_eq!(done(&mut desk, set(networks.clone(), None))[0].change, Change::Changed);
    assert_eq!(done(&mut desk, set(networks, None))[0].change, Change::Unchanged);
    assert_eq!(names(&desk, "laptop,phone").len(), 2);
    let moved = done(&mut desk, set(Settings::default(), Some("10.13.13.77"))).remove(0);
    assert_eq!(
        (moved.change, moved.addresses[0].to_string()),
        (Change::Moved, "10.13.13.77".to_owned())
    );
    assert_eq!(names(&desk, "laptop,phone").len(), 2);
    assert_eq!(
        done(&mut desk, add(&["next"]))[0].addresses[0].to_string(),
        "10.13.13.3"
    );
    for (address, reason) in [("10.13.13.2", "belongs to peer_laptop"), ("10.13.14.2", "is not in")] {
        let refusal = refused(&mut desk, set(Settings::default(), Some(address)));
        assert!(refusal.contains(reason), "{refusal}");
    }
}

#[test]
fn nobody_takes_another_peers_address_or_network() {
    let root = tempfile::tempdir().unwrap();
    let mut desk = start(root.path(), "laptop,phone");
    let networks = |networks: &[&str]| Settings {
        networks: Some(networks.iter().map(|network| Text(network.parse().unwrap())).collect()),
        ..Settings::default()
    };
    let add = |name: &str, of_it: &[&str]| Request::Add {
        peers: vec![NewPeer {
            settings: networks(of_it),
            ..new(name)
        }],
    };
    let set = |names: &[&str], of_it: &[&str]| Request::Set {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        settings: networks(of_it),
        address: None,
    };
    done(&mut desk, set(&["laptop"], &["192.168.5.0/24"]));
    for (request, network, holder) in [
        (add("thief", &["10.13.13.3/32"]), "10.13.13.3/32", "peer_phone"),
        (add("thief", &["192.168.5.0/24"]), "192.168.5.0/24", "peer_laptop"),
        (add("thief", &["10.13.13.1/32"]), "10.13.13.1/32", "the gateway's own"),
        (set(&["phone"], &["10.13.13.2/32"]), "10.13.13.2/32", "peer_laptop"),
        (set(&["phone"], &["192.168.5.0/24"]), "192.168.5.0/24", "peer_laptop"),
        (
            set(&["phone", "laptop"], &["10.9.0.0/16"]),
            "10.9.0.0/16",
            "peer_laptop",
        ),
    ] {
        let refusal = refused(&mut desk, request);
        assert!(refusal.contains(network) && refusal.contains(holder), "{refusal}");
        assert_eq!(names(&desk, "laptop,phone"), ["peer_laptop", "peer_phone"]);
        assert!(!root.path().join("peer_thief").exists());
    }
    // An address behind a peer is not leased; smaller and larger networks are each one's own.
    done(
        &mut desk,
        add("router", &["10.13.13.5/32", "192.168.5.0/25", "192.168.0.0/16"]),
    );
    let next = done(&mut desk, self::add(&["one"])).remove(0);
    assert_eq!(next.addresses[0].to_string(), "10.13.13.6");
    done(&mut desk, set(&["router"], &[]));
    done(&mut desk, remove(&["laptop"], false));
    done(&mut desk, set(&["phone"], &["192.168.5.0/24"]));
    let next = done(&mut desk, self::add(&["two", "three"]));
    assert_eq!(next[1].addresses[0].to_string(), "10.13.13.5");
    names(&desk, "laptop,phone");
}

#[test]
fn a_command_is_carried_out_whole_or_not_at_all() {
    let root = tempfile::tempdir().unwrap();
    let mut desk = start(root.path(), "laptop");
    for (request, reason) in [
        (add(&["one", "two", "my phone"]), "`my phone` cannot name a peer"),
        (add(&["one", "one"]), "one is named twice"),
        (add(&["../../etc"]), "cannot name a peer"),
        (add(&[]), "no peer is named"),
        (remove(&["laptop", "nobody"], false), "there is no peer nobody"),
        (
            Request::Conf {
                name: "nobody".to_owned(),
            },
            "there is no peer nobody",
        ),
    ] {
        let refusal = refused(&mut desk, request);
        assert!(refusal.contains(reason), "{refusal}");
        assert_eq!(names(&desk, "laptop"), ["peer_laptop"]);
    }
    // A file system that refuses in the middle.
    fs::write(root.path().join("peer_two"), "a file where a directory should be").unwrap();
    refused(&mut desk, add(&["one", "two", "three"]));
    assert_eq!(names(&desk, "laptop"), ["peer_laptop"]);
    assert!(!root.path().join("peer_one").exists() && !root.path().join("peer_three").exists());
    let added = done(&mut desk, add(&["three"]));
    assert_eq!(added[0].addresses[0].to_string(), "10.13.13.3", "no address is lost");
}

#[test]
fn what_a_killed_gateway_left_half_done_is_undone() {
    let root = tempfile::tempdir().unwrap();
    let mut desk = start(root.path(), "laptop");
    done(&mut desk, add(&["phone"]));
    let id = |name: &str| name.parse::<PeerId>().unwrap();
    let before = ["phone", "tablet"]
        .map(|name| Before::of(&desk.directory, &id(name), &desk.directory.record(&id(name)).unwrap()).unwrap());
    desk.directory.announce(before.into()).unwrap();
    // The phone is removed, the tablet added, and the power goes.
    desk.directory
        .keep_record(
            &id("phone"),
            &crate::record::Record::read("{\"standing\":\"removed\"}").unwrap(),
        )
        .unwrap();
    fs::create_dir(root.path().join("peer_tablet")).unwrap();
    fs::write(root.path().join("peer_tablet/privatekey-peer_tablet"), "half").unwrap();
    drop(desk);
    let desk = start(root.path(), "laptop");
    assert_eq!(names(&desk, "laptop"), ["peer_laptop", "peer_phone"]);
    assert!(!root.path().join("peer_tablet").exists());
}

#[test]
fn what_could_not_be_undone_is_undone_before_the_next_command() {
    let root = tempfile::tempdir().unwrap();
    let mut desk = start(root.path(), "laptop,phone");
    // A removal that went as far as the tunnel, and was not undone.
    let id: PeerId = "phone".parse().unwrap();
    let before = Before::of(&desk.directory, &id, &desk.directory.record(&id).unwrap()).unwrap();
    desk.directory.announce(vec![before]).unwrap();
    let record = crate::record::Record::read("{\"standing\":\"removed\"}").unwrap();
    desk.directory.keep_record(&id, &record).unwrap();
    desk.gateway
        .change(&[crate::server::PeerChange::Remove(id.name())])
        .unwrap();
    // The next command fails, for a file where a directory should be, and the one after it does not.
    fs::write(root.path().join("peer_two"), "").unwrap();
    refused(&mut desk, add(&["one", "two"]));
    assert_eq!(names(&desk, "laptop,phone"), ["peer_laptop", "peer_phone"]);
    done(&mut desk, add(&["one"]));
    assert_eq!(names(&desk, "laptop,phone"), ["peer_laptop", "peer_one", "peer_phone"]);
    drop(desk);
    let desk = start(root.path(), "laptop,phone");
    assert_eq!(names(&desk, "laptop,phone"), ["peer_laptop", "peer_one", "peer_phone"]);
}

#[test]
fn an_address_that_a_killed_gateway_was_changing_is_what_it_was() {
    let root = tempfile::tempdir().unwrap();
    let desk = start(root.path(), "laptop,phone");
    let id: PeerId = "phone".parse().unwrap();
    let path = root.path().join("peer_phone/peer_phone.conf");
    let conf = fs::read_to_string(&path).unwrap();
    let before = Before::of(&desk.directory, &id, &desk.directory.record(&id).unwrap()).unwrap();
    desk.directory.announce(vec![before]).unwrap();
    // Its configuration and its record are written, the change is not settled.
    let member = desk.roster.member(&id).unwrap();
    let moved = desk
        .roster
        .changed(member, member.record.clone(), vec!["10.13.13.77".parse().unwrap()]);
    moved.keep(&desk.directory, &desk.terms, &desk.pictures.turn()).unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains("10.13.13.77"));
    drop(desk);
    let desk = start(root.path(), "laptop,phone");
    names(&desk, "laptop,phone");
    let after = desk.roster.member(&id).unwrap().client.addresses[0];
    assert_eq!(after.to_string(), "10.13.13.3");
    assert_eq!(fs::read_to_string(&path).unwrap(), conf);
    let picture = fs::read_to_string(root.path().join("peer_phone/peer_phone.png")).unwrap();
    assert_eq!(picture, conf.len().to_string());
}

#[test]
fn another_list_is_taken_over_while_the_gateway_runs() {
    let root = tempfile::tempdir().unwrap();
    let mut desk = start(root.path(), "laptop,phone");
    done(&mut desk, add(&["guest"]));
    let changed = desk.reload(&wish("phone,tablet"), |roster| Ok(terms(roster))).unwrap();
    assert_eq!(
        changed.iter().map(PeerId::file_name).collect::<Vec<_>>(),
        ["peer_tablet"]
    );
    assert_eq!(
        names(&desk, "phone,tablet"),
        ["peer_guest", "peer_phone", "peer_tablet"]
    );
    let error = desk
        .reload(&wish("phone"), |_| Err("templates/peer.conf:3: no".to_owned()))
        .unwrap_err();
    assert_eq!(error.to_string(), "templates/peer.conf:3: no");
    let mut elsewhere = wish("phone");
    elsewhere.subnets = vec!["10.9.0.0/24".parse().unwrap()];
    desk.reload(&elsewhere, |roster| Ok(terms(roster))).unwrap_err();
    assert_eq!(names(&desk, "phone,tablet").len(), 3);
}

/// Waits for a fact, at most five minutes: the thread in the background stands back behind a busy machine.
#[track_caller]
fn wait_for(what: &str, mut fact: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(300);
    while !fact() {
        assert!(Instant::now() < limit, "{what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn commands_are_answered_while_thousands_of_pictures_are_drawn() {
    const PEERS: usize = 1_000;
    let root = tempfile::tempdir().unwrap();
    let wish = Wish {
        subnets: vec!["10.20.0.0/16".parse().unwrap()],
        ..wish(&PEERS.to_string())
    };
    // The thread in the background stops before its first picture, until it is let go on.
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (open, opened) = (Arc::clone(&gate), Arc::clone(&gate));
    let draw = move |text: &str| {
        let is_background = thread::current().name().is_some_and(|name| name == "adit-pictures");
        if is_background {
            let is_closed = |is_open: &mut bool| !*is_open;
            drop(opened.1.wait_while(opened.0.lock().unwrap(), is_closed).unwrap());
        }
        Some(text.to_owned().into_bytes())
    };
    let mut desk = start_drawing(root.path(), &wish, draw.clone());
    let path = |number: usize, ending: &str| root.path().join(format!("peer{number}/peer{number}.{ending}"));
    let drawn = || (1..=PEERS).filter(|number| path(*number, "png").exists()).count();
    assert_eq!(drawn(), 64, "those that the start waits for");
    let is_drawn = |name: &str| root.path().join(format!("{name}/{name}.png")).exists();
    assert!(done(&mut desk, add(&["phone"]))[0].is_complete && is_drawn("peer_phone"));

    // A template is edited, a peer of those that wait goes, another one changes.
    let edited = |roster: &Roster| {
        Ok(Terms {
            mtu: Some(1_400),
            ..terms(roster)
        })
    };
    assert_eq!(desk.reload(&wish, edited).unwrap().len(), PEERS + 1);
    assert!(drawn() <= 64, "none shows what was before");
    done(&mut desk, remove(&["999"], false));
    let set = Request::Set {
        names: vec!["1000".to_owned()],
        settings: Settings::default(),
        address: Some("10.20.99.99".parse().unwrap()),
    };
    done(&mut desk, set);
    assert!(path(1_000, "png").exists());

    *open.0.lock().unwrap() = true;
    open.1.notify_all();
    wait_for("every picture is drawn", || drawn() == PEERS - 1);
    for number in (1..=PEERS).filter(|number| *number != 999) {
        let [conf, picture] = ["conf", "png"].map(|ending| fs::read_to_string(path(number, ending)).unwrap());
        assert!(conf == picture && conf.contains("MTU = 1400"), "{number}: {picture}");
    }
    assert!(!path(999, "png").exists());

    // What an end leaves undrawn, the next start draws.
    *open.0.lock().unwrap() = false;
    desk.reload(&wish, |roster| Ok(terms(roster))).unwrap();
    let missing = PEERS - 1 - drawn();
    assert!(missing > PEERS / 2, "{missing}");
    *open.0.lock().unwrap() = true;
    open.1.notify_all();
    drop(desk);
    let _desk = start_drawing(root.path(), &wish, draw);
    wait_for("every picture is drawn by the next start", || drawn() == PEERS - 1);
    let conf = fs::read_to_string(path(500, "conf")).unwrap();
    assert!(conf == fs::read_to_string(path(500, "png")).unwrap() && !conf.contains("MTU"));
}

fn put(desk: &mut Desk, name: &str, key: u8) -> Answer {
    let public_key = wg::PublicKey::from_bytes([key; 32]);
    desk.serve(api::Request::Put {
        name: name.to_owned(),
        public_key,
    })
    .0
}

fn refusal(answer: Answer) -> Option<Refusal> {
    match answer {
        Answer::Refused(refusal, _) => Some(refusal),
        Answer::Peer(_) | Answer::Deleted => None,
    }
}

#[track_caller]
fn admitted(answer: Answer) -> Box<api::Admission> {
    match answer {
        Answer::Peer(admission) => admission,
        other @ (Answer::Deleted | Answer::Refused(..)) => panic!("{other:?}"),
    }
}

#[test]
fn a_peer_of_the_api_keeps_all_but_its_key_also_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = start(folder.path(), "laptop");
    let first = admitted(put(&mut desk, "web", 1));
    assert_eq!(first.addresses, [Text("10.13.13.3/32".parse().unwrap())]);
    let settings = Settings {
        peer_to_peer: Some(false),
        ..Settings::default()
    };
    let set = Request::Set {
        names: vec!["web".to_owned()],
        settings: settings.clone(),
        address: None,
    };
    done(&mut desk, set);
    let second = admitted(put(&mut desk, "web", 2));
    assert_eq!(second.public_key, Text(wg::PublicKey::from_bytes([2; 32])));
    assert_eq!((&second.addresses, &second.server), (&first.addresses, &first.server));
    assert!(second.server.preshared_key.is_some());
    let keys: Vec<_> = desk
        .gateway
        .peers()
        .unwrap()
        .iter()
        .map(|peer| peer.public_key)
        .collect();
    assert!(keys.contains(&second.public_key.0) && !keys.contains(&first.public_key.0));
    let public = fs::read_to_string(folder.path().join("peer_web/publickey-peer_web")).unwrap();
    assert_eq!(public.trim(), second.public_key.0.to_string());
    desk.gateway.close();
    drop(desk.directory);
    let mut desk = start(folder.path(), "laptop");
    let again = desk.serve(api::Request::Get { name: "web".to_owned() });
    assert_eq!(admitted(again.0), second);
    let id: PeerId = "web".parse().unwrap();
    assert_eq!(desk.roster.member(&id).unwrap().record.settings, settings);
    // As asked for already: nothing to log, nothing to do.
    let public_key = second.public_key.0;
    let (answer, line) = desk.serve(api::Request::Put {
        name: "web".to_owned(),
        public_key,
    });
    assert_eq!((admitted(answer), line), (second, None));
}

#[test]
fn the_api_leaves_peers_alone_that_it_did_not_make() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = start(folder.path(), "laptop,tablet");
    done(&mut desk, add(&["phone", "kept"]));
    done(&mut desk, remove(&["tablet"], false));
    done(&mut desk, remove(&["kept"], true));
    fs::create_dir(folder.path().join("peer_old")).unwrap();
    admitted(put(&mut desk, "web", 1));
    let own = desk.roster.private_key().public_key();
    let before = desk.roster.len();
    for (name, key, expected) in [
        ("laptop", 2, Refusal::Foreign),
        ("tablet", 2, Refusal::Foreign),
        ("phone", 2, Refusal::Foreign),
        ("kept", 2, Refusal::Foreign),
        ("old", 2, Refusal::Foreign),
        ("../x", 2, Refusal::Name),
        ("other", 1, Refusal::Conflict),
    ] {
        assert_eq!(refusal(put(&mut desk, name, key)), Some(expected), "{name}");
    }
    for name in ["web", "new"] {
        let put = api::Request::Put {
            name: name.to_owned(),
            public_key: own,
        };
        assert_eq!(refusal(desk.serve(put).0), Some(Refusal::Conflict), "{name}");
    }
    for (name, expected) in [
        ("laptop", Some(Refusal::Nobody)),
        ("phone", Some(Refusal::Nobody)),
        ("web", None),
        ("web", Some(Refusal::Nobody)),
    ] {
        let name = name.to_owned();
        let answer = desk.serve(api::Request::Delete { name: name.clone() }).0;
        assert_eq!(refusal(answer), expected, "{name}");
    }
    assert_eq!(desk.roster.len(), before - 1);
    assert!(!folder.path().join("peer_web").exists());
    // Its address is free again, and a full network is no fault of who asks.
    assert_eq!(admitted(put(&mut desk, "next", 3)).addresses.len(), 1);
}
