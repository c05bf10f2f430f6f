//! The tables of accounts, sessions and API tokens, and the way to them.

use std::sync::Arc;

use axum::http::StatusCode;
use launch::{Moment, store::sqlite::Database};
use rusqlite::{Connection, Transaction};
use tracing::Span;

use crate::problem::Problem;

/// Times are milliseconds since 1970. Of secrets there are fingerprints only. What an account may do is in its row alone,
/// so that whoever signs in with fewer roles has fewer in all his sessions and tokens at once.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS accounts (
        subject TEXT PRIMARY KEY NOT NULL,
        realm TEXT NOT NULL,
        name TEXT NOT NULL,
        email TEXT NOT NULL,
        roles TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        signed_in_at INTEGER NOT NULL,
        blocked_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS sessions (
        fingerprint BLOB PRIMARY KEY NOT NULL,
        subject TEXT NOT NULL REFERENCES accounts (subject),
        how TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        seen_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS sessions_by_subject ON sessions (subject, created_at);
    CREATE TABLE IF NOT EXISTS tokens (
        id TEXT PRIMARY KEY NOT NULL,
        fingerprint BLOB UNIQUE NOT NULL,
        subject TEXT NOT NULL REFERENCES accounts (subject),
        name TEXT NOT NULL,
        scopes TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        used_at INTEGER,
        revoked_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS tokens_by_subject ON tokens (subject, id);
";

/// The tables do not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("accounts and sessions cannot be read or written: {0}")]
pub struct TablesError(String);

impl From<rusqlite::Error> for TablesError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<TablesError> for Problem {
    fn from(error: TablesError) -> Self {
        tracing::error!(%error, "sign-in failed");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_unavailable",
            "the hub's store does not answer",
        )
        .with_remedy("try again; the hub's log says more")
        .with_retry_after(std::time::Duration::from_secs(5))
    }
}

/// The database with the tables.
#[derive(Clone, Debug)]
pub(super) struct Tables(Arc<Database>);

impl Tables {
    pub(super) fn open(database: Arc<Database>) -> Result<Self, TablesError> {
        database.write(|transaction| transaction.execute_batch(TABLES).map_err(TablesError::from))?;
        Ok(Self(database))
    }

    pub(super) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<rusqlite::Error> + From<TablesError> + Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        let database = Arc::clone(&self.0);
        let span = Span::current();
        let done = tokio::task::spawn_blocking(move || span.in_scope(|| database.write(work))).await;
        done.unwrap_or_else(|error| Err(TablesError(error.to_string()).into()))
    }

    pub(super) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<rusqlite::Error> + From<TablesError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let database = Arc::clone(&self.0);
        let span = Span::current();
        let done = tokio::task::spawn_blocking(move || span.in_scope(|| database.read(work))).await;
        done.unwrap_or_else(|error| Err(TablesError(error.to_string()).into()))
    }
}

/// SQLite's numbers are signed; ours are far from where that matters.
pub(super) fn signed(moment: Moment) -> i64 {
    i64::try_from(moment.as_millis()).unwrap_or(i64::MAX)
}

/// What [`signed`] wrote.
pub(super) fn moment(millis: i64) -> Moment {
    Moment::from_millis(u64::try_from(millis).unwrap_or_default())
}
