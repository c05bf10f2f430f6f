//! Sessions: who signed in with a browser, and until when.
//!
//! A session's cookie is 256 random bits, of which the table has the fingerprint. A session ends when its time is over, when
//! it was idle for too long, when somebody signs out, and when its account is blocked or barred. It survives a restart.

use std::time::Duration;

use launch::Moment;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{
    account::{self, Account},
    secret::{Fingerprint, Purpose, Secret},
    tables::{moment, signed},
};

/// Sessions of one account; the oldest goes when one more begins.
const MOST: u32 = 50;

/// A session's use is written down at most so often.
const NOTED_EVERY: Duration = Duration::from_secs(60);

/// How long sessions last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// From the sign-in; 12 hours.
    pub absolute: Duration,
    /// Without a request; 2 hours.
    pub idle: Duration,
}

impl Default for Lifetime {
    fn default() -> Self {
        Self {
            absolute: Duration::from_secs(12 * 3600),
            idle: Duration::from_secs(2 * 3600),
        }
    }
}

/// How a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Began {
    /// By the token that was printed at the start.
    Printed,
    /// At the provider.
    Provider,
}

/// A session that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) account: Account,
    pub(super) began: Began,
    /// Whether it is time to write down that it was used.
    pub(super) is_to_be_noted: bool,
}

/// Begins a session with this secret, and removes what is over.
pub(super) fn begin(
    transaction: &Transaction<'_>,
    secret: &Secret,
    subject: &str,
    began: Began,
    lifetime: Lifetime,
    now: Moment,
) -> rusqlite::Result<()> {
    let idle_since = signed(now).saturating_sub(millis(lifetime.idle));
    transaction.execute(
        "DELETE FROM sessions WHERE expires_at <= ?1 OR seen_at <= ?2",
        params![signed(now), idle_since],
    )?;
    transaction.execute(
        "DELETE FROM sessions WHERE fingerprint IN
            (SELECT fingerprint FROM sessions WHERE subject = ?1 ORDER BY created_at DESC LIMIT -1 OFFSET ?2)",
        params![subject, MOST - 1],
    )?;
    transaction.execute(
        "INSERT INTO sessions (fingerprint, subject, how, created_at, seen_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?4, ?5)",
        params![
            secret.fingerprint(Purpose::Session).as_bytes(),
            subject,
            began.as_str(),
            signed(now),
            signed(now + lifetime.absolute)
        ],
    )?;
    Ok(())
}

/// The session of this fingerprint, if it lasts.
pub(super) fn find(
    connection: &Connection,
    fingerprint: &Fingerprint,
    lifetime: Lifetime,
    now: Moment,
) -> rusqlite::Result<Option<Session>> {
    let found = connection
        .prepare_cached(&format!(
            "SELECT sessions.how, sessions.seen_at, sessions.expires_at, {} FROM sessions
             JOIN accounts ON accounts.subject = sessions.subject WHERE sessions.fingerprint = ?1",
            account::COLUMNS
        ))?
        .query_row([fingerprint.as_bytes()], |row| {
            let how: String = row.get(0)?;
            Ok((how, moment(row.get(1)?), moment(row.get(2)?), account::read(row, 3)?))
        })
        .optional()?;
    let Some((how, seen_at, expires_at, account)) = found else {
        return Ok(None);
    };
    let unused = now.since(seen_at);
    if now >= expires_at || unused >= lifetime.idle {
        return Ok(None);
    }
    Ok(Began::of(&how).map(|began| Session {
        account,
        began,
        is_to_be_noted: unused >= NOTED_EVERY.min(lifetime.idle / 4),
    }))
}

/// Writes down that a session was used.
pub(super) fn note(transaction: &Transaction<'_>, fingerprint: &Fingerprint, now: Moment) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE sessions SET seen_at = MAX(seen_at, ?2) WHERE fingerprint = ?1",
        params![fingerprint.as_bytes(), signed(now)],
    )?;
    Ok(())
}

/// Ends a session. `false`: there is none of this fingerprint.
pub(super) fn end(transaction: &Transaction<'_>, fingerprint: &Fingerprint) -> rusqlite::Result<bool> {
    let changed = transaction.execute("DELETE FROM sessions WHERE fingerprint = ?1", [fingerprint.as_bytes()])?;
    Ok(changed > 0)
}

/// Sessions that last.
pub(super) fn count(connection: &Connection, lifetime: Lifetime, now: Moment) -> rusqlite::Result<u64> {
    let idle_since = signed(now).saturating_sub(millis(lifetime.idle));
    let count: i64 = connection.query_row(
        "SELECT COUNT(*) FROM sessions WHERE expires_at > ?1 AND seen_at > ?2",
        params![signed(now), idle_since],
        |row| row.get(0),
    )?;
    Ok(u64::try_from(count).unwrap_or_default())
}

impl Began {
    fn as_str(self) -> &'static str {
        match self {
            Self::Printed => "printed",
            Self::Provider => "provider",
        }
    }

    fn of(text: &str) -> Option<Self> {
        [Self::Printed, Self::Provider]
            .into_iter()
            .find(|began| began.as_str() == text)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use launch::store::sqlite::Database;

    use super::*;
    use crate::{identity::Role, sign_in::tables::Tables};

    const LIFETIME: Lifetime = Lifetime {
        absolute: Duration::from_secs(3600),
        idle: Duration::from_secs(600),
    };

    fn at(secs: u64) -> Moment {
        Moment::from_millis(1_795_000_000_000 + secs * 1000)
    }

    fn database() -> Database {
        let database = Database::in_memory().unwrap();
        let database = Arc::new(database);
        let _tables = Tables::open(Arc::clone(&database)).unwrap();
        let known = account::Known {
            subject: "local".to_owned(),
            realm: "local".to_owned(),
            name: "local".to_owned(),
            email: String::new(),
            roles: BTreeSet::from([Role::User]),
        };
        database
            .write(|transaction| account::keep(transaction, &known, at(0)))
            .unwrap();
        drop(_tables);
        Arc::into_inner(database).unwrap()
    }

    fn print(secret: &Secret) -> Fingerprint {
        secret.fingerprint(Purpose::Session)
    }

    #[test]
    fn a_session_ends_by_itself() {
        // (seconds after the sign-in at which it is used, seconds at which it is asked for, lasts?)
        for (uses, asked, lasts) in [
            (&[][..], 0, true),
            (&[], 599, true),
            (&[], 600, false),
            (&[500], 1099, true),
            (&[500], 1100, false),
            (&[500, 1000, 1500, 2000, 2500, 3000, 3500], 3599, true),
            (&[500, 1000, 1500, 2000, 2500, 3000, 3500], 3600, false),
        ] {
            let database = database();
            let secret = Secret::random().unwrap();
            database
                .write(|t| begin(t, &secret, "local", Began::Printed, LIFETIME, at(0)))
                .unwrap();
            for used in uses {
                let found = database
                    .read(|c| find(c, &print(&secret), LIFETIME, at(*used)))
                    .unwrap();
                assert!(found.is_some_and(|session| session.is_to_be_noted), "{used}");
                database.write(|t| note(t, &print(&secret), at(*used))).unwrap();
            }
            let found = database
                .read(|c| find(c, &print(&secret), LIFETIME, at(asked)))
                .unwrap();
            assert_eq!(found.is_some(), lasts, "{uses:?} {asked}");
            assert_eq!(
                database.read(|c| count(c, LIFETIME, at(asked))).unwrap(),
                u64::from(lasts)
            );
        }
    }

    #[test]
    fn a_session_is_found_by_its_own_secret_only_until_it_is_ended() {
        let database = database();
        let (secret, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        database
            .write(|t| begin(t, &secret, "local", Began::Provider, LIFETIME, at(0)))
            .unwrap();
        let find = |secret: &Secret| database.read(|c| find(c, &print(secret), LIFETIME, at(1))).unwrap();
        assert_eq!(find(&secret).map(|session| session.began), Some(Began::Provider));
        assert_eq!(find(&other), None);
        // The table has no secret.
        let kept: Vec<u8> = database
            .read(|c| c.query_row("SELECT fingerprint FROM sessions", [], |row| row.get(0)))
            .unwrap();
        assert_ne!(kept, secret.expose().as_bytes());
        assert!(database.write(|t| end(t, &print(&secret))).unwrap());
        assert_eq!(find(&secret), None);
        assert!(!database.write(|t| end(t, &print(&secret))).unwrap());
    }

    #[test]
    fn one_account_has_so_many_sessions_and_no_more() {
        let database = database();
        let first = Secret::random().unwrap();
        database
            .write(|t| begin(t, &first, "local", Began::Printed, LIFETIME, at(0)))
            .unwrap();
        for second in 1..=u64::from(MOST) {
            let secret = Secret::random().unwrap();
            database
                .write(|t| begin(t, &secret, "local", Began::Printed, LIFETIME, at(second)))
                .unwrap();
        }
        assert_eq!(database.read(|c| count(c, LIFETIME, at(60))).unwrap(), u64::from(MOST));
        assert_eq!(
            database.read(|c| find(c, &print(&first), LIFETIME, at(60))).unwrap(),
            None
        );
    }
}
