//! What is written, replaced, left and removed.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[test]
fn what_a_lease_wrote_is_private_and_goes_with_it() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a/adit");
    let mut files = Files::open(&directory).unwrap();
    let path = files
        .write(&name("phone"), "phone, until then", "[Interface]\n")
        .unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "# adit launch: phone, until then\n[Interface]\n"
    );
    assert!(files.remove().is_empty());
    assert!(!directory.exists());
}

#[test]
fn what_was_left_is_nobodys_to_remove() {
    let parent = tempfile::tempdir().unwrap();
    let mut files = Files::open(parent.path()).unwrap();
    let path = files
        .write(&name("phone"), "phone, until then", "[Interface]\n")
        .unwrap();
    files.leave().unwrap();
    drop(files);
    let mut files = Files::open(parent.path()).unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "# adit lease: phone, until then\n[Interface]\n"
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(files.check(&name("phone")).is_err() && files.remove().is_empty());
}

#[test]
fn the_key_of_a_login_is_private_and_goes_or_is_left_as_a_configuration() {
    let parent = tempfile::tempdir().unwrap();
    let login = Login::new().unwrap();
    let mut files = Files::open(parent.path()).unwrap();
    let path = files.write_login("login, until then", &login).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(first_line(&path).as_deref(), Some("# adit launch: login, until then"));
    assert!(files.remove().is_empty() && !path.exists());
    // That of a launch that was killed goes with the next one.
    files.write_login("killed", &login).unwrap();
    files.written.clear();
    files.remove_stale().unwrap();
    assert!(!path.exists());
    // One that was left is nobody's to remove, nor is a person's own.
    files.write_login("login, until then", &login).unwrap();
    files.leave().unwrap();
    assert_eq!(first_line(&path).as_deref(), Some("# adit lease: login, until then"));
    assert!(files.write_login("again", &login).is_err() && files.remove().is_empty() && path.exists());
    fs::write(&path, "somebody's").unwrap();
    assert!(files.write_login("again", &login).is_err() && files.remove().is_empty() && path.exists());
}

#[test]
fn what_cannot_all_be_left_goes_with_its_lease() {
    let parent = tempfile::tempdir().unwrap();
    let mut files = Files::open(parent.path()).unwrap();
    let [phone, laptop] = ["phone", "laptop"].map(|peer| files.write(&name(peer), peer, "[Interface]\n").unwrap());
    fs::remove_file(laptop).unwrap();
    assert!(files.leave().is_err() && phone.exists());
    assert!(files.remove().is_empty() && !phone.exists());
}

#[test]
fn a_foreign_file_is_neither_overwritten_nor_removed() {
    let parent = tempfile::tempdir().unwrap();
    let mut files = Files::open(parent.path()).unwrap();
    let foreign = parent.path().join("phone.conf");
    fs::write(&foreign, "[Interface]\n").unwrap();
    assert!(
        files
            .check(&name("phone"))
            .unwrap_err()
            .to_string()
            .contains("--output")
    );
    assert!(files.write(&name("phone"), "", "").is_err());
    let own = files.write(&name("laptop"), "laptop", "[Interface]\n").unwrap();
    fs::write(&own, "mine now\n").unwrap();
    drop(files);
    assert!(foreign.exists() && own.exists());
}

#[test]
fn what_a_killed_lease_left_is_cleared_by_the_next() {
    let parent = tempfile::tempdir().unwrap();
    let left = Files::open(parent.path())
        .unwrap()
        .write(&name("phone"), "phone", "[Interface]\n")
        .unwrap();
    assert!(!left.exists(), "one that ends removes it itself");
    fs::write(&left, format!("{MARK}phone\n[Interface]\n")).unwrap();
    let files = Files::open(parent.path()).unwrap();
    assert!(!left.exists());
    files.check(&name("phone")).unwrap();
}

#[test]
fn what_comes_late_is_as_private_and_goes_with_the_lease_or_stays_with_its_person() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("adit");
    let mut files = Files::open(&directory).unwrap();
    let write = |peer: &str, keeper, former, conf: &str| {
        let mut late = Late::new(&directory, &name(peer), keeper, former)?;
        late.write(peer, conf).map(Path::to_owned)
    };
    let tablet = write("tablet", Keeper::Driver, Former::Nothing, "[Interface]\n").unwrap();
    assert_eq!(fs::metadata(&tablet).unwrap().permissions().mode() & 0o777, 0o600);
    // (peer, who removes it, what may be there, what is said)
    for (peer, keeper, former, problem) in [
        ("tablet", Keeper::Driver, Former::Nothing, Some("of another lease")),
        ("tablet", Keeper::Person, Former::OfKey(None), Some("has not the key")),
        ("tablet", Keeper::Driver, Former::OfKey(None), None),
        ("laptop", Keeper::Person, Former::Nothing, None),
        ("laptop", Keeper::Person, Former::OfKey(None), Some("has not the key")),
    ] {
        let said = write(peer, keeper, former, "[Peer]\n").map_err(|error| error.to_string());
        match problem {
            Some(problem) => assert!(said.unwrap_err().contains(problem), "{peer}"),
            None => assert!(
                fs::read_to_string(said.unwrap())
                    .unwrap()
                    .ends_with(&format!("{peer}\n[Peer]\n"))
            ),
        }
    }
    let foreign = directory.join("phone.conf");
    fs::write(&foreign, "[Interface]\n").unwrap();
    assert!(
        write("phone", Keeper::Driver, Former::OfKey(None), "")
            .unwrap_err()
            .to_string()
            .contains("not from a launch")
    );
    forget(&directory, "phone").unwrap();
    let gone = write("gone", Keeper::Driver, Former::Nothing, "").unwrap();
    forget(&directory, "gone").unwrap();
    assert!(foreign.exists() && !gone.exists());
    assert!(files.remove().is_empty());
    let left: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.len() == 2 && directory.join("laptop.conf").exists() && foreign.exists(),
        "{left:?}"
    );
}

#[test]
fn only_the_file_with_the_key_that_a_peer_has_is_replaced() {
    let parent = tempfile::tempdir().unwrap();
    let key = |byte| PrivateKey::from_random([byte; 32]);
    let conf = |byte| format!("[Interface]\nPrivateKey = {} # sample\n", *key(byte).danger_base64());
    let path = parent.path().join("phone.conf");
    // (whose key is in the file, which key the peer has, what is said)
    for (there, present, problem) in [
        (None, Some(1), None),
        (Some(1), Some(1), None),
        (Some(2), Some(1), Some("has not the key that phone has")),
        (Some(1), None, Some("--output DIR")),
    ] {
        let _absent = fs::remove_file(&path);
        if let Some(there) = there {
            fs::write(&path, format!("{LEFT}phone\n{}", conf(there))).unwrap();
        }
        let former = Former::OfKey(present.map(|byte| key(byte).public_key()));
        let late = Late::new(parent.path(), &name("phone"), Keeper::Person, former);
        let said = late.map(|mut late| late.write("phone", &conf(3)).map(Path::to_owned));
        match problem {
            None => assert_eq!(said.unwrap().unwrap(), path),
            Some(problem) => assert!(said.unwrap_err().to_string().contains(problem)),
        }
        let left = if problem.is_some() { there } else { Some(3) };
        assert_eq!(
            public_key(&fs::read_to_string(&path).unwrap()),
            left.map(|byte| key(byte).public_key())
        );
    }
}

#[test]
fn what_is_taken_back_is_what_was_written() {
    let parent = tempfile::tempdir().unwrap();
    let late = |peer: &str| Late::new(parent.path(), &name(peer), Keeper::Person, Former::Nothing).unwrap();
    let (unwritten, mut own, mut replaced) = (late("laptop"), late("phone"), late("tablet"));
    fs::write(parent.path().join("laptop.conf"), "of another command\n").unwrap();
    let own_path = own.write("phone", "[Interface]\n").unwrap().to_owned();
    let replaced_path = replaced.write("tablet", "[Interface]\n").unwrap().to_owned();
    fs::write(&replaced_path, "mine now\n").unwrap();
    for late in [&unwritten, &own, &replaced] {
        late.take_back().unwrap();
    }
    assert!(parent.path().join("laptop.conf").exists() && replaced_path.exists());
    assert!(!own_path.exists());
}

#[test]
fn two_leases_do_not_share_a_directory() {
    let parent = tempfile::tempdir().unwrap();
    let _first = Files::open(parent.path()).unwrap();
    assert!(
        Files::open(parent.path())
            .unwrap_err()
            .to_string()
            .contains("another launch")
    );
}

#[test]
fn what_was_written_gives_way_to_the_next_and_nothing_else_does() {
    let parent = tempfile::tempdir().unwrap();
    let mut files = Files::open(parent.path()).unwrap();
    let phone = name("phone");
    let path = files.write(&phone, "phone, until then", "[Interface]\n").unwrap();
    files.write(&phone, "phone, until later", "[Peer]\n").unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "# adit launch: phone, until later\n[Peer]\n"
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&path, "mine now\n").unwrap();
    assert!(files.write(&phone, "phone", "").is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine now\n");
    fs::remove_file(&path).unwrap();
    files.write(&phone, "phone", "[Interface]\n").unwrap();
    assert!(files.remove().is_empty() && !path.exists());
}
