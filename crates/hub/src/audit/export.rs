//! The audit as lines of JSON, and the walk along its chain, in the database or in such lines.

use std::io::{BufRead, Write};

use launch::store::sqlite::Database;
use rusqlite::Connection;

use super::{
    Broken, Head, Row,
    chain::{Walk, Whole},
    table::{each, noted, pruned},
};

/// Why an audit is not whole, or could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not whole.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// A line of an export is no row.
    #[error("line {line} is not a row of the audit: {error}")]
    Line {
        /// Which, counted from 1.
        line: u64,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// The database does not answer.
    #[error("the audit cannot be read: {0}")]
    Database(#[from] rusqlite::Error),
    /// The export could not be written or read.
    #[error("the export cannot be written or read: {0}")]
    Io(#[from] std::io::Error),
}

/// Walks along the rows that an export wrote, past every one of the `known` heads. It begins with the export's first row.
///
/// # Errors
///
/// [`VerifyError`].
pub fn verify_lines(lines: impl BufRead, known: &[Head]) -> Result<Whole, VerifyError> {
    let known = || known.iter().copied();
    let mut walk = None;
    for (line, text) in (1..).zip(lines.lines()) {
        let row: Row = serde_json::from_str(&text?).map_err(|error| VerifyError::Line { line, error })?;
        let walk = match &mut walk {
            Some(walk) => walk,
            none => {
                let from = Head {
                    count: row.number.saturating_sub(1),
                    hash: row.previous,
                };
                none.insert(Walk::new(from, known())?)
            }
        };
        walk.step(&row)?;
    }
    let walk = walk.map_or_else(|| Walk::new(Head::default(), known()), Ok);
    Ok(walk?.end()?)
}

pub(super) fn verify(database: &Database, known: &[Head]) -> Result<Whole, VerifyError> {
    database.read(|connection| along(connection, known, |_| Ok(())))
}

pub(super) fn export(database: &Database, out: &mut dyn Write) -> Result<Whole, VerifyError> {
    let whole = database.read(|connection| {
        along(connection, &[], |row| {
            serde_json::to_writer(&mut *out, row).map_err(std::io::Error::from)?;
            Ok(out.write_all(b"\n")?)
        })
    })?;
    out.flush()?;
    Ok(whole)
}

fn along(
    connection: &Connection,
    known: &[Head],
    mut see: impl FnMut(&Row) -> Result<(), VerifyError>,
) -> Result<Whole, VerifyError> {
    // Rows and head of one moment, whoever writes meanwhile.
    let moment = connection.unchecked_transaction()?;
    let known = known.iter().copied().chain([noted(&moment)?]);
    let mut walk = Walk::new(pruned(&moment)?, known)?;
    each(&moment, |row| {
        walk.step(&row)?;
        see(&row)
    })?;
    Ok(walk.end()?)
}
