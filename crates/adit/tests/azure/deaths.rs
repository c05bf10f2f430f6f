//! A hub that is killed at one commit after another of a life at Azure, and the hub that comes after it.
//!
//! `dying.c` counts the hub's requests that its store be on the disk, and kills it before the one of a number.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use netlab::{Lab, Process, wait_until};
use serde_json::{Value, json};

use crate::cloud::{Kind, Lit, SOON, quick};
use crate::hub::Hub;
use crate::lanes;
use crate::needs_machines;
use crate::through;

/// No life has as many commits.
const MOST: usize = 300;

/// How long between two looks at a lease.
const LOOK: Duration = Duration::from_millis(150);

/// The key of a client that comes later.
const LATER: &str = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";

#[test]
fn a_hub_that_is_killed_at_any_commit_of_a_machine_s_life_leaves_a_working_lease_or_nothing() {
    kill_at_each(Kind::Vm, 24);
}

#[test]
fn a_hub_that_is_killed_at_any_commit_of_a_container_s_life_leaves_a_working_lease_or_nothing() {
    kill_at_each(Kind::Container, 18);
}

/// Lets hubs die at one commit after another, until one outlives the life of its lease. A life has so many at least.
fn kill_at_each(kind: Kind, least: usize) {
    needs_machines!();
    netlab::requires!("cc");
    let lab = Lab::new();
    let library = lab.folder().join("dying.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hub/dying.c");
    let compile = lab.host("compiler").command("cc").args(["-shared", "-fPIC", "-o"]);
    compile.arg(&library).args([source, "-ldl"]).run();
    let library = library.to_str().expect("a path of letters");
    let (outlived, worked) = (AtomicUsize::new(MOST), AtomicUsize::new(0));
    lanes::each(1..MOST, |number| {
        if number >= outlived.load(Ordering::Acquire) {
            return;
        }
        match dies_and_is_mended(kind, library, number) {
            Some(worked_on) => {
                worked.fetch_add(usize::from(worked_on), Ordering::AcqRel);
            }
            None => {
                outlived.fetch_min(number, Ordering::AcqRel);
            }
        }
    });
    let deaths = outlived.into_inner() - 1;
    assert!((least..MOST - 1).contains(&deaths), "{kind:?}: {deaths} deaths");
    let worked = worked.into_inner();
    assert!(
        (4..deaths).contains(&worked),
        "{kind:?}: of {deaths} leases {worked} worked on"
    );
}

/// Whether the lease works on after the hub's death at that commit; `None` if it does not die. Whatever it leaves, the next one
/// mends, and nothing is left of it.
fn dies_and_is_mended(kind: Kind, library: &str, number: usize) -> Option<bool> {
    let about = format!("{kind:?}, commit {number}");
    let lit = Lit::new(quick());
    let number = number.to_string();
    let dying = [
        ("LD_PRELOAD", library),
        ("DYING_CALL", "fsync"),
        ("DYING_AT", &number),
        ("DYING_FILE", "hub.db"),
    ];
    let killed = |mut process: Process| {
        // A hub that hangs or gives up has not been killed.
        let ended = process.wait(SOON);
        assert_eq!(
            ended.signal(),
            Some(libc::SIGKILL),
            "{about}: {ended}\n{}",
            process.log()
        );
    };
    match through::hub_with(&lit, &dying) {
        // Of its own start, which is the same at every place: the hub's own tests look what follows on that.
        Err(process) => {
            killed(process);
            return Some(false);
        }
        Ok(hub) => {
            if live(&hub, kind).is_some() {
                assert_eq!((lit.left(), lit.light.count()), (Vec::new(), 0), "{about}");
                return None;
            }
            killed(hub.process);
        }
    }
    let hub = through::hub_with(&lit, &[]);
    let hub = hub.unwrap_or_else(|process| panic!("{about}: no hub comes up again:\n{}", process.log()));
    let (status, page) = hub.ask("GET", "leases", None);
    let leases = page["items"]
        .as_array()
        .unwrap_or_else(|| panic!("{about}: {status} {page}"));
    assert!(leases.len() <= 1, "{about}: one lease was asked for: {page}");
    let works = leases.iter().any(|lease| mend(&lit, &hub, lease, &about));
    wait_until("nothing is left at Azure", SOON, || lit.left().is_empty().then_some(()));
    assert_eq!(lit.light.count(), 0, "{about}");
    assert!(lit.light.made() <= 1, "{about}: one gateway was asked for");
    Some(works)
}

/// Brings a lease to its end; whether it worked before that.
fn mend(lit: &Lit, hub: &Hub, lease: &Value, about: &str) -> bool {
    let id = lease["id"].as_str().expect("a lease has an id");
    let follow = |what: &str, fact: fn(&Value) -> bool| {
        let lease = until(hub, id, what, fact);
        lease.unwrap_or_else(|| panic!("{about}: the hub gives no answer"))
    };
    let lease = follow("ready or removed", |lease| is(lease, "ready") || is(lease, "removed"));
    let works = is(&lease, "ready");
    if works {
        assert_eq!(lit.light.gateways(), 1, "{about}: {lease}");
        let later = json!({ "name": "later", "public_key": LATER });
        let (status, answer) = hub.ask("POST", &format!("leases/{id}/peers"), Some(&later));
        assert_eq!(status, 202, "{about}: {answer}");
        // Only the gateway's report, through its tunnel, tells the address that it has given.
        follow("answered by its gateway", |lease| {
            let mut peers = lease["peers"].as_array().into_iter().flatten();
            let later = peers.find(|peer| peer["public_key"] == LATER);
            later.is_some_and(|later| later["addresses"] != json!([]))
        });
        let (status, problem) = hub.ask("DELETE", &format!("leases/{id}"), None);
        assert_eq!(status, 202, "{about}: {problem}");
        follow("removed", |lease| is(lease, "removed"));
    }
    works
}

/// Asks for a lease, and ends it once it is ready; `None` if the hub dies meanwhile.
fn live(hub: &Hub, kind: Kind) -> Option<()> {
    let (status, lease) = hub.try_ask("POST", "leases", Some(&through::request(kind)))?;
    assert_eq!(status, 202, "{lease}");
    let id = lease["id"].as_str().expect("a lease has an id");
    until(hub, id, "ready", |lease| is(lease, "ready"))?;
    hub.try_ask("DELETE", &format!("leases/{id}"), None)?;
    until(hub, id, "removed", |lease| is(lease, "removed")).map(drop)
}

fn is(lease: &Value, state: &str) -> bool {
    lease["state"] == state
}

/// Asks for a lease until this is so of it; `None` if the hub gives no answer. Not so often that asking is all that is done.
fn until(hub: &Hub, id: &str, what: &str, fact: fn(&Value) -> bool) -> Option<Value> {
    let begun = Instant::now();
    loop {
        let (_, lease) = hub.try_ask("GET", &format!("leases/{id}"), None)?;
        if fact(&lease) {
            return Some(lease);
        }
        assert!(begun.elapsed() < SOON, "the lease is not {what}: {lease}");
        std::thread::sleep(LOOK);
    }
}
