//! What `up` has done, written down before each step, so that `down` can undo it after any kind of end.
//!
//! One file a tunnel and network namespace, in `/run/adit` or the user's runtime directory: lines of `word=value`, appended
//! one by one. It is there as long as the tunnel is up, and locked while somebody works on it.

use std::{
    env, fs,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use linux::{Family, netns::Namespace};
use rustix::fs::FlockOperation;

/// How long another process may be at work on the tunnel until this one gives up.
const LIMIT: Duration = Duration::from_secs(5);

/// How long others may change routes and rules until this one gives up: there may be a queue of them.
pub(super) const LIMIT_OF_TURN: Duration = Duration::from_secs(30);

/// How often it is looked whether it is done.
const INTERVAL: Duration = Duration::from_millis(2);

/// The journal could not be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process brings the tunnel up or down at this moment.
    #[error("another adit is at work on this tunnel; try again when it is done ({} is locked)", path.display())]
    Busy {
        /// The journal.
        path: PathBuf,
    },
    /// Another process is at work on what all tunnels share, and stays so.
    #[error("another adit changes routes and rules, and does not end; try again when it is done ({} is locked)", path.display())]
    Turn {
        /// The directory of the journals.
        path: PathBuf,
    },
    /// A file refused.
    #[error("writing down what is done, in {}: {cause}{}", path.display(), remedy(path, cause))]
    File {
        /// The file.
        path: PathBuf,
        /// Its error.
        cause: io::Error,
    },
}

/// What to do where the directory of the journals cannot be written.
fn remedy(path: &Path, cause: &io::Error) -> String {
    let kind = cause.kind();
    if kind == io::ErrorKind::ReadOnlyFilesystem && path.starts_with("/run") {
        "; make /run writable, as by `docker run --tmpfs /run`".to_owned()
    } else if kind == io::ErrorKind::PermissionDenied {
        "; run as root, or set XDG_RUNTIME_DIR to a directory of this user's".to_owned()
    } else {
        String::new()
    }
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// The configuration that the tunnel was brought up with.
    pub(super) config: Option<PathBuf>,
    /// The routing tables of its default routes, which are no other tunnel's. The number is its mark, too.
    pub(super) tables: Vec<(Family, u32)>,
    /// Whether `src_valid_mark` was switched on for it.
    pub(super) src_valid_mark: bool,
}

/// The configurations that tunnels in the caller's network namespace were brought up with and not taken down, among
/// them those whose process was killed.
///
/// # Errors
///
/// [`JournalError::File`] if the journals cannot be listed.
pub fn brought_up() -> Result<Vec<PathBuf>, JournalError> {
    let failed = |cause| JournalError::File {
        path: "journals".into(),
        cause,
    };
    let directory = directory().map_err(failed)?;
    let namespace = Namespace::current().and_then(|namespace| namespace.identity());
    let suffix = format!("@{}", namespace.map_err(failed)?.inode);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(failed(cause)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().ends_with(&suffix) {
            // One that goes at this moment is a tunnel's that goes.
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            found.extend(Records::parse(&text).config);
        }
    }
    found.sort();
    Ok(found)
}

/// The journal of one tunnel, locked until it is dropped.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens the journal of a tunnel in the caller's namespace, anew if there is none, and reads what it says.
    pub(super) fn open(name: &str) -> Result<(Self, Records), JournalError> {
        let place = || Ok((directory()?, Namespace::current()?.identity()?.inode));
        let (directory, inode) = place().map_err(|cause| JournalError::File {
            path: name.into(),
            cause,
        })?;
        Self::open_in(&directory, &format!("{name}@{inode}"), LIMIT)
    }

    fn open_in(directory: &Path, name: &str, limit: Duration) -> Result<(Self, Records), JournalError> {
        let path = directory.join(name);
        let failed = |cause| JournalError::File {
            path: path.clone(),
            cause,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
        let limit = Instant::now() + limit;
        loop {
            let mut options = OpenOptions::new();
            let mut file = options
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&path)
                .map_err(failed)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < limit => {
                    thread::sleep(INTERVAL);
                    continue;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(JournalError::Busy { path }),
                Err(error) => return Err(failed(error.into())),
            }
            // Whoever had the lock before may have removed the file.
            if !is_at(&file, &path) {
                continue;
            }
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(failed)?;
            return Ok((Self { file, path }, Records::parse(&text)));
        }
    }

    /// A descriptor that keeps the journal locked.
    pub(super) fn lock(&self) -> Result<OwnedFd, JournalError> {
        let file = self.file.try_clone();
        file.map(OwnedFd::from).map_err(|cause| JournalError::File {
            path: self.path.clone(),
            cause,
        })
    }

    /// Writes down what is about to be done.
    pub(super) fn record(&mut self, word: &str, value: &str) -> Result<(), JournalError> {
        let line = format!("{word}={value}\n");
        self.file
            .write_all(line.as_bytes())
            .map_err(|cause| JournalError::File {
                path: self.path.clone(),
                cause,
            })
    }

    /// Writes down a table of default routes, whose rules are about to be added.
    pub(super) fn record_table(&mut self, family: Family, table: u32) -> Result<(), JournalError> {
        self.record("table", &format!("{} {table}", word(family)))
    }

    /// Whether another tunnel of this namespace wrote that it needs `src_valid_mark`, which was off before.
    pub(super) fn others_need_src_valid_mark(&self) -> bool {
        let (Some(directory), Some(own)) = (self.path.parent(), self.path.file_name()) else {
            return false;
        };
        let own = own.to_string_lossy();
        let namespace = own.rsplit_once('@').map(|(_, inode)| inode);
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_beside = name != own && name.rsplit_once('@').map(|(_, inode)| inode) == namespace;
            is_beside && fs::read_to_string(entry.path()).is_ok_and(|text| Records::parse(&text).src_valid_mark)
        })
    }

    /// Forgets everything: all is undone.
    pub(super) fn remove(self) -> Result<(), JournalError> {
        fs::remove_file(&self.path).map_err(|cause| JournalError::File {
            path: self.path.clone(),
            cause,
        })
    }

    /// Begins anew, in the same file.
    pub(super) fn clear(&mut self) -> Result<(), JournalError> {
        self.file.set_len(0).map_err(|cause| JournalError::File {
            path: self.path.clone(),
            cause,
        })
    }
}

/// The journal's words for a family.
fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

fn read_table(text: &str) -> Option<(Family, u32)> {
    let (family, table) = text.split_once(' ')?;
    let family = Family::ALL.into_iter().find(|of| word(*of) == family)?;
    Some((family, table.parse().ok()?))
}

/// The turn of a process at what the tunnels of a host share: routing tables, rules and settings. Others wait until it is
/// dropped.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "it is the lock")] File);

impl Turn {
    /// Waits for the turn.
    pub(super) fn wait() -> Result<Self, JournalError> {
        Self::wait_for(LIMIT_OF_TURN)
    }

    /// The same, for so long at most.
    pub(super) fn wait_for(limit: Duration) -> Result<Self, JournalError> {
        let directory = directory().map_err(|cause| JournalError::File {
            path: "/run/adit".into(),
            cause,
        })?;
        Self::wait_in(&directory, limit)
    }

    fn wait_in(directory: &Path, limit: Duration) -> Result<Self, JournalError> {
        let limit = Instant::now() + limit;
        let path = directory.to_owned();
        // The directory itself is locked: it stays, so that nobody waits for a file that another has removed.
        let opened = File::open(directory).map_err(|cause| JournalError::File {
            path: path.clone(),
            cause,
        })?;
        loop {
            match rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(opened)),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < limit => thread::sleep(INTERVAL),
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(JournalError::Turn { path }),
                Err(error) => {
                    let cause = error.into();
                    return Err(JournalError::File { path, cause });
                }
            }
        }
    }
}

impl Records {
    /// The number of the tables of the default routes, if there are any.
    pub(super) fn table(&self) -> Option<u32> {
        self.tables.first().map(|(_, table)| *table)
    }

    /// Whether there is nothing to undo.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A line that was cut off by the process's end was written before its step, which then was not taken.
    fn parse(text: &str) -> Self {
        let mut records = Self::default();
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            match line.split_once('=') {
                Some(("config", path)) => records.config = Some(path.into()),
                Some(("table", table)) => records.tables.extend(read_table(table)),
                Some(("src_valid_mark", _)) => records.src_valid_mark = true,
                _ => {}
            }
        }
        records
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let (Ok(opened), Ok(there)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    identity(opened) == identity(there)
}

fn directory() -> io::Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok("/run/adit".into());
    }
    match env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()) {
        Some(path) => Ok(Path::new(&path).join("adit")),
        None => Err(io::Error::other("XDG_RUNTIME_DIR is not set")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_there_for_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, records) = Journal::open_in(directory.path(), "wg0", Duration::ZERO).unwrap();
        assert!(records.is_empty());
        journal.record("config", "/etc/wireguard/wg0.conf").unwrap();
        journal.record_table(Family::V4, 51820).unwrap();
        journal.record_table(Family::V6, 51820).unwrap();
        journal.record("src_valid_mark", "0").unwrap();
        assert!(matches!(
            Journal::open_in(directory.path(), "wg0", Duration::ZERO),
            Err(JournalError::Busy { .. })
        ));
        drop(journal);
        let (mut journal, records) = Journal::open_in(directory.path(), "wg0", Duration::ZERO).unwrap();
        let expected = Records {
            config: Some("/etc/wireguard/wg0.conf".into()),
            tables: vec![(Family::V4, 51820), (Family::V6, 51820)],
            src_valid_mark: true,
        };
        assert_eq!(records, expected);
        journal.clear().unwrap();
        journal.record_table(Family::V6, 7).unwrap();
        drop(journal);
        let (journal, records) = Journal::open_in(directory.path(), "wg0", Duration::ZERO).unwrap();
        assert_eq!(
            records,
            Records {
                tables: vec![(Family::V6, 7)],
                ..Records::default()
            }
        );
        journal.remove().unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_line_that_was_cut_off_says_nothing() {
        let expected = Records {
            tables: vec![(Family::V4, 1)],
            ..Records::default()
        };
        assert_eq!(Records::parse("table=ipv4 1\ntable=ipv6 5182"), expected);
        assert_eq!(Records::parse("table=ipv4 1\nnonsense\n=\ntable=\n"), expected);
    }

    #[test]
    fn one_at_a_time_has_the_turn() {
        let directory = tempfile::tempdir().unwrap();
        let turn = Turn::wait_in(directory.path(), Duration::ZERO).unwrap();
        let refused = Turn::wait_in(directory.path(), Duration::ZERO).unwrap_err();
        assert!(matches!(refused, JournalError::Turn { .. }), "{refused}");
        drop(turn);
        Turn::wait_in(directory.path(), Duration::ZERO).unwrap();
    }

    #[test]
    fn a_setting_is_needed_by_others_of_the_same_namespace() {
        let directory = tempfile::tempdir().unwrap();
        let open = |name| Journal::open_in(directory.path(), name, Duration::ZERO).unwrap().0;
        let (mut own, mut stranger, mut other) = (open("wg0@1"), open("wg1@2"), open("wg1@1"));
        own.record("src_valid_mark", "0").unwrap();
        stranger.record("src_valid_mark", "0").unwrap();
        assert!(!own.others_need_src_valid_mark());
        other.record("src_valid_mark", "0").unwrap();
        assert!(own.others_need_src_valid_mark());
    }

    #[test]
    fn an_error_says_what_makes_the_directory_writable() {
        for (path, kind, expected) in [
            (
                "/run/adit/wg0@1",
                io::ErrorKind::ReadOnlyFilesystem,
                "docker run --tmpfs /run",
            ),
            ("/run/adit/wg0@1", io::ErrorKind::PermissionDenied, "run as root"),
        ] {
            let error = JournalError::File {
                path: path.into(),
                cause: kind.into(),
            };
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
