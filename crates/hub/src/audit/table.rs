//! The audit's rows in the database, which takes new ones only at the end and never changes one.

use launch::{Moment, store::sqlite::Database};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{
    Stamped,
    chain::{Hash, Head, Row},
};

/// The rows, how far they go, and how far they were pruned. Triggers refuse what is neither an addition at the end nor the
/// removal of what the note of pruned rows covers, by whatever way it comes:
/// `INSERT OR REPLACE` would remove a row without a word, were it not that a row's number has to be the next.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS audit (
        number INTEGER PRIMARY KEY NOT NULL,
        at INTEGER NOT NULL,
        who TEXT NOT NULL,
        what TEXT NOT NULL,
        target TEXT NOT NULL,
        outcome TEXT NOT NULL,
        detail TEXT NOT NULL,
        request_id TEXT NOT NULL,
        address TEXT NOT NULL,
        previous BLOB NOT NULL CHECK (length(previous) = 32),
        hash BLOB NOT NULL CHECK (length(hash) = 32)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS audit_head (
        id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
        count INTEGER NOT NULL,
        hash BLOB NOT NULL CHECK (length(hash) = 32)
    ) STRICT;
    INSERT INTO audit_head SELECT 1, 0, zeroblob(32) WHERE NOT EXISTS (SELECT 1 FROM audit_head);
    CREATE TABLE IF NOT EXISTS audit_pruned (
        id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
        count INTEGER NOT NULL,
        hash BLOB NOT NULL CHECK (length(hash) = 32)
    ) STRICT;
    INSERT INTO audit_pruned SELECT 1, 0, zeroblob(32) WHERE NOT EXISTS (SELECT 1 FROM audit_pruned);
    CREATE TRIGGER IF NOT EXISTS audit_grows_at_the_end BEFORE INSERT ON audit
        WHEN NEW.number IS NOT (SELECT COALESCE(MAX(number), 0) + 1 FROM audit)
        BEGIN SELECT RAISE(ABORT, 'the audit grows at its end only'); END;
    CREATE TRIGGER IF NOT EXISTS audit_is_not_changed BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit is not changed'); END;
    DROP TRIGGER IF EXISTS audit_is_not_shortened;
    CREATE TRIGGER IF NOT EXISTS audit_loses_what_is_pruned BEFORE DELETE ON audit
        WHEN OLD.number > (SELECT count FROM audit_pruned)
        BEGIN SELECT RAISE(ABORT, 'the audit is not shortened'); END;
    CREATE TRIGGER IF NOT EXISTS audit_pruned_goes_on BEFORE UPDATE ON audit_pruned
        WHEN NEW.count <= OLD.count OR NEW.count >= (SELECT count FROM audit_head)
            OR NEW.hash IS NOT (SELECT hash FROM audit WHERE number = NEW.count)
        BEGIN SELECT RAISE(ABORT, 'the audit is pruned at its beginning only'); END;
    CREATE TRIGGER IF NOT EXISTS audit_pruned_is_one BEFORE INSERT ON audit_pruned
        WHEN EXISTS (SELECT 1 FROM audit_pruned)
        BEGIN SELECT RAISE(ABORT, 'the audit is pruned at its beginning only'); END;
    CREATE TRIGGER IF NOT EXISTS audit_pruned_stays BEFORE DELETE ON audit_pruned
        BEGIN SELECT RAISE(ABORT, 'the audit is pruned at its beginning only'); END;
    CREATE TRIGGER IF NOT EXISTS audit_head_goes_on BEFORE UPDATE ON audit_head WHEN NEW.count <= OLD.count
        BEGIN SELECT RAISE(ABORT, 'the audit is not shortened'); END;
    CREATE TRIGGER IF NOT EXISTS audit_head_is_one BEFORE INSERT ON audit_head WHEN EXISTS (SELECT 1 FROM audit_head)
        BEGIN SELECT RAISE(ABORT, 'the audit is not shortened'); END;
    CREATE TRIGGER IF NOT EXISTS audit_head_stays BEFORE DELETE ON audit_head
        BEGIN SELECT RAISE(ABORT, 'the audit is not shortened'); END;
";

const COLUMNS: &str = "number, at, who, what, target, outcome, detail, request_id, address, previous, hash";

pub(super) fn make(database: &Database) -> rusqlite::Result<()> {
    database.write(|transaction| transaction.execute_batch(TABLES))
}

/// Adds rows at the end.
pub(super) fn append(transaction: &Transaction<'_>, entries: &[Stamped]) -> rusqlite::Result<()> {
    append_rows(transaction, entries.iter().map(|entry| move |head| entry.row(head)))
}

/// Adds rows at the end, each made of the head that it follows.
pub(super) fn append_rows(
    transaction: &Transaction<'_>,
    rows: impl Iterator<Item = impl FnOnce(Head) -> Row>,
) -> rusqlite::Result<()> {
    let before = last(transaction)?;
    let mut head = before;
    let mut add = transaction.prepare_cached(
        "INSERT INTO audit (number, at, who, what, target, outcome, detail, request_id, address, previous, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for row in rows {
        let row = row(head);
        add.execute(params![
            signed(row.number),
            signed(row.at.as_millis()),
            row.who,
            row.what,
            row.on,
            row.outcome,
            row.detail,
            row.request_id,
            row.address,
            row.previous.0,
            row.hash.0,
        ])?;
        head = Head {
            count: row.number,
            hash: row.hash,
        };
    }
    if head != before {
        transaction.execute(
            "UPDATE audit_head SET count = ?1, hash = ?2",
            params![signed(head.count), head.hash.0],
        )?;
    }
    Ok(())
}

/// The head as the last row has it.
fn last(connection: &Connection) -> rusqlite::Result<Head> {
    let head = connection
        .prepare_cached("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")?
        .query_row([], read_head)
        .optional()?;
    Ok(head.unwrap_or_default())
}

/// The head as it was noted with the last row.
pub(super) fn noted(connection: &Connection) -> rusqlite::Result<Head> {
    connection.query_row("SELECT count, hash FROM audit_head", [], read_head)
}

/// The last row that was pruned; nothing if none was.
pub(super) fn pruned(connection: &Connection) -> rusqlite::Result<Head> {
    connection.query_row("SELECT count, hash FROM audit_pruned", [], read_head)
}

/// How many rows there are, as their numbers have it.
pub(super) fn count(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(last(connection)?.count.saturating_sub(pruned(connection)?.count))
}

/// The head as this row has it.
pub(super) fn head_at(connection: &Connection, number: u64) -> rusqlite::Result<Head> {
    connection.query_row(
        "SELECT number, hash FROM audit WHERE number = ?1",
        [signed(number)],
        read_head,
    )
}

/// The number of the row before the first that is not from before `before`, or before the newest.
pub(super) fn last_before(connection: &Connection, before: Moment) -> rusqlite::Result<u64> {
    let newest = last(connection)?.count;
    let kept: Option<i64> = connection
        .query_row(
            "SELECT number FROM audit WHERE at >= ?1 ORDER BY number LIMIT 1",
            [signed(before.as_millis())],
            |row| row.get(0),
        )
        .optional()?;
    Ok(kept.map_or(newest, unsigned).min(newest).saturating_sub(1))
}

/// Notes how far rows were pruned, and removes them.
pub(super) fn remove(transaction: &Transaction<'_>, to: Head) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE audit_pruned SET count = ?1, hash = ?2",
        params![signed(to.count), to.hash.0],
    )?;
    transaction.execute("DELETE FROM audit WHERE number <= ?1", [signed(to.count)])?;
    Ok(())
}

fn read_head(row: &rusqlite::Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head {
        count: unsigned(row.get(0)?),
        hash: Hash(row.get(1)?),
    })
}

/// Rows before `before`, the newest first.
pub(super) fn page(connection: &Connection, before: Option<u64>, limit: usize) -> rusqlite::Result<Vec<Row>> {
    let query = format!("SELECT {COLUMNS} FROM audit WHERE number < ?1 ORDER BY number DESC LIMIT ?2");
    connection
        .prepare_cached(&query)?
        .query_map(
            params![
                before.map_or(i64::MAX, signed),
                i64::try_from(limit).unwrap_or(i64::MAX)
            ],
            read,
        )?
        .collect()
}

/// Hands over every row, the oldest first.
pub(super) fn each<E: From<rusqlite::Error>>(
    connection: &Connection,
    mut take: impl FnMut(Row) -> Result<(), E>,
) -> Result<(), E> {
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM audit ORDER BY number"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(read(row)?)?;
    }
    Ok(())
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        number: unsigned(row.get(0)?),
        at: Moment::from_millis(unsigned(row.get(1)?)),
        who: row.get(2)?,
        what: row.get(3)?,
        on: row.get(4)?,
        outcome: row.get(5)?,
        detail: row.get(6)?,
        request_id: row.get(7)?,
        address: row.get(8)?,
        previous: Hash(row.get(9)?),
        hash: Hash(row.get(10)?),
    })
}

/// SQLite's numbers are signed; ours are far from where that matters.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number below zero is nothing that was written here, and breaks the chain as zero does.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
