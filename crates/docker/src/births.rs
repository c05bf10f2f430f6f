//! Sees network namespaces of containers come to be, before the containers' processes run.
//!
//! The engine makes a file for each namespace in a folder, and mounts the namespace on it. At that moment its only process
//! is the runtime's, which waits to become the container's; its control group is named after the container. With Docker
//! 20.10 that is about 100 ms before the container's own first instruction.

use std::{
    fs, io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use linux::netns::{Identity, Namespace};
use rustix::fs::inotify;

use crate::watcher::Watcher;

/// What the kernel says of a file that is a namespace: *statfs(2)*, `NSFS_MAGIC`.
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// How long after its file a namespace may be mounted on it.
const MOUNT_LIMIT: Duration = Duration::from_secs(1);

/// How often it is looked.
const MOUNT_INTERVAL: Duration = Duration::from_micros(300);

/// Digits of a container's ID.
const ID_LEN: usize = 64;

/// A namespace that came to be.
#[derive(Debug)]
pub struct Birth {
    /// Its file.
    pub path: PathBuf,
    /// The container's ID; `None` if its process is none of a container.
    pub id: Option<String>,
    /// The process that is, or becomes, the container's first, if it has a numbering of its own.
    pub process: Option<i32>,
    /// The namespace.
    pub namespace: Namespace,
}

/// Watches a folder on a thread of its own, until this is dropped.
#[derive(Debug)]
pub struct Births {
    _watcher: Watcher,
}

impl Births {
    /// Tells `hear`, on the watching thread, of each namespace that comes to be in `folder`. Those that are there are
    /// passed over.
    ///
    /// # Errors
    ///
    /// If there is no such folder, or it cannot be watched.
    pub fn watch(folder: &Path, hear: impl Fn(Birth) + Send + 'static) -> io::Result<Self> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let flags = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::ONLYDIR;
        inotify::add_watch(&inotify, folder, flags)?;
        let folder = folder.to_owned();
        let watcher = Watcher::start("births", inotify, move |inotify| {
            for name in names(inotify) {
                if let Some(birth) = find(&folder.join(name)) {
                    hear(birth);
                }
            }
        })?;
        Ok(Self { _watcher: watcher })
    }
}

/// The files that came to be.
fn names(inotify: &OwnedFd) -> Vec<String> {
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    let mut reader = inotify::Reader::new(inotify, &mut buffer);
    let mut names = Vec::new();
    while let Ok(event) = reader.next() {
        if let Some(name) = event.file_name().and_then(|name| name.to_str().ok()) {
            names.push(name.to_owned());
        }
    }
    names
}

/// The namespace that is about to be mounted on a file; `None` if none is.
fn find(path: &Path) -> Option<Birth> {
    let limit = Instant::now() + MOUNT_LIMIT;
    while Instant::now() < limit {
        let namespace = Namespace::open(path).ok()?;
        if is_namespace(&namespace) {
            return Some(birth(path, namespace));
        }
        thread::sleep(MOUNT_INTERVAL);
    }
    None
}

/// The namespace that is mounted on a file already; `None` if none is.
pub fn find_now(path: &Path) -> Option<Birth> {
    let namespace = Namespace::open(path).ok()?;
    is_namespace(&namespace).then(|| birth(path, namespace))
}

fn birth(path: &Path, namespace: Namespace) -> Birth {
    let found = namespace.identity().ok().and_then(owner);
    let (process, by_process) = found.unzip();
    Birth {
        path: path.to_owned(),
        id: process.and_then(container_of_process),
        process: process.filter(|pid| is_first(*pid)).map(u32::cast_signed),
        // What is held by the file would keep the engine from unmounting it.
        namespace: by_process.unwrap_or(namespace),
    }
}

fn is_namespace(namespace: &Namespace) -> bool {
    rustix::fs::fstatfs(namespace).is_ok_and(|statfs| statfs.f_type == NSFS_MAGIC)
}

/// A process in a namespace, and the namespace by way of it; `None` if it has none. It is the first of its numbering
/// (*pid_namespaces(7)*) if there is such a one. The youngest are looked at first.
fn owner(namespace: Identity) -> Option<(u32, Namespace)> {
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable_by(|one, other| other.cmp(one));
    let mut found = None;
    for pid in pids {
        let there = Namespace::open(format!("/proc/{pid}/ns/net")).ok();
        let Some(there) = there.filter(|there| there.identity().is_ok_and(|identity| identity == namespace)) else {
            continue;
        };
        if is_first(pid) {
            return Some((pid, there));
        }
        found.get_or_insert((pid, there));
    }
    found
}

/// Whether a process is the first of its own numbering, with which all others of that end.
fn is_first(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.and_then(|numbers| numbers.split_whitespace().last()) == Some("1")
}

/// The container whose process this is, as its control group tells; `None` if that tells of none.
pub fn container_of_process(pid: u32) -> Option<String> {
    container_of(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// The container's ID in the text of `/proc/PID/cgroup`: the last 64 hexadecimal digits of a path, as in `/docker/ID`,
/// `/system.slice/docker-ID.scope`, `/machine.slice/libpod-ID.scope/container`.
fn container_of(groups: &str) -> Option<String> {
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.rsplit('/')).find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let start = part.len().checked_sub(ID_LEN)?;
        let (before, id) = (part.get(..start)?, part.get(start..)?);
        let is_id = id.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_id && (before.is_empty() || before.ends_with('-'))).then(|| id.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_container_is_known_by_its_control_group() {
        let id = "764c0438f6d46048cea9b0a59f7466a649562d6ed6581c71d06df03749765a5d";
        for (text, found) in [
            (format!("9:name=systemd:/docker/{id}\n8:pids:/docker/{id}\n"), true),
            (format!("0::/system.slice/docker-{id}.scope\n"), true),
            (format!("0::/machine.slice/libpod-{id}.scope/container\n"), true),
            (format!("0::/docker/{}\n", &id[1..]), false),
            (format!("0::/docker/x{id}\n"), false),
            ("0::/user.slice/session-1.scope\n".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(container_of(&text), found.then(|| id.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_namespace_is_seen_when_it_is_mounted_on_its_file() {
        netlab::requires!("root");
        let folder = tempfile::tempdir().unwrap();
        let (sender, births) = mpsc::channel();
        let watch = Births::watch(folder.path(), move |birth| sender.send(birth).unwrap()).unwrap();
        let namespace = Namespace::anonymous().unwrap();
        let path = folder.path().join("one");
        fs::write(&path, "").unwrap();
        let source = {
            use std::os::fd::{AsFd as _, AsRawFd as _};
            format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd())
        };
        let mount = std::process::Command::new("mount")
            .args(["--bind", &source])
            .arg(&path)
            .status();
        assert!(mount.unwrap().success());
        let birth = births.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((&birth.path, birth.id), (&path, None));
        assert_eq!(birth.namespace.identity().unwrap(), namespace.identity().unwrap());
        let umount = std::process::Command::new("umount").arg("-l").arg(&path).status();
        assert!(umount.unwrap().success());
        drop(watch);
        assert!(Births::watch(Path::new("/no/such/folder"), |_| ()).is_err());
    }
}
