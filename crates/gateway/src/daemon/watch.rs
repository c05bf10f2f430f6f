//! Watches files that a person edits, and waits until they have done so.

use std::{
    collections::BTreeMap,
    fs, io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// How long nothing may have changed before the files are read: editors write in several steps.
const QUIET: Duration = Duration::from_millis(200);

/// How long a file that changes all the time is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a file has another of when it is written or replaced: device, inode, size, and seconds and nanoseconds of its time.
type Identity = (u64, u64, u64, i64, i64);

/// Directories in which files change, and single files.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: OwnedFd,
    directories: BTreeMap<i32, PathBuf>,
    wanted: Vec<PathBuf>,
    /// Files that are looked at by themselves: one that is mounted over another changes in no directory.
    files: BTreeMap<PathBuf, Option<Identity>>,
}

impl Watch {
    /// Watches these directories, those that do not exist from the moment on at which [`Watch::look_again`] finds them.
    pub(super) fn new(wanted: Vec<PathBuf>, files: Vec<PathBuf>) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut watch = Self {
            inotify,
            directories: BTreeMap::new(),
            wanted,
            files: files.into_iter().map(|path| (path.clone(), identity(&path))).collect(),
        };
        watch.look_again();
        Ok(watch)
    }

    /// Watches the directories that were not there before.
    pub(super) fn look_again(&mut self) {
        // Files are written in place, renamed to their place, or removed. In Kubernetes a link beside them is.
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        for directory in &self.wanted {
            if let Ok(number) = inotify::add_watch(&self.inotify, directory, flags) {
                self.directories.insert(number, directory.clone());
            }
        }
    }

    /// The single files that are others than when this was asked last.
    pub(super) fn replaced(&mut self) -> Vec<PathBuf> {
        let mut replaced = Vec::new();
        for (path, before) in &mut self.files {
            let found = identity(path);
            if found != *before {
                *before = found;
                replaced.push(path.clone());
            }
        }
        replaced
    }

    /// The files that have changed. What begins with a dot is not a person's, but for a Kubernetes volume's link.
    pub(super) fn changed(&mut self) -> Vec<PathBuf> {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut changed = Vec::new();
        while let Ok(event) = reader.next() {
            let Some(directory) = self.directories.get(&event.wd()) else {
                continue;
            };
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
            match name {
                Some(name) if !name.starts_with('.') || name == "..data" => changed.push(directory.join(name)),
                Some(_) => {}
                None => {
                    // The directory itself has gone.
                    self.directories.remove(&event.wd());
                }
            }
        }
        changed.sort();
        changed.dedup();
        changed
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let found = fs::metadata(path).ok()?;
    Some((
        found.dev(),
        found.ino(),
        found.size(),
        found.mtime(),
        found.mtime_nsec(),
    ))
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// Files that have changed and are read as soon as there is quiet. Pure.
#[derive(Debug, Default)]
pub(super) struct Pending {
    paths: Vec<PathBuf>,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Pending {
    pub(super) fn add(&mut self, paths: impl IntoIterator<Item = PathBuf>, now: Instant) {
        for path in paths {
            self.first.get_or_insert(now);
            self.last = Some(now);
            if !self.paths.contains(&path) {
                self.paths.push(path);
            }
        }
    }

    /// When the files are to be read.
    pub(super) fn due(&self) -> Option<Instant> {
        let (first, last) = (self.first?, self.last?);
        Some((last + QUIET).min(first + PATIENCE))
    }

    /// The files, if their time has come.
    pub(super) fn take(&mut self, now: Instant) -> Vec<PathBuf> {
        if self.due().is_none_or(|due| now < due) {
            return Vec::new();
        }
        (self.first, self.last) = (None, None);
        std::mem::take(&mut self.paths)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_are_read_once_nothing_more_changes() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let path = || [PathBuf::from("peer.conf")];
        let mut pending = Pending::default();
        assert_eq!(pending.due(), None);
        pending.add(path(), at(0));
        pending.add(path(), at(150));
        assert_eq!(pending.due(), Some(at(350)));
        assert!(pending.take(at(349)).is_empty());
        assert_eq!(pending.take(at(350)), path());
        assert!(pending.take(at(999)).is_empty());
        // Without quiet, patience ends.
        for millis in (0..4_000).step_by(100) {
            pending.add(path(), at(millis));
        }
        assert_eq!(pending.due(), Some(at(2_000)));
    }

    #[test]
    fn a_single_file_is_seen_however_it_changes() {
        let root = tempfile::tempdir().unwrap();
        let (file, fresh) = (root.path().join("peers"), root.path().join("fresh"));
        fs::write(&file, "1").unwrap();
        let mut watch = Watch::new(Vec::new(), vec![file.clone()]).unwrap();
        assert!(watch.replaced().is_empty());
        fs::write(&file, "12").unwrap();
        assert_eq!(watch.replaced(), std::slice::from_ref(&file), "written in place");
        assert!(watch.replaced().is_empty());
        fs::write(&fresh, "34").unwrap();
        fs::rename(&fresh, &file).unwrap();
        assert_eq!(watch.replaced(), std::slice::from_ref(&file), "replaced");
        fs::remove_file(&file).unwrap();
        assert_eq!(watch.replaced(), std::slice::from_ref(&file), "removed");
        assert!(watch.replaced().is_empty());
    }

    #[test]
    fn what_people_do_to_files_is_seen_and_what_we_do_beside_them_is_not() {
        let root = tempfile::tempdir().unwrap();
        let (here, later) = (root.path().join("here"), root.path().join("later"));
        fs::create_dir(&here).unwrap();
        let mut watch = Watch::new(vec![here.clone(), later.clone()], Vec::new()).unwrap();
        fs::write(here.join("a"), "1").unwrap();
        assert_eq!(watch.changed(), [here.join("a")]);
        fs::write(here.join(".a.adit-new"), "2").unwrap();
        assert!(watch.changed().is_empty());
        fs::rename(here.join(".a.adit-new"), here.join("b")).unwrap();
        fs::remove_file(here.join("a")).unwrap();
        assert_eq!(watch.changed(), [here.join("a"), here.join("b")]);
        fs::create_dir(&later).unwrap();
        watch.look_again();
        fs::write(later.join("c"), "3").unwrap();
        assert_eq!(watch.changed(), [later.join("c")]);
    }
}
