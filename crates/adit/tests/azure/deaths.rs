//! A launcher's process that is killed at one commit after another of a lease's life, and the process that comes after it.
//!
//! ```text
//!   this test ── starts ─▶ this program as `the_launcher_of_a_life`, killed by dying.c before its commit N
//!             ── starts ─▶ the same without that: the lease works, or nothing is left
//! ```

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use launch::launcher::{Config, Filter};
use launch::lease::End;
use launch::policy::Policy;
use launch::store::Database;
use launch::{Launcher, LauncherSecret, State};

use crate::cloud::{Account, INSTANCE, Kind, Lit, admin, create, place_of, quick, reach};
use crate::lanes;
use crate::needs_machines;

/// No life has as many commits.
const MOST: usize = 200;

/// How long a process may take for a life.
const LIMIT: Duration = Duration::from_secs(60);

/// The variables that the process gets: its folder, its place, and the account there.
const DATA: &str = "LIVES_DATA";
const KIND: &str = "LIVES_KIND";

#[test]
fn a_launcher_that_is_killed_at_any_commit_of_a_machine_s_life_leaves_a_working_lease_or_nothing() {
    kill_at_each(Kind::Vm, 12);
}

#[test]
fn a_launcher_that_is_killed_at_any_commit_of_a_container_s_life_leaves_a_working_lease_or_nothing() {
    kill_at_each(Kind::Container, 9);
}

/// Lets launchers die at one commit after another, until one outlives the life of its lease. A life has so many at least.
fn kill_at_each(kind: Kind, least: usize) {
    needs_machines!();
    netlab::requires!("cc");
    let outlived = AtomicUsize::new(MOST);
    lanes::each(1..MOST, |number| {
        if number < outlived.load(Ordering::Acquire) && !dies_and_is_mended(kind, number) {
            outlived.fetch_min(number, Ordering::AcqRel);
        }
    });
    let deaths = outlived.into_inner() - 1;
    assert!((least..MOST - 1).contains(&deaths), "{kind:?}: {deaths} deaths");
}

/// Whether the launcher dies at that commit. Whatever it leaves, the next one mends, and nothing is left of it.
fn dies_and_is_mended(kind: Kind, number: usize) -> bool {
    let about = format!("{kind:?}, commit {number}");
    let lit = Lit::new(quick());
    let library = lit.hub.folder().join("dying.so");
    lit.hub
        .command("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hub/dying.c"), "-ldl"])
        .run();
    let process = || {
        let program = std::env::current_exe().expect("this program has a path");
        let arguments = ["--exact", "deaths::the_launcher_of_a_life", "--ignored", "--nocapture"];
        let command = lit.hub.command(program).args(arguments).limit(LIMIT);
        let command = command.env(DATA, lit.hub.folder()).env(KIND, kind.name());
        lit.account()
            .variables()
            .into_iter()
            .fold(command, |command, (name, value)| command.env(name, value))
    };
    let first = process()
        .env("LD_PRELOAD", &library)
        .env("DYING_CALL", "fsync")
        .env("DYING_AT", number.to_string())
        .env("DYING_FILE", "hub.db")
        .output();
    let died = first.status.signal() == Some(libc::SIGKILL);
    assert!(died || first.status.success(), "{about}: {first:?}");
    if died {
        let next = process().output();
        assert!(next.status.success(), "{about}: {}\n{}", next.stdout, next.stderr);
        assert!(next.stdout.contains("the life is over"), "{about}: {next:?}");
    }
    assert_eq!(lit.left(), [""; 0], "{about}");
    assert_eq!(lit.light.count(), 0, "{about}");
    assert!(lit.light.made() <= 1, "{about}: one gateway was asked for");
    died
}

/// Asks for a lease, ends it once it answers, and ends when it is removed; goes on with the one that its store knows.
#[test]
#[ignore = "a process of the tests above"]
fn the_launcher_of_a_life() {
    let Some(data) = std::env::var_os(DATA).map(PathBuf::from) else {
        return;
    };
    let name = std::env::var(KIND).expect("a place is named");
    let kind = Kind::BOTH
        .into_iter()
        .find(|kind| kind.name() == name)
        .expect("it is one of the two");
    let account = Account::of_variables();
    let secret = LauncherSecret::of(&data).expect("the secret can be read or made");
    let store = Arc::new(Database::open(&data.join("hub.db")).expect("the store can be opened"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be had");
    runtime.block_on(async {
        let config = Config {
            policy: Policy::own(),
            ..Config::new(INSTANCE)
        };
        let launcher = Launcher::start(config, store, vec![place_of(kind, &account, &secret)]);
        let launcher = launcher.expect("the store can be read");
        let known = launcher
            .list(&admin(), &Filter::default())
            .await
            .expect("leases are listed")
            .leases;
        let id = match known.as_slice() {
            [] => create(&launcher).await,
            [lease] => lease.id,
            several => panic!("one lease was asked for: {several:?}"),
        };
        let lease = answered(&launcher, id).await;
        if lease == State::Ready {
            launcher.end(&admin(), id).await.expect("a lease can be ended");
        }
        let removed = reach(&launcher, id, &[State::Removed]).await;
        assert_eq!(removed.outcome, Some(End::Asked), "{removed:?}");
        launcher.stop().await;
    });
    println!("the life is over");
}

/// Waits until this process has heard of the gateway, through its tunnel, or nothing is left of it.
async fn answered(launcher: &Launcher, id: launch::LeaseId) -> State {
    let heard = async {
        loop {
            let lease = launcher.read(&admin(), id).await.expect("the lease is there");
            if lease.state == State::Removed || lease.state == State::Ready && !lease.is_recovering() {
                return lease.state;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT / 2, heard)
        .await
        .expect("the gateway answers, or is removed")
}
