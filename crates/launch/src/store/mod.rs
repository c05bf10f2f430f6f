//! What is kept of leases. Narrow enough for another database than SQLite.

pub mod sqlite;

use serde::{Deserialize, Serialize};

use crate::{Lease, LeaseId, Moment, State, lease::Notice, policy::Policy};

pub use self::sqlite::Database;

/// Keeps the rows. Every call is one transaction: it is kept when it returns, or nothing of it is.
pub trait Store: std::fmt::Debug + Send + Sync + 'static {
    /// Keeps a new lease if the policy allows it, unless the request was made before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn insert(&self, new: &NewLease<'_>, now: Moment) -> Result<Inserted, StoreError>;

    /// Keeps a changed lease, and counts its version up.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`] if somebody else has changed it since it was read.
    fn update(&self, lease: &mut Lease, notices: &[Notice]) -> Result<(), StoreError>;

    /// A lease; `None` if there is none of this id.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn read(&self, id: LeaseId) -> Result<Option<Lease>, StoreError>;

    /// Leases that a filter lets through, the newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn list(&self, filter: &Filter) -> Result<Page, StoreError>;

    /// Every lease of which something may be left at its place.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn unfinished(&self) -> Result<Vec<Lease>, StoreError>;

    /// What happened with a lease after the notice of this number.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn notices(&self, id: LeaseId, after: u64) -> Result<Vec<Numbered>, StoreError>;

    /// What users have, and had since `since`; of all, or of one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn usage(&self, owner: Option<&str>, since: Moment, now: Moment) -> Result<Vec<Usage>, StoreError>;

    /// Removes so many leases at most that were removed before `before`, with their history, and the requests that are no longer
    /// remembered; gives how many leases it was.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn forget(&self, before: Moment, most: usize, now: Moment) -> Result<usize, StoreError>;

    /// Whether something can be written.
    ///
    /// # Errors
    ///
    /// Why not.
    fn check(&self) -> Result<(), StoreError>;
}

/// A lease that is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct NewLease<'a> {
    /// The row.
    pub lease: &'a Lease,
    /// What happened so far.
    pub notices: &'a [Notice],
    /// What makes a repeated request the same request.
    pub key: Option<&'a IdempotencyKey>,
    /// What its owner may have.
    pub policy: &'a Policy,
}

/// What makes a repeated request the same request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Chosen by the client, for one user.
    pub key: String,
    /// SHA-256 of the request.
    pub body_hash: [u8; 32],
}

/// What became of a new lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is kept.
    New,
    /// The request was made before, and this came of it.
    Again(LeaseId),
    /// The key belongs to another request.
    KeyReused,
    /// There would be too many.
    Limit(Limit),
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Of running leases of one user.
    #[error("{most} of your gateways are running, as many as one user may have; end one first")]
    PerUser {
        /// The limit.
        most: u32,
    },
    /// Of running leases in all.
    #[error("{most} gateways are running, as many as there may be in all; try again later")]
    InAll {
        /// The limit.
        most: u32,
    },
    /// Of minutes that a user asked for in 24 hours.
    #[error("this would be more than the {most} minutes that a user may have in 24 hours; {left} are left")]
    Minutes {
        /// The limit.
        most: u32,
        /// What is left of it.
        left: u64,
    },
}

/// Which leases are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Whose; `None` is everybody's.
    pub owner: Option<String>,
    /// In which states; none is any.
    pub states: Vec<State>,
    /// Whether they are removed or not; `None` is both.
    pub running: Option<bool>,
    /// Those before this one.
    pub after: Option<LeaseId>,
    /// How many at most; 0 is 50.
    pub limit: usize,
}

/// Some leases of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The newest first.
    pub leases: Vec<Lease>,
    /// What to ask for the rest with; `None` if there is none.
    pub next: Option<LeaseId>,
}

/// A notice with its place in a lease's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// From 1.
    pub number: u64,
    /// What happened.
    #[serde(flatten)]
    pub notice: Notice,
}

/// What a user has and had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Who.
    pub owner: String,
    /// Leases that are not removed.
    pub running: u32,
    /// Leases since the beginning of the period.
    pub leases: u32,
    /// Minutes of them: as granted while they run, as used afterwards.
    pub minutes: u64,
}

/// Why nothing was kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else has changed the row.
    #[error("the lease was changed by another process meanwhile")]
    Stale,
    /// The file is of a newer adit.
    #[error("the store is of a newer version of adit (its form is {found}, this one knows {known}): update adit")]
    Newer {
        /// What the file says.
        found: u32,
        /// What is known here.
        known: u32,
    },
    /// A row cannot be read.
    #[error("a row of the store cannot be read: {0}")]
    Row(#[from] serde_json::Error),
    /// SQLite says no.
    #[error("the store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file cannot be made.
    #[error("the store's file: {0}")]
    File(#[from] std::io::Error),
}
