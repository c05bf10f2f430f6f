//! The chain of the audit's rows: what each row's hash covers, and where a chain is broken.
//!
//! Pure. A row's hash is SHA-256 over the hash of the row before it and the row's own values, each with its length before
//! it, so that no two rows have the same bytes. Whoever changes, removes or adds a row has to make every later hash anew,
//! and the last of them no longer is the one that was printed by an earlier export.

use std::{fmt, str::FromStr};

use launch::Moment;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

/// SHA-256. As text it is 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, Eq)]
pub struct Hash(pub(super) [u8; 32]);

/// A row of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Row {
    /// Counted from 1, without a gap.
    pub number: u64,
    /// When, by the hub's clock.
    #[schema(value_type = String, format = DateTime, example = "2026-11-18T11:06:40.123Z")]
    pub at: Moment,
    /// The subject of who did it; empty if nobody was signed in.
    pub who: String,
    /// What was done, such as `lease.create`.
    #[schema(example = "lease.create")]
    pub what: String,
    /// On what, such as a lease's id.
    pub on: String,
    /// `begun` before an action; `ok`, `refused`, `failed` or `unknown` after it.
    #[schema(example = "ok")]
    pub outcome: String,
    /// More, for people.
    pub detail: String,
    /// The request, as the log has it.
    pub request_id: String,
    /// Where the request came from; empty if it came from the hub itself.
    pub address: String,
    /// The hash of the row before.
    #[schema(value_type = String)]
    pub previous: Hash,
    /// The hash of the row.
    #[schema(value_type = String)]
    pub hash: Hash,
}

impl Row {
    /// What the row's hash has to be.
    pub fn computed(&self) -> Hash {
        let mut hash = Sha256::new();
        hash.update(self.previous.0);
        hash.update(b"adit audit 1");
        hash.update(self.number.to_be_bytes());
        hash.update(self.at.as_millis().to_be_bytes());
        for text in [
            &self.who,
            &self.what,
            &self.on,
            &self.outcome,
            &self.detail,
            &self.request_id,
            &self.address,
        ] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        Hash(hash.finalize().into())
    }
}

/// How far a chain goes: the number of its rows, and the hash of the last. As text it is `COUNT:HASH`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Rows.
    pub count: u64,
    /// The last row's hash; zeros if there is none.
    pub hash: Hash,
}

/// A chain that is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// From where on; beyond nothing if rows were pruned.
    pub from: Head,
    /// How far.
    pub head: Head,
}

impl Whole {
    /// Rows that are there.
    pub fn rows(&self) -> u64 {
        self.head.count - self.from.count
    }
}

/// Where a chain is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A row is not there.
    #[error("row {number} is missing")]
    Missing {
        /// Which.
        number: u64,
    },
    /// A row's values are not those that were written.
    #[error("row {number} was changed: its values do not have its hash")]
    Changed {
        /// Which.
        number: u64,
    },
    /// A row does not follow the one before it.
    #[error("row {number} does not follow the row before it: one of the two was put in the other's place")]
    Unlinked {
        /// Which.
        number: u64,
    },
    /// A row is whole, but not the one that was the last when the head was noted.
    #[error("row {number} is not the one that the given head names: it, or a row before it, was written anew")]
    Rewritten {
        /// Which.
        number: u64,
    },
    /// Rows at the beginning are not there, and no row says that they were pruned.
    #[error("the audit begins after row {count}, and no row of it says that those before were pruned")]
    Beheaded {
        /// The last row that is not there.
        count: u64,
    },
    /// A head lies before what is there.
    #[error(
        "the head of row {known} was given, and the rows up to {count} were pruned: check the export that has row {known}, and \
         that it ends with, or goes through, the head with which this audit begins"
    )]
    Pruned {
        /// The row of the head that was given.
        known: u64,
        /// The last row that was pruned.
        count: u64,
    },
    /// Rows at the end are not there.
    #[error("the audit ends after row {count}, and had {known} rows before: those at its end were removed")]
    Truncated {
        /// Rows that are there.
        count: u64,
        /// Rows that were there.
        known: u64,
    },
}

/// Walks along a chain.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    from: Head,
    reached: Head,
    known: Vec<Head>,
    /// Whether a row says that all before `from` was pruned.
    is_explained: bool,
}

/// What a row is about that says how far rows were pruned.
pub(super) const PRUNE: &str = "audit.prune";

impl Walk {
    /// Begins before the first row, or behind the last one that was pruned. `known` are heads that the chain once had.
    ///
    /// # Errors
    ///
    /// [`Broken::Pruned`] and [`Broken::Rewritten`] if a known head is not behind the beginning, or is not it.
    pub fn new(from: Head, known: impl IntoIterator<Item = Head>) -> Result<Self, Broken> {
        let known: Vec<Head> = known.into_iter().collect();
        let count = from.count;
        if let Some(known) = known.iter().find(|known| known.count > 0 && known.count < count) {
            let known = known.count;
            return Err(Broken::Pruned { known, count });
        }
        if known
            .iter()
            .any(|known| known.count == count && known.hash != from.hash)
        {
            return Err(Broken::Rewritten { number: count });
        }
        Ok(Self {
            from,
            reached: from,
            known,
            is_explained: from == Head::default(),
        })
    }

    /// Takes the next row.
    ///
    /// # Errors
    ///
    /// [`Broken`].
    pub fn step(&mut self, row: &Row) -> Result<(), Broken> {
        let number = self.reached.count.saturating_add(1);
        if row.number != number {
            return Err(Broken::Missing { number });
        }
        if row.previous != self.reached.hash {
            return Err(Broken::Unlinked { number });
        }
        if row.computed() != row.hash {
            return Err(Broken::Changed { number });
        }
        if self
            .known
            .iter()
            .any(|known| known.count == number && known.hash != row.hash)
        {
            return Err(Broken::Rewritten { number });
        }
        self.is_explained |= row.what == PRUNE && row.on == self.from.to_string();
        self.reached = Head {
            count: number,
            hash: row.hash,
        };
        Ok(())
    }

    /// Ends after the last row.
    ///
    /// # Errors
    ///
    /// [`Broken::Truncated`] if a known head lies further on, [`Broken::Beheaded`] if the beginning is missing without a word.
    pub fn end(self) -> Result<Whole, Broken> {
        let count = self.reached.count;
        if let Some(known) = self.known.iter().map(|known| known.count).max()
            && known > count
        {
            return Err(Broken::Truncated { count, known });
        }
        if !self.is_explained {
            return Err(Broken::Beheaded { count: self.from.count });
        }
        Ok(Whole {
            from: self.from,
            head: self.reached,
        })
    }
}

/// A text that is no hash or no head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is no hash.
    #[error("`{0}` is not a hash: 64 hexadecimal digits")]
    Hash(String),
    /// It is no head.
    #[error("`{0}` is not COUNT:HASH, as an export prints it")]
    Head(String),
}

impl PartialEq for Hash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Hash {
    type Err = ReadError;

    fn from_str(text: &str) -> Result<Self, ReadError> {
        let wrong = || ReadError::Hash(text.to_owned());
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.count, self.hash)
    }
}

impl FromStr for Head {
    type Err = ReadError;

    fn from_str(text: &str) -> Result<Self, ReadError> {
        let wrong = || ReadError::Head(text.to_owned());
        let (count, hash) = text.trim().split_once(':').ok_or_else(wrong)?;
        Ok(Self {
            count: count.parse().map_err(|_| wrong())?,
            hash: hash.parse().map_err(|_| wrong())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(length: u64) -> Vec<Row> {
        let mut previous = Hash::default();
        (1..=length)
            .map(|number| {
                let mut row = Row {
                    number,
                    at: Moment::from_millis(1_795_000_000_000 + number),
                    who: "local".to_owned(),
                    what: "lease.create".to_owned(),
                    on: format!("lease {number}"),
                    outcome: "ok".to_owned(),
                    detail: String::new(),
                    request_id: "r".to_owned(),
                    address: "192.0.2.1".to_owned(),
                    previous,
                    hash: Hash::default(),
                };
                row.hash = row.computed();
                previous = row.hash;
                row
            })
            .collect()
    }

    fn walk(rows: &[Row], known: &[Head]) -> Result<Head, Broken> {
        walk_from(Head::default(), rows, known).map(|whole| whole.head)
    }

    fn walk_from(from: Head, rows: &[Row], known: &[Head]) -> Result<Whole, Broken> {
        let mut walk = Walk::new(from, known.iter().copied())?;
        rows.iter().try_for_each(|row| walk.step(row))?;
        walk.end()
    }

    fn head(rows: &[Row]) -> Head {
        walk(rows, &[]).unwrap()
    }

    #[test]
    fn a_whole_chain_has_a_head() {
        assert_eq!(head(&[]), Head::default());
        let rows = chain(5);
        assert_eq!(head(&rows).count, 5);
        assert_eq!(head(&rows).hash, rows[4].hash);
        // Heads that were noted earlier lie on it.
        assert_eq!(walk(&rows, &[head(&rows[..2]), head(&rows)]), Ok(head(&rows)));
    }

    #[test]
    fn the_first_broken_row_is_named() {
        type Harm = fn(&mut Vec<Row>);
        // Makes all hashes from a row on anew, as somebody would who knows how.
        fn mend(rows: &mut [Row], from: usize) {
            for at in from..rows.len() {
                rows[at].previous = at.checked_sub(1).map_or(Hash::default(), |before| rows[before].hash);
                rows[at].number = at as u64 + 1;
                rows[at].hash = rows[at].computed();
            }
        }
        let noted = head(&chain(5));
        let table: [(&str, Harm, Option<Broken>, Option<Broken>); 11] = [
            ("nothing", |_| (), None, None),
            (
                "who",
                |rows| rows[2].who = "x".into(),
                Some(Broken::Changed { number: 3 }),
                Some(Broken::Changed { number: 3 }),
            ),
            (
                "when",
                |rows| rows[2].at = Moment::from_millis(1),
                Some(Broken::Changed { number: 3 }),
                Some(Broken::Changed { number: 3 }),
            ),
            (
                // The same bytes, divided otherwise.
                "a letter that moved to the next value",
                |rows| {
                    rows[2].who = "loca".into();
                    rows[2].what = "llease.create".into();
                },
                Some(Broken::Changed { number: 3 }),
                Some(Broken::Changed { number: 3 }),
            ),
            (
                "a row whose own hash was made anew",
                |rows| {
                    rows[2].outcome = "refused".into();
                    rows[2].hash = rows[2].computed();
                },
                Some(Broken::Unlinked { number: 4 }),
                Some(Broken::Unlinked { number: 4 }),
            ),
            (
                "removed in the middle",
                |rows| drop(rows.remove(2)),
                Some(Broken::Missing { number: 3 }),
                Some(Broken::Missing { number: 3 }),
            ),
            (
                "removed at the start",
                |rows| drop(rows.remove(0)),
                Some(Broken::Missing { number: 1 }),
                Some(Broken::Missing { number: 1 }),
            ),
            (
                "removed at the end",
                |rows| rows.truncate(3),
                None,
                Some(Broken::Truncated { count: 3, known: 5 }),
            ),
            (
                "emptied",
                Vec::clear,
                None,
                Some(Broken::Truncated { count: 0, known: 5 }),
            ),
            (
                "two rows changed places",
                |rows| rows.swap(1, 2),
                Some(Broken::Missing { number: 2 }),
                Some(Broken::Missing { number: 2 }),
            ),
            (
                "written anew from a row on",
                |rows| {
                    rows.remove(1);
                    rows.push(rows[3].clone());
                    mend(rows, 1);
                },
                None,
                Some(Broken::Rewritten { number: 5 }),
            ),
        ];
        for (what, harm, alone, with_head) in table {
            let mut rows = chain(5);
            harm(&mut rows);
            assert_eq!(walk(&rows, &[]).err(), alone, "{what}, alone");
            assert_eq!(
                walk(&rows, &[noted]).err(),
                with_head,
                "{what}, with a head that was noted"
            );
        }
    }

    #[test]
    fn a_pruned_chain_goes_on_from_its_last_pruned_row_if_a_row_says_so() {
        let mut rows = chain(6);
        let [early, from] = [2, 3].map(|count| head(&rows[..count]));
        let foreign = Head {
            hash: rows[0].hash,
            ..from
        };
        // (what, on, known, found)
        let whole = |rows: &[Row]| {
            let last = &rows[5];
            Ok(Whole {
                from,
                head: Head {
                    count: 6,
                    hash: last.hash,
                },
            })
        };
        let pruned = Err(Broken::Pruned { known: 2, count: 3 });
        for (what, on, known, expected) in [
            (PRUNE, from, None, None),
            (PRUNE, from, Some(from), None),
            (PRUNE, from, Some(early), Some(pruned)),
            (PRUNE, from, Some(foreign), Some(Err(Broken::Rewritten { number: 3 }))),
            (PRUNE, foreign, None, Some(Err(Broken::Beheaded { count: 3 }))),
            ("lease.end", from, None, Some(Err(Broken::Beheaded { count: 3 }))),
        ] {
            (rows[5].what, rows[5].on) = (what.to_owned(), on.to_string());
            rows[5].hash = rows[5].computed();
            let expected = expected.unwrap_or_else(|| whole(&rows));
            let known: Vec<Head> = known.into_iter().collect();
            assert_eq!(walk_from(from, &rows[3..], &known), expected, "{what} {on} {known:?}");
        }
        assert_eq!(whole(&rows).map(|whole| whole.rows()), Ok(3));
    }

    #[test]
    fn a_row_and_a_head_are_read_as_they_are_written() {
        let rows = chain(2);
        let text = serde_json::to_string(&rows[1]).unwrap();
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), rows[1]);
        let head = head(&rows);
        assert_eq!(head.to_string().parse(), Ok(head));
        for wrong in ["", "5", "5:", "x:00", "5:zz", "-1:00", &format!("5:{}", "é".repeat(32))] {
            assert!(wrong.parse::<Head>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_hash_of_a_row_is_the_documented_one() {
        // Computed by another program from the description at the top of this file.
        let rows = chain(1);
        assert_eq!(
            rows[0].hash.to_string(),
            "ba33d424ff284dbdfa8245917df34b50c35625a233571227e268de251856f315"
        );
    }
}
