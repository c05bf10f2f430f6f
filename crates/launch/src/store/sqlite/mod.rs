//! The store in a file of SQLite: write-ahead log, one writer, kept on disk before a call returns.

mod leases;
#[cfg(test)]
mod tests;

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::StoreError;

/// Which form the tables have, in `user_version`.
const FORM: u32 = 1;

/// How long one process waits for another that writes.
const BUSY: Duration = Duration::from_secs(10);

/// Readers that are kept open for the next who asks.
const IDLE_READERS: usize = 8;

/// The tables of leases. Times are milliseconds since 1970; `body` is the lease in JSON, the other columns are of it.
const TABLES: &str = "
    CREATE TABLE leases (
        id TEXT PRIMARY KEY NOT NULL,
        owner TEXT NOT NULL,
        place TEXT NOT NULL,
        state TEXT NOT NULL,
        version INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        removed_at INTEGER,
        seconds INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX leases_by_owner ON leases (owner, id);
    CREATE INDEX leases_by_age ON leases (created_at);
    CREATE INDEX leases_unfinished ON leases (owner, id) WHERE removed_at IS NULL;
    CREATE TABLE notices (
        lease TEXT NOT NULL,
        number INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (lease, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE requests (
        owner TEXT NOT NULL,
        key TEXT NOT NULL,
        body_hash BLOB NOT NULL,
        lease TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        PRIMARY KEY (owner, key)
    ) STRICT, WITHOUT ROWID;
";

/// A file of SQLite, mode 0600.
#[derive(Debug)]
pub struct Database {
    writer: Mutex<Connection>,
    /// `None` is in memory, where readers read what the writer writes by the same connection.
    path: Option<Box<Path>>,
    readers: Mutex<Vec<Connection>>,
}

impl Database {
    /// Opens the file, which is made if it is missing.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, "FULL")
    }

    /// As [`Database::open`], but the last writes may be lost when the machine's power fails, though none when the process is
    /// killed. For gateways that go with the machine.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn open_quick(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, "NORMAL")
    }

    fn open_with(path: &Path, synchronous: &str) -> Result<Self, StoreError> {
        // SQLite's log and index files take the file's mode.
        OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let mut writer = Connection::open(path)?;
        writer.busy_timeout(BUSY)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", synchronous)?;
        make_tables(&mut writer)?;
        Ok(Self {
            writer: Mutex::new(writer),
            path: Some(path.into()),
            readers: Mutex::default(),
        })
    }

    /// A database that goes with its value.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn in_memory() -> Result<Self, StoreError> {
        let mut writer = Connection::open_in_memory()?;
        make_tables(&mut writer)?;
        Ok(Self {
            writer: Mutex::new(writer),
            path: None,
            readers: Mutex::default(),
        })
    }

    /// Writes in one transaction, which is kept if `work` gives no error. Blocks.
    ///
    /// # Errors
    ///
    /// That of `work`, or SQLite's.
    pub fn write<T, E: From<rusqlite::Error>>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Reads. Blocks.
    ///
    /// # Errors
    ///
    /// That of `work`, or SQLite's.
    pub fn read<T, E: From<rusqlite::Error>>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        let Some(path) = &self.path else {
            return work(&self.writer.lock().unwrap_or_else(PoisonError::into_inner));
        };
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = idle.map_or_else(|| open_reader(path), Ok)?;
        let result = work(&reader);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < IDLE_READERS {
            readers.push(reader);
        }
        result
    }
}

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    reader.busy_timeout(BUSY)?;
    Ok(reader)
}

fn make_tables(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found {
        0 => {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", FORM)?;
            transaction.commit()?;
            Ok(())
        }
        FORM => Ok(()),
        found => Err(StoreError::Newer { found, known: FORM }),
    }
}
