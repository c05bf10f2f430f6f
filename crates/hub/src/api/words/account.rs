//! Who asks, and what he has.

use std::collections::BTreeSet;

use launch::launcher;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Limits;
use crate::{
    audit::Row,
    identity::{Role, Scope},
    sign_in::Token,
};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// Who, for programs: the owner of leases.
    pub subject: String,
    /// Who, for people.
    pub name: String,
    /// What somebody like this may do.
    pub roles: BTreeSet<Role>,
    /// What the token may be used for; null is everything that the roles allow.
    #[schema(required = true)]
    pub scopes: Option<BTreeSet<Scope>>,
    /// What is limited.
    pub limits: Limits,
    /// What is used of it.
    pub usage: Usage,
}

/// What a user has and had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Who.
    pub owner: String,
    /// Leases that are not removed.
    pub running: u32,
    /// Leases of the last 24 hours.
    pub leases: u32,
    /// Minutes of them: as granted while they run, as used afterwards.
    pub minutes: u64,
}

/// What users have and had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageList {
    /// By owner.
    pub items: Vec<Usage>,
}

/// An API token that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What its owner calls it.
    #[schema(min_length = 1, max_length = 80, example = "laptop")]
    pub name: String,
    /// What it may be used for.
    #[schema(min_items = 1)]
    pub scopes: Vec<Scope>,
    /// How long it is valid, in seconds; null is 90 days.
    #[serde(default)]
    #[schema(minimum = 60, maximum = 31_622_400, required = false)]
    pub lifetime_secs: Option<u64>,
}

/// An API token that was made. Its text is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// What is known of it later on.
    pub token: Token,
    /// Its text, for the header `Authorization: Bearer`.
    pub text: String,
}

/// Somebody's API tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// The newest first.
    pub items: Vec<Token>,
}

/// Some rows of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// The newest first.
    pub items: Vec<Row>,
    /// What to ask for the rest with, as `cursor`; null if there is none.
    #[schema(required = true, minimum = 1)]
    pub next: Option<u64>,
}

impl std::fmt::Debug for TokenMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenMade")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl Usage {
    /// Of somebody who has nothing yet.
    pub(crate) fn none(owner: &str) -> Self {
        Self {
            owner: owner.to_owned(),
            running: 0,
            leases: 0,
            minutes: 0,
        }
    }
}

impl From<launcher::Usage> for Usage {
    fn from(usage: launcher::Usage) -> Self {
        Self {
            owner: usage.owner,
            running: usage.running,
            leases: usage.leases,
            minutes: usage.minutes,
        }
    }
}
