//! Who has ever signed in, and what each may do.

use std::collections::BTreeSet;

use launch::Moment;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde::Serialize;
use utoipa::ToSchema;

use super::tables::{moment, signed};
use crate::identity::Role;

/// Most characters of a name or an address that a provider gives.
const LONGEST_NAME: usize = 120;

/// Somebody who has signed in, or for whom the command line made a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Account {
    /// Who, for programs: the owner of leases. `local`, `token:NAME`, or the issuer and its name for somebody,
    /// with `|` between them.
    #[schema(example = "https://accounts.google.com|110169484474386276334")]
    pub subject: String,
    /// Where the account comes from: `local`, `token`, or the issuer.
    pub realm: String,
    /// Who, for people.
    pub name: String,
    /// The address for mail; empty if none is known.
    pub email: String,
    /// What the account may do, since its latest sign-in. None: the provider no longer lets it in.
    pub roles: BTreeSet<Role>,
    /// The first sign-in.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Moment,
    /// The latest sign-in.
    #[schema(value_type = String, format = DateTime)]
    pub signed_in_at: Moment,
    /// When an admin blocked it; `None` is not blocked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub blocked_at: Option<Moment>,
}

impl Account {
    /// Whether it may do anything at all.
    pub fn is_welcome(&self) -> bool {
        self.blocked_at.is_none() && !self.roles.is_empty()
    }
}

/// What is known of somebody who signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) subject: String,
    pub(super) realm: String,
    pub(super) name: String,
    pub(super) email: String,
    pub(super) roles: BTreeSet<Role>,
}

/// Keeps what is known now, and gives the account. It stays blocked if it is.
pub(super) fn keep(transaction: &Transaction<'_>, known: &Known, now: Moment) -> rusqlite::Result<Account> {
    transaction.execute(
        "INSERT INTO accounts (subject, realm, name, email, roles, created_at, signed_in_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
         ON CONFLICT (subject) DO UPDATE SET
            realm = excluded.realm, name = excluded.name, email = excluded.email, roles = excluded.roles,
            signed_in_at = excluded.signed_in_at",
        params![
            known.subject,
            known.realm,
            clean(&known.name),
            clean(&known.email),
            words(known.roles.iter().map(|role| role.as_str())),
            signed(now)
        ],
    )?;
    transaction.query_row(
        &format!("SELECT {COLUMNS} FROM accounts WHERE subject = ?1"),
        [&known.subject],
        |row| read(row, 0),
    )
}

/// An account; `None` if there is none of this subject.
pub(super) fn find(connection: &Connection, subject: &str) -> rusqlite::Result<Option<Account>> {
    connection
        .query_row(
            &format!("SELECT {COLUMNS} FROM accounts WHERE subject = ?1"),
            [subject],
            |row| read(row, 0),
        )
        .optional()
}

/// All accounts, who signed in last first.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Account>> {
    connection
        .prepare(&format!(
            "SELECT {COLUMNS} FROM accounts ORDER BY signed_in_at DESC, subject"
        ))?
        .query_map([], |row| read(row, 0))?
        .collect()
}

/// Takes all roles from an account, and ends its sessions.
pub(super) fn bar(transaction: &Transaction<'_>, subject: &str) -> rusqlite::Result<()> {
    transaction.execute("UPDATE accounts SET roles = '' WHERE subject = ?1", [subject])?;
    transaction.execute("DELETE FROM sessions WHERE subject = ?1", [subject])?;
    Ok(())
}

/// Blocks an account and ends its sessions, or lets it in again. `false`: there is none of this subject.
pub(super) fn block(transaction: &Transaction<'_>, subject: &str, since: Option<Moment>) -> rusqlite::Result<bool> {
    let changed = transaction.execute(
        "UPDATE accounts SET blocked_at = ?2 WHERE subject = ?1",
        params![subject, since.map(signed)],
    )?;
    if since.is_some() {
        transaction.execute("DELETE FROM sessions WHERE subject = ?1", [subject])?;
    }
    Ok(changed > 0)
}

/// The columns that [`read`] reads.
pub(super) const COLUMNS: &str = "accounts.subject, accounts.realm, accounts.name, accounts.email, accounts.roles, \
                                  accounts.created_at, accounts.signed_in_at, accounts.blocked_at";

/// Reads an account whose columns begin at `from`.
pub(super) fn read(row: &Row<'_>, from: usize) -> rusqlite::Result<Account> {
    let roles: String = row.get(from + 4)?;
    Ok(Account {
        subject: row.get(from)?,
        realm: row.get(from + 1)?,
        name: row.get(from + 2)?,
        email: row.get(from + 3)?,
        roles: roles.split(' ').filter_map(|word| word.parse().ok()).collect(),
        created_at: moment(row.get(from + 5)?),
        signed_in_at: moment(row.get(from + 6)?),
        blocked_at: row.get::<_, Option<i64>>(from + 7)?.map(moment),
    })
}

/// Words with spaces between them.
pub(super) fn words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

/// A name without what would change how the text around it is shown.
fn clean(name: &str) -> String {
    let is_harmless = |letter: &char| {
        !letter.is_control()
            && !matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let name: String = name.chars().filter(is_harmless).take(LONGEST_NAME).collect();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use launch::store::sqlite::Database;

    use super::*;

    fn known(roles: &[Role]) -> Known {
        Known {
            subject: "https://id.example|1".to_owned(),
            realm: "https://id.example".to_owned(),
            name: "Ada\u{202e}\n Lovelace ".to_owned(),
            email: "ada@example.org".to_owned(),
            roles: roles.iter().copied().collect(),
        }
    }

    #[test]
    fn an_account_has_the_roles_of_its_latest_sign_in() {
        let database = Database::in_memory().unwrap();
        let tables = super::super::tables::Tables::open(std::sync::Arc::new(database));
        let tables = tables.unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let work = |transaction: &Transaction<'_>| -> Result<(), super::super::tables::TablesError> {
            let (early, late) = (Moment::from_millis(1), Moment::from_millis(2));
            let account = keep(transaction, &known(&[Role::User, Role::Admin]), early)?;
            assert_eq!(account.name, "Ada Lovelace");
            assert!(account.roles.contains(&Role::Admin));
            let account = keep(transaction, &known(&[Role::User]), late)?;
            assert_eq!(account.roles, BTreeSet::from([Role::User]));
            assert_eq!((account.created_at, account.signed_in_at), (early, late));
            assert!(account.is_welcome());

            assert!(block(transaction, &account.subject, Some(late))?);
            // To sign in again does not unblock.
            assert!(!keep(transaction, &known(&[Role::User]), late)?.is_welcome());
            assert!(block(transaction, &account.subject, None)?);
            assert!(find(transaction, &account.subject)?.is_some_and(|account| account.is_welcome()));
            assert!(!block(transaction, "nobody", None)?);

            bar(transaction, &account.subject)?;
            assert!(!find(transaction, &account.subject)?.is_some_and(|account| account.is_welcome()));
            assert_eq!(all(transaction)?.len(), 1);
            Ok(())
        };
        runtime.block_on(tables.write(work)).unwrap();
    }
}
