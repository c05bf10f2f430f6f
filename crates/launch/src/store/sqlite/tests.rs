//! The store: what it keeps, what it refuses, and what it does when the disk is full.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use super::*;
use crate::{
    Lease, LeaseId, Moment, State,
    lease::Event,
    order::{Keys, Order},
    policy::Policy,
    store::{Filter, IdempotencyKey, Inserted, Limit, NewLease, Store},
};

const START: Moment = Moment::from_millis(1_795_000_000_000);

fn lease(number: u64, owner: &str) -> Lease {
    let order = Order {
        keys: Keys::Gateway,
        ..Order::plain("simulate", 1_800)
    };
    let now = START + Duration::from_secs(number);
    let mut lease = Lease::new(LeaseId::new(now, number.into()), owner, order, &[], true, now);
    lease.announce(now);
    lease
}

fn insert(store: &Database, lease: &mut Lease, key: Option<&IdempotencyKey>, policy: &Policy) -> Inserted {
    let notices = lease.take_notices();
    let now = lease.created_at;
    let new = NewLease {
        lease,
        notices: &notices,
        key,
        policy,
    };
    store.insert(&new, now).unwrap()
}

fn key(text: &str, hash: u8) -> IdempotencyKey {
    IdempotencyKey {
        key: text.to_owned(),
        body_hash: [hash; 32],
    }
}

#[test]
fn a_file_is_private_and_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.db");
    let store = Database::open(&path).unwrap();
    let mut kept = lease(1, "anna");
    assert_eq!(insert(&store, &mut kept, None, &Policy::default()), Inserted::New);
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    drop(store);
    let store = Database::open(&path).unwrap();
    assert_eq!(Store::read(&store, kept.id).unwrap(), Some(kept.clone()));
    assert_eq!(store.notices(kept.id, 0).unwrap()[0].number, 1);
    assert_eq!(Store::read(&store, LeaseId::new(START, 99)).unwrap(), None);
    store
        .write(|transaction| transaction.pragma_update(None, "user_version", 99))
        .unwrap();
    drop(store);
    assert!(matches!(
        Database::open(&path).unwrap_err(),
        StoreError::Newer { found: 99, .. }
    ));
}

#[test]
fn a_row_that_was_changed_meanwhile_is_not_overwritten() {
    let store = Database::in_memory().unwrap();
    let mut ours = lease(1, "anna");
    insert(&store, &mut ours, None, &Policy::default());
    let mut theirs = ours.clone();
    theirs.handle(Event::End, START);
    let notices = theirs.take_notices();
    store.update(&mut theirs, &notices).unwrap();
    let before = ours.clone();
    assert!(matches!(store.update(&mut ours, &[]).unwrap_err(), StoreError::Stale));
    assert_eq!(ours, before);
    assert_eq!(Store::read(&store, ours.id).unwrap().unwrap().state, State::Removing);
    assert_eq!(store.notices(ours.id, 1).unwrap().len(), notices.len());
}

#[test]
fn a_request_made_twice_is_one() {
    let store = Database::in_memory().unwrap();
    let policy = Policy::default();
    let mut first = lease(1, "anna");
    let id = first.id;
    // (owner, key, hash, what comes of it)
    assert_eq!(insert(&store, &mut first, Some(&key("k", 1)), &policy), Inserted::New);
    assert_eq!(
        insert(&store, &mut lease(2, "anna"), Some(&key("k", 1)), &policy),
        Inserted::Again(id)
    );
    assert_eq!(
        insert(&store, &mut lease(3, "anna"), Some(&key("k", 2)), &policy),
        Inserted::KeyReused
    );
    assert_eq!(
        insert(&store, &mut lease(4, "bert"), Some(&key("k", 2)), &policy),
        Inserted::New
    );
    assert_eq!(
        insert(&store, &mut lease(5, "anna"), Some(&key("other", 1)), &policy),
        Inserted::New
    );
    // A day later a key is as new.
    assert_eq!(
        insert(&store, &mut lease(90_000, "anna"), Some(&key("k", 2)), &policy),
        Inserted::New
    );
    assert_eq!(store.list(&Filter::default()).unwrap().leases.len(), 4);
}

#[test]
fn limits_are_those_of_the_moment() {
    let policy = Policy {
        leases_per_user: Some(2),
        leases: Some(3),
        minutes_a_day: Some(75),
        ..Policy::default()
    };
    let store = Database::in_memory().unwrap();
    let mut first = lease(1, "anna");
    assert_eq!(insert(&store, &mut first, None, &policy), Inserted::New);
    assert_eq!(insert(&store, &mut lease(2, "anna"), None, &policy), Inserted::New);
    let refused = insert(&store, &mut lease(3, "anna"), None, &policy);
    assert_eq!(refused, Inserted::Limit(Limit::PerUser { most: 2 }));
    assert_eq!(insert(&store, &mut lease(4, "bert"), None, &policy), Inserted::New);
    let refused = insert(&store, &mut lease(5, "carl"), None, &policy);
    assert_eq!(refused, Inserted::Limit(Limit::InAll { most: 3 }));
    // Removed after 5 of its 30 minutes.
    first.ready_at = Some(START);
    first.removed_at = Some(START + Duration::from_secs(300));
    first.state = State::Removed;
    store.update(&mut first, &[]).unwrap();
    let usage = store.usage(Some("anna"), START, START).unwrap();
    assert_eq!((usage[0].running, usage[0].leases, usage[0].minutes), (1, 2, 35));
    assert_eq!(insert(&store, &mut lease(6, "anna"), None, &policy), Inserted::New);
    let mut second = Store::read(&store, lease(2, "").id).unwrap().unwrap();
    (second.state, second.removed_at) = (State::Removed, Some(START));
    store.update(&mut second, &[]).unwrap();
    // It never came to be: nothing of it counts.
    assert_eq!(store.usage(Some("anna"), START, START).unwrap()[0].minutes, 35);
    let mut long = lease(7, "anna");
    long.granted_secs = 3_600;
    assert_eq!(
        insert(&store, &mut long, None, &policy),
        Inserted::Limit(Limit::Minutes { most: 75, left: 40 })
    );
}

#[test]
fn pages_go_from_the_newest_to_the_oldest() {
    let store = Database::in_memory().unwrap();
    let policy = Policy::own();
    for number in 0..10 {
        insert(
            &store,
            &mut lease(number, if number % 2 == 0 { "anna" } else { "bert" }),
            None,
            &policy,
        );
    }
    let mut filter = Filter {
        owner: Some("anna".to_owned()),
        limit: 2,
        states: vec![State::Requested, State::Ready],
        ..Filter::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = store.list(&filter).unwrap();
        seen.extend(page.leases.iter().map(|lease| lease.created_at.since(START).as_secs()));
        match page.next {
            Some(next) => filter.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, [8, 6, 4, 2, 0]);
    let removed = Filter {
        running: Some(false),
        ..Filter::default()
    };
    assert!(store.list(&removed).unwrap().leases.is_empty());
    assert_eq!(store.unfinished().unwrap().len(), 10);
}

#[test]
fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Database::open(&folder.path().join("leases.db")).unwrap();
    let mut kept = lease(1, "anna");
    insert(&store, &mut kept, None, &Policy::own());
    let pages: u32 = store
        .write(|transaction| transaction.pragma_query_value(None, "page_count", |row| row.get(0)))
        .unwrap();
    let limit = |pages: u32| {
        let writer = store.writer.lock().unwrap();
        writer.pragma_update(None, "max_page_count", pages).unwrap();
    };
    limit(pages);
    let mut number = 2;
    let full = loop {
        let mut more = lease(number, "anna");
        let notices = more.take_notices();
        let new = NewLease {
            lease: &more,
            notices: &notices,
            key: None,
            policy: &Policy::own(),
        };
        match store.insert(&new, more.created_at) {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(full.to_string().contains("full"), "{full}");
    assert!(store.check().is_err());
    assert_eq!(Store::read(&store, kept.id).unwrap(), Some(kept.clone()));
    assert_eq!(store.unfinished().unwrap().len(), usize::try_from(number - 1).unwrap());
    limit(pages + 1_000);
    store.check().unwrap();
    store.update(&mut kept, &[]).unwrap();
}

#[test]
fn what_is_over_for_long_is_forgotten_with_its_history_and_nothing_else() {
    let store = Database::in_memory().unwrap();
    let day = Duration::from_secs(86_400);
    let before = START + 10 * day;
    // (removed after so many days, is forgotten?)
    let cases = [
        (None, false),
        (Some(1), true),
        (Some(9), true),
        (Some(10), false),
        (Some(11), false),
    ];
    let mut leases = Vec::new();
    for (number, (days, is_forgotten)) in (1..).zip(cases) {
        let mut lease = lease(number, "anna");
        let key = key(&format!("key-{number}"), 1);
        insert(&store, &mut lease, Some(&key), &Policy::own());
        lease.removed_at = days.map(|days| START + days * day);
        store.update(&mut lease, &[]).unwrap();
        leases.push((lease.id, is_forgotten));
    }
    let now = START + 400 * day;
    assert_eq!(store.forget(before, 1, now).unwrap(), 1);
    assert_eq!(store.forget(before, 10, now).unwrap(), 1);
    assert_eq!(store.forget(before, 10, now).unwrap(), 0);
    for (id, is_forgotten) in leases {
        assert_eq!(Store::read(&store, id).unwrap().is_none(), is_forgotten, "{id}");
        assert_eq!(store.notices(id, 0).unwrap().is_empty(), is_forgotten, "{id}");
    }
    let requests: u32 = store
        .read(|connection| connection.query_row("SELECT COUNT(*) FROM requests", [], |row| row.get(0)))
        .map_err(|error: rusqlite::Error| error)
        .unwrap();
    assert_eq!(requests, 0, "a request is known for a day");
}
