//! What this user's launches on this machine remember: a store, and for each lease a lock that its driver holds.
//!
//! ```text
//!   leases.db           the rows
//!   marks               what a look at the places has found that no row knows
//!   lock                held by who makes a lease until he holds it, and by who looks for leases that nobody holds
//!   engines/<lease>     where a lease in a container or at Azure is; see kept.rs
//!   launcher.key        from which the keys follow by which gateways at Azure know their launcher
//!   run/<lease>.lock    held by the process that drives the lease, from its first moment to its last
//!   run/<lease>.sock    where that process is asked; see desk.rs
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use launch::{LauncherSecret, LeaseId, launcher::Marks, store::Database};
use serde::{Serialize, de::DeserializeOwned};

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
        for folder in ["run", "engines"].map(|name| folder.join(name)) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let file = folder.join("leases.db");
        let database = Database::open_quick(&file).with_context(|| format!("cannot open {}", file.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            database: Arc::new(database),
        })
    }

    /// The tag by which gateways of this book's leases are known at their places.
    pub(super) fn instance(&self) -> anyhow::Result<String> {
        launch::instance(&self.folder).with_context(|| format!("cannot find {}", self.folder.display()))
    }

    /// What the look before this one has found that no row knows.
    pub(super) fn marks(&self) -> Marks {
        // Without it, what is there is marked again, and lives one look longer.
        read(&self.folder.join("marks")).ok().flatten().unwrap_or_default()
    }

    pub(super) fn keep_marks(&self, marks: &Marks) -> io::Result<()> {
        write(&self.folder.join("marks"), marks)
    }

    /// The secret by which gateways elsewhere know their launcher.
    pub(super) fn secret(&self) -> anyhow::Result<LauncherSecret> {
        Ok(LauncherSecret::of(&self.folder)?)
    }

    /// What is kept of how a lease was launched; `None` if nothing is.
    pub(super) fn kept<T: DeserializeOwned>(&self, id: LeaseId) -> io::Result<Option<T>> {
        read(&self.file_of(id))
    }

    pub(super) fn keep(&self, id: LeaseId, kept: &impl Serialize) -> io::Result<()> {
        write(&self.file_of(id), kept)
    }

    pub(super) fn forget(&self, id: LeaseId) {
        // It is looked for again by the next look at the places.
        let _gone = fs::remove_file(self.file_of(id));
    }

    /// Leases of which something is kept.
    pub(super) fn all_kept(&self) -> io::Result<Vec<LeaseId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.folder.join("engines"))? {
            let name = entry?.file_name();
            // Others are files that are about to be renamed.
            found.extend(name.to_str().and_then(|name| name.parse::<LeaseId>().ok()));
        }
        Ok(found)
    }

    fn file_of(&self, id: LeaseId) -> PathBuf {
        self.folder.join(format!("engines/{id}"))
    }

    /// Where the driver of a lease is asked.
    pub(crate) fn socket(&self, id: LeaseId) -> PathBuf {
        self.folder.join(format!("run/{id}.sock"))
    }

    /// Waits until no other process makes a lease or looks for those that nobody drives; none does while the lock lives.
    pub(super) fn lock(&self) -> anyhow::Result<File> {
        let path = self.folder.join("lock");
        let lock = || -> io::Result<File> {
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().with_context(|| format!("cannot lock {}", path.display()))
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

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whoever reads the file meanwhile reads all of it or all of what it was.
fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    // Several processes may write it at once.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    fs::rename(&new, path)
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
