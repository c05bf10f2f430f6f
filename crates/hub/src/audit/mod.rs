//! The audit: who did what, when, and how it went, in rows that are never changed.
//!
//! What changes something is audited before and after: [`Audit::intend`] writes that it begins, and where that cannot be
//! written (a full disk), the action is refused with [`Unavailable`]. How it went is written by [`Intent::done`]. That row,
//! and those of [`Audit::record`], are about what has happened already: if they cannot be written, they are kept in memory
//! and tried again, and [`Audit::is_well`] says so until they are on disk. No row is lost silently: when so many wait that
//! memory is short, those that are given up are counted, and the count becomes a row itself.
//!
//! Rows hold no key and no token; what looks like one is taken out.
//!
//! Rows that are old may be pruned ([`Audit::prune`]): a row says so, and the chain goes on from the hash of the last of them.

pub mod chain;
mod export;
mod prune;
mod queue;
mod refusals;
mod scrub;
mod table;
#[cfg(test)]
mod tests;

use std::{
    net::IpAddr,
    sync::{Arc, Weak},
};

use axum::http::StatusCode;
use launch::{Clock, Moment, store::sqlite::Database};

use self::queue::{OnFailure, Queue};
pub(crate) use self::scrub::scrub;
pub use self::{
    chain::{Broken, Head, Row, Whole},
    export::{VerifyError, verify_lines},
    prune::{PruneError, Pruned},
};
use crate::problem::Problem;

/// Most characters of a subject, of what was done, of a request's id and of an address.
const NAME: usize = 600;

/// Most characters of the detail.
const DETAIL: usize = 1_000;

/// The audit. Clones are the same audit.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Queue>);

/// What is to be a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The subject of who did it; empty if nobody was signed in.
    pub who: String,
    /// What was done, such as `lease.create`.
    pub what: &'static str,
    /// On what, such as a lease's id.
    pub on: String,
    /// `ok`, `refused` or `failed`; of no account for [`Audit::intend`].
    pub outcome: &'static str,
    /// More, for people.
    pub detail: String,
    /// The request, as the log has it.
    pub request_id: String,
    /// Where the request came from; `None` is the hub itself.
    pub address: Option<IpAddr>,
}

/// The audit cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit cannot be written, and nothing is done that could not be audited: {0}")]
pub struct Unavailable(String);

/// An action that was written down before it is taken.
///
/// If it is dropped without [`Intent::done`], because whoever asked has gone, a row says that the outcome is `unknown`.
#[must_use = "an action that was begun has an outcome"]
#[derive(Debug)]
pub struct Intent {
    audit: Audit,
    entry: Option<Entry>,
}

impl Audit {
    /// The audit in this database; its tables are made if they are missing.
    ///
    /// # Errors
    ///
    /// SQLite's.
    pub fn open(database: Arc<Database>, clock: Clock) -> Result<Self, rusqlite::Error> {
        table::make(&database)?;
        let head = database.read(table::noted)?;
        tracing::info!(%head, "the audit goes on");
        Ok(Self(Arc::new(Queue::new(database, clock))))
    }

    /// Writes that an action begins. Nothing may be done before this has returned.
    ///
    /// # Errors
    ///
    /// It cannot be written; the action must not be taken.
    pub async fn intend(&self, entry: Entry) -> Result<Intent, Unavailable> {
        let entry = Entry {
            outcome: "begun",
            ..entry
        };
        let ticket = self.0.push(entry.clone(), OnFailure::GiveUp);
        let ticket = ticket.ok_or_else(|| Unavailable("too many rows wait for the disk".to_owned()))?;
        self.write(ticket, OnFailure::GiveUp).await?;
        Ok(Intent {
            audit: self.clone(),
            entry: Some(entry),
        })
    }

    /// Writes what has happened already. If that cannot be done now, it is tried again.
    pub async fn record(&self, entry: Entry) {
        if let Some(ticket) = self.0.push(entry, OnFailure::Keep) {
            // What waits is seen in `is_well`.
            let _waits = self.write(ticket, OnFailure::Keep).await;
        }
    }

    /// Writes that something was refused before it began. Of many alike there are some rows and a count, so that nobody fills
    /// the disk with what he is refused.
    pub async fn refuse(&self, entry: Entry) {
        let (taken, due_in) = self.0.take_refusal(entry);
        for row in taken.rows {
            self.record(row).await;
        }
        if let Some(window) = taken.begins
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let queue = Arc::downgrade(&self.0);
            runtime.spawn(async move {
                tokio::time::sleep(due_in).await;
                if let Some(queue) = Weak::upgrade(&queue) {
                    Self(queue).end_window(window).await;
                }
            });
        }
    }

    /// Writes the counts of one window of refusals. One that is over already has its counts, whatever window it is since.
    async fn end_window(&self, window: u64) {
        for row in self.0.end_window(window) {
            self.record(row).await;
        }
    }

    /// Writes the counts of refusals that have no rows of their own.
    pub async fn settle(&self) {
        for row in self.0.end_refusals() {
            self.record(row).await;
        }
    }

    /// Removes rows from before `before`, and writes that; the chain goes on from the last of them. The newest row stays.
    ///
    /// If there is anything to remove, the whole chain is walked along before. Rows go in portions, with a row about each.
    ///
    /// # Errors
    ///
    /// [`PruneError`]: of a broken audit nothing is removed, and of a portion all or nothing.
    pub async fn prune(&self, before: Moment) -> Result<Option<Pruned>, PruneError> {
        self.prune_by(prune::PORTION, before).await
    }

    /// As [`Audit::prune`], so many rows at a time.
    async fn prune_by(&self, portion: u64, before: Moment) -> Result<Option<Pruned>, PruneError> {
        let queue = Arc::clone(&self.0);
        let due = blocking(move || queue.last_due(before))
            .await
            .unwrap_or_else(|_| Err(PruneError::Database(rusqlite::Error::InvalidQuery)))?;
        let Some(last) = due else { return Ok(None) };
        let mut all: Option<Pruned> = None;
        loop {
            let queue = Arc::clone(&self.0);
            let removed = blocking(move || queue.prune(portion, last, before))
                .await
                .unwrap_or_else(|_| Err(PruneError::Database(rusqlite::Error::InvalidQuery)))?;
            let Some(Pruned { rows, to }) = removed else {
                return Ok(all);
            };
            let earlier = all.map_or(0, |all| all.rows);
            all = Some(Pruned {
                rows: earlier + rows,
                to,
            });
        }
    }

    /// How many rows there are, as their numbers have it: none is looked at.
    ///
    /// # Errors
    ///
    /// SQLite's.
    pub async fn count(&self) -> Result<u64, rusqlite::Error> {
        let queue = Arc::clone(&self.0);
        blocking(move || queue.database.read(table::count))
            .await
            .unwrap_or_else(|_| Err(rusqlite::Error::InvalidQuery))
    }

    /// Whether everything that happened is on disk. Tries to write what is not.
    ///
    /// # Errors
    ///
    /// Why not, for people.
    pub async fn is_well(&self) -> Result<(), String> {
        let queue = Arc::clone(&self.0);
        let tried = blocking(move || queue.write_all()).await;
        tried.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Rows before the row numbered `before`, the newest first; `None` begins at the end.
    ///
    /// # Errors
    ///
    /// SQLite's.
    pub async fn page(&self, before: Option<u64>, limit: usize) -> Result<Vec<Row>, rusqlite::Error> {
        let queue = Arc::clone(&self.0);
        blocking(move || queue.database.read(|connection| table::page(connection, before, limit)))
            .await
            .unwrap_or_else(|_| Err(rusqlite::Error::InvalidQuery))
    }

    /// Walks along all rows that were not pruned, past every one of the heads that earlier exports printed. Blocks.
    ///
    /// Without a head, rows that were removed at the end together with the note of them are not missed.
    ///
    /// # Errors
    ///
    /// [`VerifyError`], which names the first row that is broken.
    pub fn verify(&self, known: &[Head]) -> Result<Whole, VerifyError> {
        export::verify(&self.0.database, known)
    }

    /// Writes all rows to `out`, a line of JSON each, and gives the head, which is to be noted elsewhere. Blocks.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]: a broken audit is exported up to the row that is broken.
    pub fn export(&self, out: &mut dyn std::io::Write) -> Result<Whole, VerifyError> {
        export::export(&self.0.database, out)
    }

    async fn write(&self, ticket: u64, on_failure: OnFailure) -> Result<(), Unavailable> {
        let queue = Arc::clone(&self.0);
        // Once it is begun it is finished, even if whoever asked has gone.
        blocking(move || queue.write(ticket, on_failure))
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
            .map_err(Unavailable)
    }
}

impl Intent {
    /// Writes how it went: `ok`, `refused` or `failed`.
    pub async fn done(self, outcome: &'static str, detail: impl Into<String>) {
        self.done_on(None, outcome, detail).await;
    }

    /// As [`Intent::done`], for what had no name before: `on` is the new one, such as the lease's id.
    pub async fn done_on(mut self, on: Option<String>, outcome: &'static str, detail: impl Into<String>) {
        let Some(entry) = self.entry.take() else { return };
        let entry = Entry {
            on: on.unwrap_or(entry.on),
            outcome,
            detail: detail.into(),
            ..entry
        };
        self.audit.record(entry).await;
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        let Some(entry) = self.entry.take() else { return };
        let entry = Entry {
            outcome: "unknown",
            detail: "whoever asked did not wait for the outcome".to_owned(),
            ..entry
        };
        let Some(ticket) = self.audit.0.push(entry, OnFailure::Keep) else {
            return;
        };
        // Outside a runtime it is written with the next row.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (queue, span) = (Arc::clone(&self.audit.0), tracing::Span::current());
            runtime.spawn_blocking(move || span.in_scope(|| queue.write(ticket, OnFailure::Keep)));
        }
    }
}

/// Does what waits for the disk beside the runtime, in the span of whoever asked.
pub(crate) fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> tokio::task::JoinHandle<T> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
}

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Self {
        tracing::error!(error = %unavailable, "an action was refused");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "audit_unavailable",
            "the hub cannot write its audit, and does nothing that it could not audit",
        )
        .with_remedy("try again; the hub's disk may be full")
        .with_retry_after(std::time::Duration::from_secs(5))
    }
}

/// An entry with its time.
#[derive(Clone, Debug)]
pub(crate) struct Stamped {
    at: Moment,
    entry: Entry,
}

impl Stamped {
    /// The row that follows `head`.
    fn row(&self, head: Head) -> Row {
        let entry = &self.entry;
        let short = |text: &str| text.chars().take(NAME).collect::<String>();
        let mut row = Row {
            number: head.count + 1,
            at: self.at,
            who: short(&entry.who),
            what: entry.what.to_owned(),
            on: scrub(&entry.on, NAME),
            outcome: entry.outcome.to_owned(),
            detail: scrub(&entry.detail, DETAIL),
            request_id: short(&entry.request_id),
            address: entry.address.map(|address| address.to_string()).unwrap_or_default(),
            previous: head.hash,
            hash: chain::Hash::default(),
        };
        row.hash = row.computed();
        row
    }
}
