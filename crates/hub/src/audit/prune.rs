//! Removes rows that are older than they are to be kept, in such a way that what is left is still proven whole.
//!
//! They go in portions, since everybody who changes something waits while one is removed, and each portion has a row of its
//! own. Such a row explains why the beginning is missing, so that it has to be known before that the chain is whole: of one
//! that is broken it would be an excuse.

use launch::Moment;
use rusqlite::{Connection, Transaction};

use super::{
    Entry, Head, Row, Stamped, VerifyError,
    chain::PRUNE,
    table::{append_rows, head_at, last_before, pruned, remove},
};

/// Rows of a portion.
pub(super) const PORTION: u64 = 10_000;

/// What was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Rows.
    pub rows: u64,
    /// The last of them, from which the chain goes on.
    pub to: Head,
}

/// Why rows were not pruned.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The audit is not whole, or could not be looked at.
    #[error("nothing is removed, since the row about it would hide what is wrong: {0}")]
    Verify(#[from] VerifyError),
    /// The database does not answer, or takes no change.
    #[error("the audit cannot be changed: {0}")]
    Database(#[from] rusqlite::Error),
}

/// The number of the last row to be removed, if there is one.
pub(super) fn last_due(connection: &Connection, before: Moment) -> rusqlite::Result<Option<u64>> {
    let from = pruned(connection)?.count;
    let last = last_before(connection, before)?;
    Ok((last > from).then_some(last))
}

/// Removes a portion of the rows up to the one numbered `last`, those at the beginning, and adds the row that says so. `None`
/// if none are left.
///
/// It is for the caller to know that the chain is whole, and that all of them are from before `before`.
pub(super) fn prune(
    transaction: &Transaction<'_>,
    portion: u64,
    last: u64,
    before: Moment,
    now: Moment,
) -> rusqlite::Result<Option<Pruned>> {
    let from = pruned(transaction)?;
    let rows = last.saturating_sub(from.count).min(portion);
    if rows == 0 {
        return Ok(None);
    }
    let to = head_at(transaction, from.count + rows)?;
    let entry = Stamped {
        at: now,
        entry: Entry {
            what: PRUNE,
            outcome: "ok",
            detail: format!("rows {} to {}, from before {before}", from.count + 1, to.count),
            ..Entry::default()
        },
    };
    let row = move |head| {
        // A hash is what a key looks like.
        let mut row = Row {
            on: to.to_string(),
            ..entry.row(head)
        };
        row.hash = row.computed();
        row
    };
    append_rows(transaction, std::iter::once(row))?;
    remove(transaction, to)?;
    Ok(Some(Pruned { rows, to }))
}
