//! A file system that is really full: a megabyte in memory, in a process with mounts of its own.

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::Command,
};

use rustix::{
    mount::{MountFlags, mount},
    process::geteuid,
};

use super::*;

/// Set in the process that has mounts of its own.
const INSIDE: &str = "ADIT_TEST_MOUNTS";

#[test]
fn a_full_file_system_holds_every_step_up_and_loses_none() {
    if env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(live_on_a_small_disk());
    }
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--mount");
    let may = Command::new(command.get_program())
        .args(command.get_args())
        .arg("true")
        .output();
    if !may.is_ok_and(|output| output.status.success()) {
        // The store's own test has a database whose pages are used up.
        eprintln!("skipped: no mounts of its own here, and so no file system that is full");
        return;
    }
    let test = "launcher::tests::disk::a_full_file_system_holds_every_step_up_and_loses_none";
    command
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Takes all the room that there is.
fn fill(folder: &Path) {
    let mut file = File::create(folder.join("other")).unwrap();
    for size in [4_096, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
}

fn make_room(folder: &Path) {
    fs::remove_file(folder.join("other")).unwrap();
}

async fn live_on_a_small_disk() {
    let folder = tempfile::tempdir().unwrap();
    mount("none", folder.path(), "tmpfs", MountFlags::empty(), Some(c"size=1m")).unwrap();
    let file = folder.path().join("leases.db");
    let place = Simulate::new(quick());
    let database = Arc::new(Database::open(&file).unwrap());
    let launcher = start(Arc::clone(&database) as Arc<dyn Store>, &place);
    let anna = caller("anna");

    // Full before a lease is asked for: there is none, and nothing at the place.
    fill(folder.path());
    assert!(launcher.is_well().await.is_err());
    let refusal = launcher.create(&anna, &request("phone"), None).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Store(_)), "{refusal:?}");
    assert!(place.left().is_empty() && launcher.running().is_empty());
    make_room(folder.path());
    launcher.is_well().await.unwrap();
    let id = create(&launcher).await.id;
    wait_for(&launcher, id, State::Ready).await;

    // Full while it runs: it goes on, and what is wished is refused and not done.
    fill(folder.path());
    let before = launcher.read(&anna, id).await.unwrap();
    let mut refused = 0;
    while let Err(refusal) = launcher.end(&anna, id).await {
        assert!(
            matches!(refusal, Refusal::Store(_) | Refusal::NotReady { .. }),
            "{refusal:?}"
        );
        assert_eq!(launcher.read(&anna, id).await.unwrap().state, before.state);
        assert_eq!(place.left(), [id]);
        refused += 1;
        if refused == 5 {
            make_room(folder.path());
        }
        assert!(refused < 100, "it cannot be ended though there is room");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(refused >= 5, "the disk was not full");
    wait_for(&launcher, id, State::Removed).await;
    assert!(place.left().is_empty());

    // Full in the middle of a set-up: it stands still, and goes on when there is room.
    let next = create(&launcher).await.id;
    fill(folder.path());
    tokio::time::sleep(Duration::from_millis(700)).await;
    let (stands, kept) = (
        launcher.read(&anna, next).await.unwrap(),
        Store::read(database.as_ref(), next).unwrap(),
    );
    assert_eq!(stands.state, kept.unwrap().state, "nothing is shown that is not kept");
    make_room(folder.path());
    wait_for(&launcher, next, State::Ready).await;
    launcher.stop().await;

    // What was kept is whole.
    drop((launcher, database));
    let database = Database::open(&file).unwrap();
    let found = |id| Store::read(&database, id).unwrap().unwrap().state;
    assert_eq!((found(id), found(next)), (State::Removed, State::Ready));
    let launcher = start(Arc::new(database), &place);
    launcher.end(&anna, next).await.unwrap();
    wait_for(&launcher, next, State::Removed).await;
    assert!(place.left().is_empty());
}
