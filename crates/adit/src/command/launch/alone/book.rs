//! What this user's launches on this machine remember: a store, and for each lease a lock that its driver holds.
//!
//! ```text
//!   leases.db           the rows
//!   run/<lease>.lock    held by the process that drives the lease, from its first moment to its last
//!   run/<lease>.sock    where that process is asked; see desk.rs
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use launch::{LeaseId, store::Database};

/// The store and the locks.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    folder: PathBuf,
    pub(super) database: Arc<Database>,
}

/// A lease is driven by this process for as long as this lives.
#[derive(Debug)]
pub(crate) struct Hold {
    path: PathBuf,
    _lock: File,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Removed while it is held: whoever opens it afterwards makes another one.
        let _gone = fs::remove_file(&self.path);
    }
}

impl Book {
    /// Opens the book, which is made if it is missing.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let run = folder.join("run");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&run)
            .with_context(|| format!("cannot make {}", run.display()))?;
        let file = folder.join("leases.db");
        let database = Database::open_quick(&file).with_context(|| format!("cannot open {}", file.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            database: Arc::new(database),
        })
    }

    /// Where the driver of a lease is asked.
    pub(crate) fn socket(&self, id: LeaseId) -> PathBuf {
        self.folder.join(format!("run/{id}.sock"))
    }

    /// Takes a lease to drive it; `None` if another process does.
    pub(crate) fn hold(&self, id: LeaseId) -> anyhow::Result<Option<Hold>> {
        let path = self.folder.join(format!("run/{id}.lock"));
        let hold = || -> io::Result<Option<Hold>> {
            let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
            match lock.try_lock() {
                Ok(()) => Ok(Some(Hold {
                    path: path.clone(),
                    _lock: lock,
                })),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error),
            }
        };
        hold().with_context(|| format!("cannot lock {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use launch::Moment;

    use super::*;

    #[test]
    fn a_lease_has_one_driver() {
        let folder = tempfile::tempdir().unwrap();
        let book = Book::open(folder.path()).unwrap();
        let id = LeaseId::new(Moment::from_millis(1), 1);
        let hold = book.hold(id).unwrap();
        assert!(hold.is_some() && book.hold(id).unwrap().is_none());
        drop(hold);
        assert!(book.hold(id).unwrap().is_some());
        assert!(fs::read_dir(folder.path().join("run")).unwrap().next().is_none());
    }
}
