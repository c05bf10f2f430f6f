//! Personal API tokens: made by who has signed in, shown once, kept as fingerprints, revocable.
//!
//! A token acts for its owner, within its scopes, and never beyond what the owner may do at the moment of its use.

mod text;

use std::{collections::BTreeSet, time::Duration};

use axum::http::StatusCode;
use launch::Moment;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use ulid::Ulid;
use utoipa::ToSchema;

use super::{
    account::{self, Account, words},
    secret::{Fingerprint, Purpose, RandomError, Secret},
    tables::{TablesError, moment, signed},
};
use crate::{identity::Scope, problem::Problem};
pub(crate) use text::{is_token, random};

/// Longest lifetime of a token: 366 days.
pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Lifetime of a token unless another is asked for: 90 days.
pub const DEFAULT: Duration = Duration::from_secs(90 * 86_400);

/// Valid tokens of one account.
const MOST: u32 = 50;

/// Most characters of a name.
const LONGEST_NAME: usize = 80;

/// A token's use is written down at most so often.
const NOTED_EVERY: Duration = Duration::from_secs(60);

/// What is known of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// By which it is revoked.
    #[schema(example = "01kb2w0v9hq3k1yv8s4n6t2m5e")]
    pub id: String,
    /// What its owner calls it.
    #[schema(example = "laptop")]
    pub name: String,
    /// What it may be used for.
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Moment,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Moment,
    /// When it was used last, to the minute; `None` is never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used_at: Option<Moment>,
    /// When it was revoked; `None` is not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Moment>,
}

/// A token that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// What its owner calls it: 1 to 80 characters.
    pub name: String,
    /// What it may be used for.
    pub scopes: BTreeSet<Scope>,
    /// How long it is valid, at most [`LONGEST`]; `None` is [`DEFAULT`].
    pub lifetime: Option<Duration>,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// A value is wrong.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A token would do what its owner may not.
    #[error("a token cannot have scope `admin`: its owner is no admin")]
    BeyondOwner,
    /// It was asked for with a token.
    #[error("tokens are made and seen by who has signed in, not by a token")]
    ByToken,
    /// There are too many.
    #[error("there are {MOST} valid tokens already: revoke one")]
    TooMany,
    /// There are none at this hub.
    #[error("this hub takes no API tokens")]
    Off,
    /// There is no such token, or it is somebody else's.
    #[error("there is no such token")]
    NotFound,
    /// This system has no random numbers.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The tables do not answer.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// It could not be audited.
    #[error(transparent)]
    Audit(#[from] crate::audit::Unavailable),
}

impl From<rusqlite::Error> for TokenRefusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Tables(error.into())
    }
}

impl From<TokenRefusal> for Problem {
    fn from(refusal: TokenRefusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            TokenRefusal::Invalid { field, problem } => Self::invalid(field, text).with_remedy(problem),
            TokenRefusal::BeyondOwner => Self::new(StatusCode::FORBIDDEN, "beyond_owner", text),
            TokenRefusal::ByToken => Self::new(StatusCode::FORBIDDEN, "sign_in_needed", text)
                .with_remedy("sign in with a browser, and use the page `Tokens`"),
            TokenRefusal::TooMany => Self::new(StatusCode::CONFLICT, "too_many_tokens", text),
            TokenRefusal::Off => Self::new(StatusCode::FORBIDDEN, "no_tokens", text),
            TokenRefusal::NotFound => Self::not_found(text),
            TokenRefusal::Random(error) => Self::internal(&error),
            TokenRefusal::Tables(error) => error.into(),
            TokenRefusal::Audit(error) => error.into(),
        }
    }
}

impl NewToken {
    /// Checks the values.
    pub(super) fn check(&self, is_admin: bool) -> Result<(), TokenRefusal> {
        let invalid = |field, problem: String| Err(TokenRefusal::Invalid { field, problem });
        let letters = self.name.chars().count();
        if self.name.trim() != self.name
            || !(1..=LONGEST_NAME).contains(&letters)
            || self.name.contains(char::is_control)
        {
            return invalid(
                "name",
                format!("must have 1 to {LONGEST_NAME} characters, and no space at its ends"),
            );
        }
        if self.scopes.is_empty() {
            return invalid("scopes", "must name at least one of read, launch, admin".to_owned());
        }
        if self
            .lifetime
            .is_some_and(|lifetime| lifetime < Duration::from_secs(60) || lifetime > LONGEST)
        {
            return invalid("lifetime_secs", format!("must be between 60 and {}", LONGEST.as_secs()));
        }
        if self.scopes.contains(&Scope::Admin) && !is_admin {
            return Err(TokenRefusal::BeyondOwner);
        }
        Ok(())
    }
}

/// Keeps a token with this secret.
pub(super) fn add(
    transaction: &Transaction<'_>,
    secret: &Secret,
    subject: &str,
    new: &NewToken,
    now: Moment,
) -> Result<Token, TokenRefusal> {
    let valid: u32 = transaction.query_row(
        "SELECT COUNT(*) FROM tokens WHERE subject = ?1 AND revoked_at IS NULL AND expires_at > ?2",
        params![subject, signed(now)],
        |row| row.get(0),
    )?;
    if valid >= MOST {
        return Err(TokenRefusal::TooMany);
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(RandomError::from)?;
    let id = Ulid::from_parts(now.as_millis(), u128::from_le_bytes(random));
    let token = Token {
        id: id.to_string().to_ascii_lowercase(),
        name: new.name.clone(),
        scopes: new.scopes.clone(),
        created_at: now,
        expires_at: now + new.lifetime.unwrap_or(DEFAULT),
        used_at: None,
        revoked_at: None,
    };
    transaction.execute(
        "INSERT INTO tokens (id, fingerprint, subject, name, scopes, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            token.id,
            secret.fingerprint(Purpose::Token).as_bytes(),
            subject,
            token.name,
            words(token.scopes.iter().map(|scope| scope.as_str())),
            signed(token.created_at),
            signed(token.expires_at)
        ],
    )?;
    Ok(token)
}

/// The token of this fingerprint, be it valid or not, and its owner.
pub(super) fn find(connection: &Connection, fingerprint: &Fingerprint) -> rusqlite::Result<Option<(Token, Account)>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, {} FROM tokens JOIN accounts ON accounts.subject = tokens.subject
             WHERE tokens.fingerprint = ?1",
            account::COLUMNS
        ))?
        .query_row([fingerprint.as_bytes()], |row| Ok((read(row)?, account::read(row, 7)?)))
        .optional()
}

/// The token of this id, and its owner.
pub(super) fn by_id(connection: &Connection, id: &str) -> rusqlite::Result<Option<(Token, String)>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, tokens.subject FROM tokens WHERE tokens.id = ?1"
        ))?
        .query_row([id], |row| Ok((read(row)?, row.get(7)?)))
        .optional()
}

/// An account's tokens, the newest first.
pub(super) fn of(connection: &Connection, subject: &str) -> rusqlite::Result<Vec<Token>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM tokens WHERE tokens.subject = ?1 ORDER BY tokens.id DESC LIMIT 500"
        ))?
        .query_map([subject], read)?
        .collect()
}

/// Revokes a token; to revoke it again changes nothing.
pub(super) fn revoke(transaction: &Transaction<'_>, id: &str, now: Moment) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE tokens SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL",
        params![id, signed(now)],
    )?;
    Ok(())
}

/// Writes down that a token was used.
pub(super) fn note(transaction: &Transaction<'_>, id: &str, now: Moment) -> rusqlite::Result<()> {
    transaction.execute("UPDATE tokens SET used_at = ?2 WHERE id = ?1", params![id, signed(now)])?;
    Ok(())
}

impl Token {
    /// Whether it can be used.
    pub fn is_valid(&self, now: Moment) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }

    /// Whether it is time to write down that it was used.
    pub(super) fn is_to_be_noted(&self, now: Moment) -> bool {
        self.used_at
            .is_none_or(|used| now < used || now.since(used) >= NOTED_EVERY)
    }
}

const COLUMNS: &str = "tokens.id, tokens.name, tokens.scopes, tokens.created_at, tokens.expires_at, tokens.used_at, \
                       tokens.revoked_at";

fn read(row: &Row<'_>) -> rusqlite::Result<Token> {
    let scopes: String = row.get(2)?;
    Ok(Token {
        id: row.get(0)?,
        name: row.get(1)?,
        scopes: scopes.split(' ').filter_map(|word| word.parse().ok()).collect(),
        created_at: moment(row.get(3)?),
        expires_at: moment(row.get(4)?),
        used_at: row.get::<_, Option<i64>>(5)?.map(moment),
        revoked_at: row.get::<_, Option<i64>>(6)?.map(moment),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_for_something_and_for_a_time() {
        let day = Duration::from_secs(86_400);
        // (name, scopes, lifetime, owner is an admin?, refused for)
        for (name, scopes, lifetime, is_admin, refused) in [
            ("laptop", &[Scope::Launch][..], None, false, None),
            ("laptop", &[Scope::Read, Scope::Admin], Some(day), true, None),
            ("é", &[Scope::Read], Some(LONGEST), false, None),
            ("laptop", &[Scope::Admin], None, false, Some("a token")),
            ("", &[Scope::Read], None, false, Some("name")),
            (" laptop", &[Scope::Read], None, false, Some("name")),
            ("lap\ntop", &[Scope::Read], None, false, Some("name")),
            (&"x".repeat(81), &[Scope::Read], None, false, Some("name")),
            ("laptop", &[], None, false, Some("scopes")),
            (
                "laptop",
                &[Scope::Read],
                Some(Duration::ZERO),
                false,
                Some("lifetime_secs"),
            ),
            (
                "laptop",
                &[Scope::Read],
                Some(LONGEST + day),
                false,
                Some("lifetime_secs"),
            ),
        ] {
            let new = NewToken {
                name: name.to_owned(),
                scopes: scopes.iter().copied().collect(),
                lifetime,
            };
            let found = new.check(is_admin).err().map(|refusal| refusal.to_string());
            assert_eq!(found.is_some(), refused.is_some(), "{new:?}");
            if let (Some(found), Some(refused)) = (found, refused) {
                assert!(found.starts_with(refused), "{found}");
            }
        }
    }

    #[test]
    fn a_token_is_valid_until_it_is_revoked_or_over() {
        let at = Moment::from_millis;
        let token = Token {
            id: String::new(),
            name: String::new(),
            scopes: BTreeSet::new(),
            created_at: at(0),
            expires_at: at(100),
            used_at: None,
            revoked_at: None,
        };
        for (revoked_at, now, is_valid) in [(None, 99, true), (None, 100, false), (Some(at(50)), 60, false)] {
            let token = Token {
                revoked_at,
                ..token.clone()
            };
            assert_eq!(token.is_valid(at(now)), is_valid, "{revoked_at:?} {now}");
        }
    }
}
