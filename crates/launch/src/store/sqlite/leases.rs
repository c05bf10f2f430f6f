//! Leases as rows.

use std::time::Duration;

use rusqlite::{OptionalExtension as _, ToSql, Transaction, params, params_from_iter};

use super::Database;
use crate::{
    Lease, LeaseId, Moment,
    lease::Notice,
    policy::Policy,
    store::{Filter, IdempotencyKey, Inserted, Limit, NewLease, Numbered, Page, Store, StoreError, Usage},
};

/// How long a request is known as made before.
const REMEMBER: Duration = Duration::from_secs(86_400);

/// The period in which minutes are counted.
const DAY: Duration = Duration::from_secs(86_400);

/// Leases on a page, unless another number is asked for, and at most.
const PAGE: usize = 50;
const MAX_PAGE: usize = 1_000;

impl Store for Database {
    fn insert(&self, new: &NewLease<'_>, now: Moment) -> Result<Inserted, StoreError> {
        let NewLease {
            lease,
            notices,
            key,
            policy,
        } = *new;
        self.write(|transaction| {
            if let Some(key) = key {
                let before = transaction
                    .query_row(
                        "SELECT body_hash, lease FROM requests WHERE owner = ?1 AND key = ?2 AND created_at > ?3",
                        params![lease.owner, key.key, before(now, REMEMBER)],
                        |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?)),
                    )
                    .optional()?;
                if let Some((hash, id)) = before {
                    let id = id.parse::<LeaseId>().ok().filter(|_| hash == key.body_hash);
                    return Ok(id.map_or(Inserted::KeyReused, Inserted::Again));
                }
            }
            if let Some(limit) = limit(transaction, lease, policy, now)? {
                return Ok(Inserted::Limit(limit));
            }
            transaction.execute(
                "INSERT INTO leases (id, owner, place, state, version, created_at, removed_at, seconds, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, ?7, ?8)",
                params![
                    lease.id.to_string(),
                    lease.owner,
                    lease.order.place,
                    lease.state.as_str(),
                    signed(lease.version),
                    signed(lease.created_at.as_millis()),
                    signed(seconds(lease)),
                    serde_json::to_string(lease)?
                ],
            )?;
            add_notices(transaction, lease.id, notices)?;
            if let Some(IdempotencyKey { key, body_hash }) = key {
                transaction.execute(
                    "INSERT OR REPLACE INTO requests (owner, key, body_hash, lease, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![lease.owner, key, body_hash, lease.id.to_string(), signed(now.as_millis())],
                )?;
                transaction.execute("DELETE FROM requests WHERE created_at <= ?1", [before(now, REMEMBER)])?;
            }
            Ok(Inserted::New)
        })
    }

    fn update(&self, lease: &mut Lease, notices: &[Notice]) -> Result<(), StoreError> {
        let version = lease.version;
        lease.version += 1;
        let kept = self.write(|transaction| {
            let changed = transaction.execute(
                "UPDATE leases SET state = ?2, version = ?3, removed_at = ?4, seconds = ?5, body = ?6
                 WHERE id = ?1 AND version = ?7",
                params![
                    lease.id.to_string(),
                    lease.state.as_str(),
                    signed(lease.version),
                    lease.removed_at.map(|at| signed(at.as_millis())),
                    signed(seconds(lease)),
                    serde_json::to_string(&lease)?,
                    signed(version)
                ],
            )?;
            if changed == 0 {
                return Err(StoreError::Stale);
            }
            add_notices(transaction, lease.id, notices)
        });
        if kept.is_err() {
            lease.version = version;
        }
        kept
    }

    fn read(&self, id: LeaseId) -> Result<Option<Lease>, StoreError> {
        self.read(|connection| {
            let body: Option<String> = connection
                .prepare_cached("SELECT body FROM leases WHERE id = ?1")?
                .query_row([id.to_string()], |row| row.get(0))
                .optional()?;
            Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
        })
    }

    fn list(&self, filter: &Filter) -> Result<Page, StoreError> {
        let limit = match filter.limit {
            0 => PAGE,
            limit => limit.min(MAX_PAGE),
        };
        let mut conditions = vec!["TRUE".to_owned()];
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        if let Some(owner) = &filter.owner {
            conditions.push("owner = ?".to_owned());
            values.push(Box::new(owner.clone()));
        }
        if let Some(after) = filter.after {
            conditions.push("id < ?".to_owned());
            values.push(Box::new(after.to_string()));
        }
        if let Some(is_running) = filter.running {
            conditions.push(format!(
                "removed_at IS {}",
                if is_running { "NULL" } else { "NOT NULL" }
            ));
        }
        if !filter.states.is_empty() {
            let marks = vec!["?"; filter.states.len()].join(", ");
            conditions.push(format!("state IN ({marks})"));
            values.extend(
                filter
                    .states
                    .iter()
                    .map(|state| Box::new(state.as_str()) as Box<dyn ToSql>),
            );
        }
        let query = format!(
            "SELECT body FROM leases WHERE {} ORDER BY id DESC LIMIT {}",
            conditions.join(" AND "),
            limit + 1
        );
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&query)?;
            let mut rows = statement.query(params_from_iter(values.iter()))?;
            let mut leases: Vec<Lease> = Vec::new();
            while let Some(row) = rows.next()? {
                leases.push(serde_json::from_str(
                    row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?,
                )?);
            }
            let has_more = leases.len() > limit;
            leases.truncate(limit);
            let next = leases.last().map(|lease| lease.id).filter(|_| has_more);
            Ok(Page { leases, next })
        })
    }

    fn unfinished(&self) -> Result<Vec<Lease>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT body FROM leases WHERE removed_at IS NULL ORDER BY id")?;
            let mut rows = statement.query([])?;
            let mut leases = Vec::new();
            while let Some(row) = rows.next()? {
                leases.push(serde_json::from_str(
                    row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?,
                )?);
            }
            Ok(leases)
        })
    }

    fn notices(&self, id: LeaseId, after: u64) -> Result<Vec<Numbered>, StoreError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT number, body FROM notices WHERE lease = ?1 AND number > ?2 ORDER BY number")?;
            let mut rows = statement.query(params![id.to_string(), signed(after)])?;
            let mut notices = Vec::new();
            while let Some(row) = rows.next()? {
                let number = u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default();
                let notice = serde_json::from_str(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
                notices.push(Numbered { number, notice });
            }
            Ok(notices)
        })
    }

    fn usage(&self, owner: Option<&str>, since: Moment, now: Moment) -> Result<Vec<Usage>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT owner, SUM(removed_at IS NULL), SUM(created_at > ?1), SUM(IIF(created_at > ?1, seconds, 0))
                 FROM leases WHERE (created_at > ?1 OR removed_at IS NULL) AND (?2 IS NULL OR owner = ?2)
                 GROUP BY owner ORDER BY owner",
            )?;
            let since = signed(since.min(now).as_millis());
            let mut rows = statement.query(params![since, owner])?;
            let mut usage = Vec::new();
            while let Some(row) = rows.next()? {
                let seconds = u64::try_from(row.get::<_, i64>(3)?).unwrap_or_default();
                usage.push(Usage {
                    owner: row.get(0)?,
                    running: row.get(1)?,
                    leases: row.get(2)?,
                    minutes: seconds.div_ceil(60),
                });
            }
            Ok(usage)
        })
    }

    fn forget(&self, before: Moment, most: usize, now: Moment) -> Result<usize, StoreError> {
        self.write(|transaction| {
            // What was removed then was made then: the index by age finds them.
            let old: Vec<String> = transaction
                .prepare_cached("SELECT id FROM leases WHERE created_at < ?1 AND removed_at < ?1 LIMIT ?2")?
                .query_map(
                    params![signed(before.as_millis()), i64::try_from(most).unwrap_or(i64::MAX)],
                    |row| row.get(0),
                )?
                .collect::<Result<_, _>>()?;
            for id in &old {
                transaction
                    .prepare_cached("DELETE FROM notices WHERE lease = ?1")?
                    .execute([id])?;
                transaction
                    .prepare_cached("DELETE FROM leases WHERE id = ?1")?
                    .execute([id])?;
            }
            transaction.execute(
                "DELETE FROM requests WHERE created_at <= ?1",
                [self::before(now, REMEMBER)],
            )?;
            Ok(old.len())
        })
    }

    fn check(&self) -> Result<(), StoreError> {
        self.write(|transaction| {
            // Takes pages, so that a full disk shows, and gives them back.
            transaction.execute("INSERT INTO requests VALUES ('', '', zeroblob(8192), '', 0)", [])?;
            transaction.execute("DELETE FROM requests WHERE owner = '' AND key = ''", [])?;
            Ok(())
        })
    }
}

/// The first limit that one more lease would be beyond.
fn limit(
    transaction: &Transaction<'_>,
    lease: &Lease,
    policy: &Policy,
    now: Moment,
) -> Result<Option<Limit>, rusqlite::Error> {
    if let Some(most) = policy.leases_per_user {
        let running: u32 = transaction.query_row(
            "SELECT COUNT(*) FROM leases WHERE owner = ?1 AND removed_at IS NULL",
            [&lease.owner],
            |row| row.get(0),
        )?;
        if running >= most {
            return Ok(Some(Limit::PerUser { most }));
        }
    }
    if let Some(most) = policy.leases {
        let running: u32 =
            transaction.query_row("SELECT COUNT(*) FROM leases WHERE removed_at IS NULL", [], |row| {
                row.get(0)
            })?;
        if running >= most {
            return Ok(Some(Limit::InAll { most }));
        }
    }
    if let Some(most) = policy.minutes_a_day {
        let seconds: i64 = transaction.query_row(
            "SELECT COALESCE(SUM(seconds), 0) FROM leases WHERE owner = ?1 AND created_at > ?2",
            params![lease.owner, before(now, DAY)],
            |row| row.get(0),
        )?;
        let used = u64::try_from(seconds).unwrap_or_default().div_ceil(60);
        let left = u64::from(most).saturating_sub(used);
        if lease.granted_secs.div_ceil(60) > left {
            return Ok(Some(Limit::Minutes { most, left }));
        }
    }
    Ok(None)
}

/// Seconds that count against a user's limit: what was granted while it runs, what was used once it is over.
fn seconds(lease: &Lease) -> u64 {
    match (lease.removed_at, lease.ready_at) {
        (None, _) => lease.granted_secs,
        (Some(_), None) => 0,
        (Some(removed), Some(ready)) => removed.since(ready).as_secs().min(lease.granted_secs),
    }
}

fn add_notices(transaction: &Transaction<'_>, id: LeaseId, notices: &[Notice]) -> Result<(), StoreError> {
    if notices.is_empty() {
        return Ok(());
    }
    let id = id.to_string();
    let mut add = transaction.prepare_cached(
        "INSERT INTO notices (lease, number, body)
         VALUES (?1, (SELECT COALESCE(MAX(number), 0) + 1 FROM notices WHERE lease = ?1), ?2)",
    )?;
    for notice in notices {
        add.execute(params![id, serde_json::to_string(notice)?])?;
    }
    Ok(())
}

fn before(now: Moment, duration: Duration) -> i64 {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    signed(now.as_millis().saturating_sub(millis))
}

/// SQLite's numbers are signed; ours are far from where that matters.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
