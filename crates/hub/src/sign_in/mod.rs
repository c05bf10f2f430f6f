//! Who may come in, and how: the token that is printed at the start, OpenID Connect, sessions, API tokens.
//!
//! ```text
//! browser ─ /login?token=… ────────────┐
//! browser ─ /login/start ─▶ provider ─▶ /login/callback ─▶ session ─▶ cookie ─┐
//! program ─ Authorization: Bearer ─────────────────────────────────────────────┴─▶ Identity ─▶ handler
//! ```
//!
//! A secret is given out once and kept as a fingerprint. What an account may do is in its row, as the provider said at its
//! latest sign-in, and is looked up at every request: sessions and tokens have no rights of their own.

mod account;
mod asker;
mod attempts;
pub(crate) mod authenticate;
mod cookie;
mod guard;
mod next;
pub mod oidc;
mod open;
mod own_tokens;
mod routes;
pub(crate) mod secret;
mod session;
mod tables;
mod token;

use std::sync::{Mutex, PoisonError};

use launch::Clock;

pub use self::{
    account::Account,
    asker::Asker,
    guard::{FIELD as CSRF_FIELD, HEADER as CSRF_HEADER, guard},
    next::Next,
    open::{Given, OpenError},
    routes::router,
    secret::{RandomError, Secret},
    session::Lifetime,
    tables::TablesError,
    token::{DEFAULT as TOKEN_LIFETIME, LONGEST as LONGEST_TOKEN_LIFETIME, NewToken, Token, TokenRefusal},
};
use self::{
    account::Known,
    attempts::Attempts,
    oidc::Provider,
    secret::{Fingerprint, Purpose, fingerprint},
    session::Began,
    tables::Tables,
};
use crate::{
    audit::{Audit, Unavailable},
    identity::{Denied, Identity},
};

/// The realm and the subject of whoever signs in by the token that is printed at the start.
pub const LOCAL: &str = "local";

/// The realm of accounts that the command line makes for tokens.
pub const BY_COMMAND: &str = "token";

/// Sign-in.
#[derive(Debug)]
pub struct SignIn {
    tables: Tables,
    audit: Audit,
    clock: Clock,
    lifetime: Lifetime,
    takes_tokens: bool,
    /// Of the token that is printed at the start; `None`: there is none.
    printed: Option<Fingerprint>,
    provider: Option<Provider>,
    /// Wrong tokens at the start page, after which an address has to wait.
    attempts: Mutex<Attempts>,
}

impl SignIn {
    /// The accounts that there are, who signed in last first.
    ///
    /// # Errors
    ///
    /// [`TablesError`].
    pub async fn accounts(&self) -> Result<Vec<Account>, TablesError> {
        self.tables.read(|tables| Ok(account::all(tables)?)).await
    }

    /// Blocks an account and ends its sessions, or lets it in again. Its tokens work as long as it is not blocked.
    ///
    /// `false`: there is none of this subject, or it is [`LOCAL`], which has no other to let it in again.
    ///
    /// # Errors
    ///
    /// [`TablesError`].
    pub async fn set_blocked(&self, subject: &str, is_blocked: bool) -> Result<bool, TablesError> {
        if subject == LOCAL {
            return Ok(false);
        }
        let subject = subject.to_owned();
        let since = is_blocked.then(|| self.clock.now());
        self.tables
            .write(move |tables| Ok(account::block(tables, &subject, since)?))
            .await
    }

    /// Sessions that last.
    ///
    /// # Errors
    ///
    /// [`TablesError`].
    pub async fn active_sessions(&self) -> Result<u64, TablesError> {
        let (lifetime, now) = (self.lifetime, self.clock.now());
        self.tables
            .read(move |tables| Ok(session::count(tables, lifetime, now)?))
            .await
    }

    /// Begins a session for somebody who has shown who he is.
    async fn begin(&self, known: Known, began: Began, asker: &Asker) -> Result<Secret, BeginError> {
        let secret = Secret::random()?;
        let detail = format!(
            "as {}, by {}",
            account::words(known.roles.iter().map(|role| role.as_str())),
            known.realm
        );
        let intent = self
            .audit
            .intend(asker.entry(&known.subject, "session.begin", ""))
            .await?;
        let (kept, lifetime, now) = (secret.clone(), self.lifetime, self.clock.now());
        let begun = self.tables.write(move |tables| {
            let account = account::keep(tables, &known, now)?;
            if !account.is_welcome() {
                return Err(BeginError::Blocked);
            }
            session::begin(tables, &kept, &account.subject, began, lifetime, now)?;
            Ok(())
        });
        let begun = begun.await;
        match &begun {
            Ok(()) => intent.done("ok", detail).await,
            Err(error) => intent.done("refused", error.to_string()).await,
        }
        begun.map(|()| secret)
    }

    /// Ends a session.
    async fn end(&self, subject: &str, session: Fingerprint, asker: &Asker) -> Result<(), BeginError> {
        let intent = self.audit.intend(asker.entry(subject, "session.end", "")).await?;
        let ended = self
            .tables
            .write(move |tables| Ok(session::end(tables, &session)?))
            .await;
        intent.done(outcome(&ended), "").await;
        ended.map(|_| ())
    }

    /// Ends a session if there is one, and it is somebody's.
    async fn end_known(&self, session: Fingerprint, asker: &Asker) -> Result<(), BeginError> {
        let (lifetime, now) = (self.lifetime, self.clock.now());
        let found = self
            .tables
            .read(move |tables| Ok(session::find(tables, &session, lifetime, now)?))
            .await;
        let found: Option<session::Session> = found.map_err(BeginError::Tables)?;
        match found {
            Some(found) => self.end(&found.account.subject, session, asker).await,
            None => Ok(()),
        }
    }

    /// Takes all roles from an account that the provider no longer lets in.
    async fn bar(&self, subject: &str) {
        let subject = subject.to_owned();
        let barred = self
            .tables
            .write(move |tables| Ok(account::bar(tables, &subject)?))
            .await;
        if let Err(error) = barred.map_err(|error: TablesError| error) {
            tracing::error!(%error, "an account keeps roles that it should lose");
        }
    }

    /// Checks what somebody says is the token that was printed at the start.
    async fn check_printed(&self, text: &Secret, asker: &Asker) -> Result<(), Denied> {
        let Some(printed) = &self.printed else {
            return Err(Denied::BadToken);
        };
        let now = self.clock.now();
        if let Some(wait) = lock(&self.attempts).wait(asker.address, now) {
            return Err(Denied::Wait(wait));
        }
        if fingerprint(Purpose::Printed, text.expose()) == *printed {
            return Ok(());
        }
        lock(&self.attempts).failed(asker.address, now);
        self.refused(asker, "", "session.refused", "", "a wrong token").await;
        Err(Denied::BadToken)
    }

    /// Writes down that somebody was refused.
    async fn refused(&self, asker: &Asker, who: &str, what: &'static str, on: &str, why: &str) {
        tracing::info!(what, who, why, "a sign-in was refused");
        let entry = crate::audit::Entry {
            outcome: "refused",
            detail: why.to_owned(),
            ..asker.entry(who, what, on)
        };
        self.audit.refuse(entry).await;
    }
}

/// Why no session begins, or none ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum BeginError {
    #[error("this account is blocked: ask whoever runs this hub")]
    Blocked,
    #[error(transparent)]
    Random(#[from] RandomError),
    #[error(transparent)]
    Tables(#[from] TablesError),
    #[error(transparent)]
    Audit(#[from] Unavailable),
}

impl From<rusqlite::Error> for BeginError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Tables(error.into())
    }
}

/// Whoever signs in by the token that is printed at the start.
fn local() -> Known {
    let local = Identity::local();
    Known {
        subject: local.subject,
        realm: LOCAL.to_owned(),
        name: local.name,
        email: String::new(),
        roles: local.roles,
    }
}

fn outcome<T, E>(result: &Result<T, E>) -> &'static str {
    if result.is_ok() { "ok" } else { "failed" }
}

/// What is guarded is whole between any two statements, so that a panic elsewhere does no harm to it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
