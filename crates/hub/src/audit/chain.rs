//! The chain of the audit's rows: what each row's hash covers, and where a chain is broken.
//!
//! Pure. A row's hash is SHA-256 over the hash of the row before it and the row's own values, each with its length before
//! it, so that no two rows have the same bytes. Whoever changes, removes or adds a row has to make every later hash anew,
//! and the last of them no longer is the one that was printed by an earlier export.

#[cfg(test)]
mod tests;

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
