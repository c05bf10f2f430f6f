//! Removes rows that are older than they are to be kept, in such a way that what is left is still proven whole.

use launch::Moment;
use rusqlite::Transaction;

use super::{
    Entry, Head, Row, Stamped,
    chain::PRUNE,
    table::{append_rows, last_before, pruned, remove},
};

/// What was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Rows.
    pub rows: u64,
    /// The last of them, from which the chain goes on.
    pub to: Head,
}

/// Removes rows from before `before`, and adds the row that says so.
pub(super) fn prune(transaction: &Transaction<'_>, before: Moment, now: Moment) -> rusqlite::Result<Option<Pruned>> {
    let from = pruned(transaction)?;
    let Some(to) = last_before(transaction, before)?.filter(|to| to.count > from.count) else {
        return Ok(None);
    };
    let rows = to.count - from.count;
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
