//! A `resolv.conf` that nobody manages: how a tunnel takes its place and gives it back.
//!
//! Each tunnel that is in charge keeps what it found under `resolv.conf.before-NAME`, beside the file; the file that it
//! wrote names it in the first line. Where a container runtime or `ip netns exec` has mounted the file, it is written in
//! place, and the copy's name ends in its inode: another namespace may see the same directory with another file mounted.
//! Tunnels may pile up and end in any order: what stands before the one that ends
//! takes its place. A process that is killed half-way leaves either the file that was, or one that says whose it is;
//! both are mended by [`restore`].

use std::{
    ffi::OsString,
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::{Error, Resolv};

/// The first line of a file of ours begins with this; the tunnel's name and a semicolon follow.
const MARK: &str = "# Written by adit for the tunnel ";

/// Puts a tunnel's resolvers in charge and keeps what was there beside it. Without servers of its own the tunnel adds
/// its search domains to the servers that are there.
///
/// # Errors
///
/// [`Error`]; the file is then as it was.
pub(super) fn set(path: &Path, tunnel: &str, wanted: &Resolv) -> Result<(), Error> {
    let before = before(path, tunnel);
    if owner(path).as_deref() == Some(tunnel) {
        return Err(Error::Taken {
            path: path.to_owned(),
            tunnel: tunnel.to_owned(),
        });
    }
    let mut wanted = wanted.clone();
    if wanted.servers.is_empty() {
        let found = Resolv::read(path).unwrap_or_default();
        (wanted.servers, wanted.options) = (found.servers, found.options);
    }
    keep(path, &before).map_err(|cause| Error::File {
        action: "keeping a copy at",
        path: before.clone(),
        cause,
    })?;
    if let Err(cause) = put(path, &fresh(&before), text(&wanted, tunnel, &before).as_bytes()) {
        let _best_effort = fs::remove_file(&before);
        return Err(Error::File {
            action: "writing",
            path: path.to_owned(),
            cause,
        });
    }
    Ok(())
}

/// Gives back what was there before a tunnel took charge. If somebody else has written the file since, it stays.
/// Without such a tunnel nothing happens.
///
/// # Errors
///
/// [`Error`] if a file refuses.
pub(super) fn restore(path: &Path, tunnel: &str) -> Result<(), Error> {
    let before = before(path, tunnel);
    let _of_a_killed_process = fs::remove_file(fresh(&before));
    if fs::symlink_metadata(&before).is_err() {
        return Ok(());
    }
    let place = place_of(path, tunnel);
    let done = match &place {
        Some(place) => give_back(&before, place),
        None => fs::remove_file(&before),
    };
    done.map_err(|cause| Error::File {
        action: "restoring",
        path: place.unwrap_or(before),
        cause,
    })
}

/// The file that a tunnel writes.
fn text(wanted: &Resolv, tunnel: &str, before: &Path) -> String {
    let mut text = format!("{MARK}{tunnel}; what was here is in {}.\n", before.display());
    for server in &wanted.servers {
        let _infallible = writeln!(text, "nameserver {server}");
    }
    for (word, values) in [("search", &wanted.search), ("options", &wanted.options)] {
        if !values.is_empty() {
            let _infallible = writeln!(text, "{word} {}", values.join(" "));
        }
    }
    text
}

/// Whether a tunnel is in charge of the file, or would be if another were not on top of it.
pub(super) fn is_set(path: &Path, tunnel: &str) -> bool {
    place_of(path, tunnel).is_some()
}

/// The tunnel that wrote the file, `None` if none did.
fn owner(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let line = bytes.split(|&byte| byte == b'\n').next()?;
    let rest = std::str::from_utf8(line).ok()?.strip_prefix(MARK)?;
    rest.split_once(';').map(|(name, _)| name.to_owned())
}

/// Where the file that the tunnel wrote lies: in charge, or kept by a tunnel that came later.
fn place_of(path: &Path, tunnel: &str) -> Option<PathBuf> {
    let is_ours = |path: &Path| owner(path).as_deref() == Some(tunnel);
    if is_ours(path) {
        return Some(path.to_owned());
    }
    let prefix = suffixed(path, ".before-");
    let prefix = prefix.file_name()?.to_str()?;
    let mount = mounted(path);
    let entries = fs::read_dir(path.parent()?).ok()?;
    let mut kept = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(prefix));
        rest.is_some_and(|rest| match &mount {
            Some(mount) => rest.ends_with(mount.as_str()),
            None => !rest.contains(':'),
        })
    });
    kept.find(|entry| is_ours(&entry.path())).map(|entry| entry.path())
}

fn before(path: &Path, tunnel: &str) -> PathBuf {
    suffixed(path, &format!(".before-{tunnel}{}", mounted(path).unwrap_or_default()))
}

/// Where a tunnel's files are written before they are put in place; like [`mounted`], with a colon.
fn fresh(before: &Path) -> PathBuf {
    suffixed(before, ":new")
}

/// What tells a mounted file from others at the same path, `:` and its inode (no tunnel has a colon in its name);
/// `None` if the file is one of its directory's.
fn mounted(path: &Path) -> Option<String> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let of = |path: &Path| {
        statx(
            CWD,
            path,
            AtFlags::SYMLINK_NOFOLLOW,
            StatxFlags::INO | StatxFlags::MNT_ID,
        )
        .ok()
    };
    let (file, directory) = (of(path)?, of(path.parent()?)?);
    let place = |found: &rustix::fs::Statx| (found.stx_mnt_id, found.stx_dev_major, found.stx_dev_minor);
    (place(&file) != place(&directory)).then(|| format!(":{}", file.stx_ino))
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Keeps what is at `path`, a link as a link, in one step.
fn keep(path: &Path, kept: &Path) -> io::Result<()> {
    let fresh = fresh(kept);
    let _stale = fs::remove_file(&fresh);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => write_new(&fresh, b"", 0o644)?,
        Err(error) => return Err(error),
        Ok(found) if found.is_symlink() => std::os::unix::fs::symlink(fs::read_link(path)?, &fresh)?,
        Ok(found) => {
            // The same file where that is possible: owner, mode and labels stay with it.
            if fs::hard_link(path, &fresh).is_err() || is_mounted_on(path, &fresh) {
                let _stale = fs::remove_file(&fresh);
                write_new(&fresh, &fs::read(path)?, found.permissions().mode())?;
            }
        }
    }
    fs::rename(&fresh, kept)
}

/// Whether the two are different files although one was just linked from the other.
fn is_mounted_on(path: &Path, link: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    identity(path) != identity(link)
}

/// Writes a file of ours: in one step, or in place where a container runtime has mounted it.
fn put(path: &Path, fresh: &Path, content: &[u8]) -> io::Result<()> {
    if mounted(path).is_some() {
        return overwrite(path, content);
    }
    let _stale = fs::remove_file(fresh);
    let moved = write_new(fresh, content, 0o644).and_then(|()| fs::rename(fresh, path));
    if moved.is_err() {
        let _best_effort = fs::remove_file(fresh);
    }
    match moved {
        // Mounted on a kernel that does not say so (before 5.8).
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => overwrite(path, content),
        moved => moved,
    }
}

fn give_back(kept: &Path, place: &Path) -> io::Result<()> {
    let moved = if mounted(place).is_some() {
        Err(io::ErrorKind::ResourceBusy.into())
    } else {
        fs::rename(kept, place)
    };
    match moved {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            overwrite(place, &fs::read(kept)?)?;
            fs::remove_file(kept)
        }
        moved => moved,
    }
}

/// The new content by one write, then the new length: whoever reads in between finds the whole first line.
fn overwrite(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(content)?;
    file.set_len(u64::try_from(content.len()).unwrap_or(u64::MAX))?;
    file.sync_all()
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode & 0o777)
        .open(path)?;
    // Whatever the caller's umask: every program reads this file.
    file.set_permissions(fs::Permissions::from_mode(mode & 0o777))?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that goes with the test, and the `resolv.conf` in it.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str, content: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("adit-resolv-{}-{name}", std::process::id()));
            fs::create_dir_all(&directory).unwrap();
            let place = Self(directory);
            fs::write(place.path(), content).unwrap();
            place
        }

        fn path(&self) -> PathBuf {
            self.0.join("resolv.conf")
        }

        fn content(&self) -> String {
            fs::read_to_string(self.path()).unwrap()
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _best_effort = fs::remove_dir_all(&self.0);
        }
    }

    fn servers(list: &[&str]) -> Resolv {
        Resolv {
            servers: list.iter().map(|text| text.parse().unwrap()).collect(),
            ..Resolv::default()
        }
    }

    const ORIGINAL: &str = "nameserver 192.0.2.53\nsearch example.org\n";

    #[test]
    fn what_the_c_library_reads_is_read() {
        let text = "# comment\nnameserver 192.0.2.1 # trailing\n nameserver\tfe80::1%eth0\nnameserver nonsense\n\
                    domain old.example\nsearch a.example b.example\noptions ndots:5 edns0\n;options no\n";
        let found = Resolv::parse(text);
        assert_eq!(found.servers, servers(&["192.0.2.1", "fe80::1%eth0"]).servers);
        assert_eq!(found.search, ["a.example", "b.example"]);
        assert_eq!(found.options, ["ndots:5", "edns0"]);
    }

    #[test]
    fn a_tunnel_takes_the_file_and_gives_it_back() {
        let place = Place::new("one", ORIGINAL);
        let wanted = Resolv {
            search: vec!["lan".into()],
            ..servers(&["10.0.0.1", "fd00::1", "fe80::1%eth0"])
        };
        set(&place.path(), "wg0", &wanted).unwrap();
        assert_eq!(Resolv::read(&place.path()).unwrap(), wanted);
        assert!(is_set(&place.path(), "wg0"));
        assert!(!is_set(&place.path(), "wg"));
        assert!(matches!(set(&place.path(), "wg0", &wanted), Err(Error::Taken { .. })));
        restore(&place.path(), "wg0").unwrap();
        assert_eq!(
            (place.content().as_str(), place.names()),
            (ORIGINAL, vec!["resolv.conf".to_owned()])
        );
        restore(&place.path(), "wg0").unwrap();
        assert_eq!(place.content(), ORIGINAL);
    }

    #[test]
    fn a_tunnel_without_servers_adds_its_domains_to_the_servers_that_are_there() {
        let place = Place::new("search", ORIGINAL);
        set(
            &place.path(),
            "wg0",
            &Resolv {
                search: vec!["lan".into()],
                ..Resolv::default()
            },
        )
        .unwrap();
        let found = Resolv::read(&place.path()).unwrap();
        assert_eq!(
            (found.servers, found.search),
            (servers(&["192.0.2.53"]).servers, vec!["lan".to_owned()])
        );
    }

    #[test]
    fn tunnels_that_pile_up_end_in_any_order() {
        for (name, order) in [
            ("up", ["a", "b", "c"]),
            ("down", ["c", "b", "a"]),
            ("mixed", ["b", "a", "c"]),
        ] {
            let place = Place::new(&format!("pile-{name}"), ORIGINAL);
            let mut open = Vec::new();
            for (tunnel, server) in [("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")] {
                set(&place.path(), tunnel, &servers(&[server])).unwrap();
                open.push((tunnel, server));
            }
            for tunnel in order {
                restore(&place.path(), tunnel).unwrap();
                open.retain(|(name, _)| *name != tunnel);
                match open.last() {
                    Some((_, server)) => assert_eq!(Resolv::read(&place.path()).unwrap(), servers(&[server])),
                    None => assert_eq!(place.content(), ORIGINAL),
                }
            }
            assert_eq!(place.names(), ["resolv.conf"]);
        }
    }

    #[test]
    fn a_file_that_somebody_else_wrote_since_stays() {
        let place = Place::new("foreign", ORIGINAL);
        set(&place.path(), "wg0", &servers(&["10.0.0.1"])).unwrap();
        fs::write(place.path(), "nameserver 198.51.100.1\n").unwrap();
        restore(&place.path(), "wg0").unwrap();
        assert_eq!(place.content(), "nameserver 198.51.100.1\n");
        assert_eq!(place.names(), ["resolv.conf"]);
    }

    #[test]
    fn a_tunnel_killed_before_it_wrote_leaves_nothing_to_mend_but_its_copy() {
        let place = Place::new("killed", ORIGINAL);
        keep(&place.path(), &before(&place.path(), "wg0")).unwrap();
        restore(&place.path(), "wg0").unwrap();
        assert_eq!(
            (place.content().as_str(), place.names()),
            (ORIGINAL, vec!["resolv.conf".to_owned()])
        );
        // As does one that was killed while it wrote either file.
        for half in [
            "",
            "nameserver 192.0.2.53\n",
            "# Written by adit for the tunnel wg0; what was here is in x.\n",
        ] {
            fs::write(fresh(&before(&place.path(), "wg0")), half).unwrap();
            restore(&place.path(), "wg0").unwrap();
            assert_eq!(
                (place.content().as_str(), place.names()),
                (ORIGINAL, vec!["resolv.conf".to_owned()])
            );
        }
        // And it may start again over its own remains.
        keep(&place.path(), &before(&place.path(), "wg0")).unwrap();
        set(&place.path(), "wg0", &servers(&["10.0.0.1"])).unwrap();
        restore(&place.path(), "wg0").unwrap();
        assert_eq!(place.content(), ORIGINAL);
    }

    #[test]
    fn a_link_stays_a_link() {
        let place = Place::new("link", ORIGINAL);
        fs::rename(place.path(), place.0.join("stub")).unwrap();
        std::os::unix::fs::symlink("stub", place.path()).unwrap();
        set(&place.path(), "wg0", &servers(&["10.0.0.1"])).unwrap();
        assert!(!fs::symlink_metadata(place.path()).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(place.0.join("stub")).unwrap(), ORIGINAL);
        restore(&place.path(), "wg0").unwrap();
        assert_eq!(fs::read_link(place.path()).unwrap(), PathBuf::from("stub"));
    }

    #[test]
    fn a_mounted_file_is_written_in_place() {
        let place = Place::new("mounted", ORIGINAL);
        let original = place.0.join("original");
        fs::copy(place.path(), &original).unwrap();
        // Namespaces of its own: the mount is seen by this test alone.
        let path = place.path();
        let inside = std::thread::spawn(move || {
            let mounted = private_mount(&original, &path);
            if let Err(error) = mounted {
                assert!(std::env::var_os("ADIT_TEST_ALL").is_none(), "no mount: {error}");
                eprintln!("skipped: no mount of its own: {error}");
                return;
            }
            let wanted = servers(&["10.0.0.1"]);
            set(&path, "wg0", &wanted).unwrap();
            assert_eq!(Resolv::read(&path).unwrap(), wanted);
            assert_eq!(
                Resolv::read(&original).unwrap(),
                wanted,
                "the mounted file is the one that was written"
            );
            restore(&path, "wg0").unwrap();
            assert_eq!(fs::read_to_string(&original).unwrap(), ORIGINAL);
        });
        inside.join().unwrap();
        assert_eq!(place.names(), ["original", "resolv.conf"]);
    }

    /// Mounts `source` on `target` for this thread alone.
    fn private_mount(source: &Path, target: &Path) -> io::Result<()> {
        #![allow(unsafe_code, reason = "unshare of this test's thread")]
        use rustix::{mount, thread::UnshareFlags};
        // SAFETY: descriptors stay shared; only this thread's mounts and working directory become its own.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS)? };
        let private = mount::MountPropagationFlags::PRIVATE | mount::MountPropagationFlags::REC;
        mount::mount_change("/", private)?;
        Ok(mount::mount_bind(source, target)?)
    }
}
