use super::*;

fn link() -> Link {
    Link::create(
        "blue".parse().unwrap(),
        "10.77.0.0/16".parse().unwrap(),
        "host-a".parse().unwrap(),
        Some("192.0.2.1:51820".parse().unwrap()),
        51820,
        Settings::default(),
        [1, 2].map(|seed| Secret::from_bytes([seed; 32])),
        1000,
    )
    .unwrap()
}

fn token(link: &mut Link, seed: u8, now: u64) -> Token {
    let endpoint = "192.0.2.1:51820".parse().unwrap();
    link.invite(Secret::from_bytes([seed; 32]), vec![endpoint], LIFETIME, now)
        .unwrap()
}

fn guest(token: &Token) -> Ipv6Addr {
    token.addresses.of_guest(token.secret.one_time_address())
}

fn registration(seed: u8, name: &str) -> Registration {
    Registration {
        key: Secret::from_bytes([seed; 32]).private_key().public_key(),
        name: name.parse().unwrap(),
        endpoint: None,
    }
}

fn join(link: &mut Link, seed: u8, name: &str, now: u64) -> Link {
    let token = token(link, seed + 100, now);
    let registered = link.register(guest(&token), &registration(seed, name), now).unwrap();
    let key = Secret::from_bytes([seed; 32]);
    let joined = Link::joined(&token, key, registered, 51820, Settings::default(), None).unwrap();
    meet(&mut joined.clone(), link);
    joined
}

/// One asks the other.
fn meet(one: &mut Link, other: &mut Link) {
    let sync = |link: &Link, versions: &BTreeMap<_, _>| Sync {
        versions: link.members.versions(),
        records: link.members.newer_than(versions),
    };
    let (answer, _) = other.sync(one.public_key(), sync(one, &BTreeMap::new()), BTreeMap::new());
    one.take(answer.records);
}

#[test]
fn each_that_joins_has_the_next_network_and_all_know_all() {
    let mut a = link();
    let mut b = join(&mut a, 11, "host-b", 1000);
    let mut c = join(&mut b, 12, "host-c", 1010);
    assert_eq!((a.number(), b.number(), c.number()), (0, 1, 2));
    meet(&mut a, &mut b);
    meet(&mut c, &mut a);
    for link in [&a, &b, &c] {
        assert_eq!(link.others().len(), 2);
        let device = link.device();
        for other in [&a, &b, &c] {
            let allowed = device.peers.get(&other.public_key()).map(|peer| &peer.allowed_ips);
            let subnet = other.addresses.subnets(other.number())[0];
            assert_eq!(
                allowed.is_some_and(|allowed| allowed.contains(&subnet)),
                other.number() != link.number()
            );
        }
    }
    assert_eq!(a.secret().danger_bytes(), c.secret().danger_bytes());
}

#[test]
fn a_token_is_good_for_one_host_once_and_in_time() {
    let mut link = link();
    let token = token(&mut link, 50, 1000);
    let from = guest(&token);
    let ask = |link: &mut Link, seed, now| link.register(from, &registration(seed, &format!("h{seed}")), now);
    assert!(ask(&mut link, 11, 1001).is_ok());
    assert!(ask(&mut link, 11, 1002).is_ok(), "its answer was lost");
    let refused = ask(&mut link, 12, 1003).unwrap_err();
    assert!(refused.contains("used already"), "{refused}");
    let sync = Sync {
        versions: BTreeMap::new(),
        records: Vec::new(),
    };
    link.sync(registration(11, "h11").key, sync, BTreeMap::new());
    let refused = ask(&mut link, 11, 1004).unwrap_err();
    assert!(refused.contains("used already"), "it is a member: {refused}");
    assert_eq!(link.members.live().count(), 2);
    let mut late = self::link();
    let token = self::token(&mut late, 50, 1000);
    let refused = late.register(guest(&token), &registration(11, "h"), 1600).unwrap_err();
    assert!(refused.contains("has expired"), "{refused}");
    assert!(late.device().peers.len() == 1, "it is told so");
    late.expire(1600 + 3600);
    assert!(
        late.device().peers.is_empty() && late.doors().is_empty(),
        "it is forgotten"
    );
    let nobody = late.addresses.of_guest(1);
    assert!(late.register(nobody, &registration(11, "h"), 1000).is_err());
}

#[test]
fn names_and_numbers_are_not_given_twice() {
    let mut a = link();
    let _b = join(&mut a, 11, "host-b", 1000);
    let token = token(&mut a, 50, 1000);
    let refused = a
        .register(guest(&token), &registration(12, "host-b"), 1000)
        .unwrap_err();
    assert!(refused.contains("--name"), "{refused}");
    // An open token keeps its number.
    let other = self::token(&mut a, 51, 1000);
    let registered = a.register(guest(&other), &registration(13, "host-d"), 1000).unwrap();
    let numbers: Vec<_> = registered.records.iter().map(|record| record.number).collect();
    assert!(numbers.contains(&3) && !numbers.contains(&2), "{numbers:?}");
}

#[test]
fn who_is_removed_is_out_for_all_and_for_itself() {
    let mut a = link();
    let mut b = join(&mut a, 11, "host-b", 1000);
    let mut c = join(&mut a, 12, "host-c", 1000);
    meet(&mut b, &mut a);
    a.members.remove(&b.public_key(), "host-a".parse().unwrap(), 2000);
    assert!(!a.device().peers.contains_key(&b.public_key()));
    meet(&mut c, &mut a);
    assert!(!c.device().peers.contains_key(&b.public_key()));
    meet(&mut b, &mut c);
    assert_eq!(
        b.removal().map(|removal| removal.by.to_string()),
        Some("host-a".to_owned())
    );
    assert!(b.device().peers.is_empty());
    assert!(matches!(
        b.invite(Secret::from_bytes([9; 32]), Vec::new(), 1, 2000),
        Err(InviteError::Out(_))
    ));
    // What it says of itself changes nothing.
    let mut own = b.own().unwrap().clone();
    own.removed = None;
    own.version = u64::MAX - 1;
    assert!(!a.take(vec![own]));
}

#[test]
fn of_itself_a_host_believes_nothing_but_its_removal() {
    let mut a = link();
    let mut lie = a.own().unwrap().clone();
    lie.version += 5;
    lie.number = 7;
    let version = lie.version;
    assert!(a.take(vec![lie]), "it says it anew");
    assert_eq!(a.number(), 0);
    assert!(a.own().unwrap().version > version);
    let own = a.own().unwrap().clone();
    assert!(!a.take(vec![own]));
}

#[test]
fn a_link_is_kept_whole() {
    let mut a = link();
    let b = join(&mut a, 11, "host-b", 1000);
    a.endpoints.insert(b.public_key(), "192.0.2.2:7".parse().unwrap());
    let text = serde_json::to_string(&a).unwrap();
    let read: Link = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    assert_eq!(read.device(), a.device());
    assert!(!format!("{a:?}").contains(&*Secret::from_bytes([1; 32]).danger_text()));
}
