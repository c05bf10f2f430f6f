//! Entries on their way to the disk.
//!
//! Those that wait are written together in one transaction, by whoever comes first; whoever waits behind him finds his own
//! already written.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use launch::{Clock, Moment, store::sqlite::Database};

use super::{
    Entry, Stamped, export,
    prune::{self, PruneError, Pruned},
    refusals::{Refusals, Taken, WINDOW},
    table,
};

/// Entries that are kept in memory while the disk takes none.
const MOST: usize = 10_000;

/// Entries of one transaction.
const BATCH: usize = 500;

/// What waits, and where it goes.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) database: Arc<Database>,
    clock: Clock,
    state: Mutex<State>,
    refusals: Mutex<Refusals>,
    /// Held by the one who writes.
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(u64, Stamped)>,
    /// Number of the latest entry.
    latest: u64,
    /// Entries that were given up since the latest row about that.
    lost: u64,
}

/// What becomes of an entry that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnFailure {
    /// It waits for another try.
    Keep,
    /// It is withdrawn: what it is about does not happen.
    GiveUp,
}

impl Queue {
    pub(super) fn new(database: Arc<Database>, clock: Clock) -> Self {
        Self {
            database,
            clock,
            state: Mutex::default(),
            refusals: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// What is written of a refusal, and how long after it the counts are due.
    pub(super) fn take_refusal(&self, entry: Entry) -> (Taken, Duration) {
        (lock(&self.refusals).take(entry, self.clock.now()), WINDOW)
    }

    /// The counts of refusals so far.
    pub(super) fn end_refusals(&self) -> Vec<Entry> {
        lock(&self.refusals).end()
    }

    /// The counts of refusals of this window, if it is not over.
    pub(super) fn end_window(&self, window: u64) -> Vec<Entry> {
        lock(&self.refusals).end_window(window)
    }

    /// The number of the last row from before `before` that is to be removed, if there is one: then the chain is whole. Blocks.
    pub(super) fn last_due(&self, before: Moment) -> Result<Option<u64>, PruneError> {
        let due = self.database.read(|connection| prune::last_due(connection, before))?;
        if due.is_some() {
            export::verify(&self.database, &[])?;
        }
        Ok(due)
    }

    /// Removes so many of the rows up to the one numbered `last`; `None` if none are left. Blocks.
    pub(super) fn prune(&self, portion: u64, last: u64, before: Moment) -> Result<Option<Pruned>, PruneError> {
        let now = self.clock.now();
        let pruned = self
            .database
            .write(|transaction| prune::prune(transaction, portion, last, before, now))?;
        Ok(pruned)
    }

    /// Takes an entry, and gives the number by which it is known; `None` if so many wait that it is not taken.
    ///
    /// Those that wait are the earlier ones, which say how it began. One that is kept if it can be is counted.
    pub(super) fn push(&self, entry: Entry, on_failure: OnFailure) -> Option<u64> {
        let at = self.clock.now();
        let mut state = self.state();
        if state.waiting.len() >= MOST {
            if on_failure == OnFailure::Keep {
                state.lost += 1;
                tracing::error!(
                    who = entry.who,
                    what = entry.what,
                    outcome = entry.outcome,
                    "a row of the audit is lost"
                );
            }
            return None;
        }
        state.latest += 1;
        let ticket = state.latest;
        state.waiting.push_back((ticket, Stamped { at, entry }));
        Some(ticket)
    }

    /// Writes what waits, up to the entry of this number at least. Blocks.
    pub(super) fn write(&self, ticket: u64, on_failure: OnFailure) -> Result<(), String> {
        let _turn = lock(&self.turn);
        loop {
            if self.state().waiting.front().is_none_or(|(first, _)| *first > ticket) {
                return Ok(());
            }
            if let Err(error) = self.write_batch() {
                if on_failure == OnFailure::GiveUp {
                    self.state().waiting.retain(|(waiting, _)| *waiting != ticket);
                }
                tracing::error!(error, "the audit cannot be written");
                return Err(error);
            }
        }
    }

    /// Writes all that waits. Blocks.
    pub(super) fn write_all(&self) -> Result<(), String> {
        let latest = self.state().latest;
        self.write(latest, OnFailure::Keep).map_err(|error| {
            let state = self.state();
            format!(
                "{} rows of the audit wait and {} are lost: {error}",
                state.waiting.len(),
                state.lost
            )
        })
    }

    fn write_batch(&self) -> Result<(), String> {
        let (mut batch, last, lost) = {
            let state = self.state();
            let batch: Vec<_> = state
                .waiting
                .iter()
                .take(BATCH)
                .map(|(_, entry)| entry.clone())
                .collect();
            let last = state
                .waiting
                .get(batch.len().saturating_sub(1))
                .map_or(0, |(ticket, _)| *ticket);
            // What was lost came after all that waits.
            let lost = if batch.len() == state.waiting.len() {
                state.lost
            } else {
                0
            };
            (batch, last, lost)
        };
        if lost > 0 {
            let at = self.clock.now();
            batch.push(Stamped { at, entry: gap(lost) });
        }
        self.database
            .write(|transaction| table::append(transaction, &batch))
            .map_err(|error: rusqlite::Error| error.to_string())?;
        let mut state = self.state();
        state.waiting.retain(|(ticket, _)| *ticket > last);
        state.lost -= lost;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// The row that stands where others are missing.
fn gap(lost: u64) -> Entry {
    Entry {
        what: "audit.gap",
        outcome: "failed",
        detail: format!("{lost} rows before this one could not be written"),
        ..Entry::default()
    }
}

/// What is guarded is whole between any two statements, so that a panic elsewhere does no harm to it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
