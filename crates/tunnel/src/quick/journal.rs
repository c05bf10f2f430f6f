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

use linux::netns::Namespace;
use rustix::fs::FlockOperation;

/// How long another process may be at work on the tunnel until this one gives up.
const LIMIT: Duration = Duration::from_secs(5);

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
    /// A file refused.
    #[error("writing down what is done, in {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Its error.
        cause: io::Error,
    },
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// The configuration that the tunnel was brought up with.
    pub(super) config: Option<PathBuf>,
    /// The routing table, and mark, of its default routes.
    pub(super) table: Option<u32>,
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

impl Records {
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
                Some(("table", table)) => records.table = table.parse().ok(),
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
        journal.record("table", "51820").unwrap();
        journal.record("src_valid_mark", "0").unwrap();
        assert!(matches!(
            Journal::open_in(directory.path(), "wg0", Duration::ZERO),
            Err(JournalError::Busy { .. })
        ));
        drop(journal);
        let (mut journal, records) = Journal::open_in(directory.path(), "wg0", Duration::ZERO).unwrap();
        let expected = Records {
            config: Some("/etc/wireguard/wg0.conf".into()),
            table: Some(51820),
            src_valid_mark: true,
        };
        assert_eq!(records, expected);
        journal.clear().unwrap();
        journal.record("table", "7").unwrap();
        drop(journal);
        let (journal, records) = Journal::open_in(directory.path(), "wg0", Duration::ZERO).unwrap();
        assert_eq!(
            records,
            Records {
                table: Some(7),
                ..Records::default()
            }
        );
        journal.remove().unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_line_that_was_cut_off_says_nothing() {
        let expected = Records {
            table: Some(1),
            ..Records::default()
        };
        assert_eq!(Records::parse("table=1\ntable=5182"), expected);
        assert_eq!(Records::parse("table=1\nnonsense\n=\n"), expected);
    }
}
