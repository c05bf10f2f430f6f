//! Who asks, and what he may do.

use std::{collections::BTreeSet, str::FromStr, sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use launch::launcher::Caller;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    App,
    problem::{self, Problem},
    sign_in::{TablesError, authenticate, secret::Fingerprint},
};

/// Somebody who is signed in.
///
/// As an extractor it refuses with [`Denied`] if nobody is; `Option<Identity>` is `None` then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who, for programs: the owner of leases. `local`, `token:NAME`, or the issuer and its name for somebody.
    pub subject: String,
    /// Who, for people.
    pub name: String,
    /// What somebody like this may do.
    pub roles: BTreeSet<Role>,
    /// How the sign-in went.
    pub how: How,
    /// What a token may be used for; `None` is all that the roles allow.
    pub scopes: Option<BTreeSet<Scope>>,
    pub(crate) came_by: CameBy,
}

/// What a request shows that it is somebody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CameBy {
    /// A session's cookie. Browsers send it along with requests that other sites make, too.
    Cookie {
        /// The session.
        session: Fingerprint,
        /// What only the session's own pages know.
        csrf: String,
    },
    /// An API token in the header `Authorization`.
    Token {
        /// The token's id.
        id: String,
    },
    /// The token that was printed at the start, in the header `Authorization`.
    Printed,
}

/// A role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Has leases.
    User,
    /// Sees and ends those of others, too, and reads the audit.
    Admin,
}

/// How the sign-in went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// By the token that was printed at the start.
    Loopback,
    /// At the provider, with a browser.
    Session,
    /// By an API token.
    Token,
}

/// What a token may be used for. Each contains the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Reading what its owner sees.
    Read,
    /// Starting, changing and ending leases.
    Launch,
    /// All that its owner may as an admin.
    Admin,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody is signed in.
    #[error("nobody is signed in")]
    SignedOut {
        /// Where a browser signs in; `None` for programs.
        login: Option<String>,
    },
    /// A token that is none, or no longer.
    #[error("this token is not known, or was revoked")]
    BadToken,
    /// A token whose time is over.
    #[error("this token has expired")]
    ExpiredToken,
    /// An account that an admin has blocked, or that the provider no longer lets in.
    #[error("this account is blocked, or has no role at this hub")]
    Blocked,
    /// A token that is not meant for this.
    #[error("this token has no scope `{}`", .0.as_str())]
    Scope(Scope),
    /// Somebody who is no admin.
    #[error("only admins may do this")]
    NotAdmin,
    /// A request that another site made.
    #[error("this request does not come from a page of this hub, which is {own}")]
    WrongOrigin {
        /// Where the hub is reached.
        own: String,
    },
    /// A form without what only this session's pages know.
    #[error("this form does not belong to your session")]
    WrongCsrf,
    /// Too many wrong tokens.
    #[error("too many tokens from your address were wrong")]
    Wait(Duration),
    /// Too many requests of this user.
    #[error("{}", .0.detail)]
    TooMany(Box<Problem>),
    /// The tables do not answer.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

impl Identity {
    /// Whether it may act as an admin: has the role, and if it is a token's, the scope.
    pub fn is_admin(&self) -> bool {
        self.roles.contains(&Role::Admin) && self.has(Scope::Admin)
    }

    /// Checks that this may be done.
    ///
    /// # Errors
    ///
    /// [`Denied::Scope`] for a token that is not meant for it, [`Denied::NotAdmin`] for who is no admin.
    pub fn require(&self, scope: Scope) -> Result<(), Denied> {
        if !self.has(scope) {
            return Err(Denied::Scope(scope));
        }
        match scope {
            Scope::Read | Scope::Launch => Ok(()),
            Scope::Admin if self.is_admin() => Ok(()),
            Scope::Admin => Err(Denied::NotAdmin),
        }
    }

    /// Checks that it is an admin.
    ///
    /// # Errors
    ///
    /// As [`Identity::require`].
    pub fn require_admin(&self) -> Result<(), Denied> {
        self.require(Scope::Admin)
    }

    /// What forms send as `csrf`, and scripts as `X-CSRF-Token`; `None` for who came by a token and needs none.
    pub fn csrf(&self) -> Option<&str> {
        match &self.came_by {
            CameBy::Cookie { csrf, .. } => Some(csrf),
            CameBy::Token { .. } | CameBy::Printed => None,
        }
    }

    /// As the launcher knows it.
    pub fn caller(&self, request_id: &str) -> Caller {
        Caller {
            owner: self.subject.clone(),
            is_admin: self.is_admin(),
            request_id: request_id.to_owned(),
        }
    }

    /// Somebody who came by the token that was printed at the start.
    pub fn local() -> Self {
        Self {
            subject: "local".to_owned(),
            name: "local".to_owned(),
            roles: BTreeSet::from([Role::User, Role::Admin]),
            how: How::Loopback,
            scopes: None,
            came_by: CameBy::Printed,
        }
    }

    fn has(&self, scope: Scope) -> bool {
        self.scopes
            .as_ref()
            .is_none_or(|scopes| scopes.iter().any(|has| *has >= scope))
    }
}

impl FromRequestParts<Arc<App>> for Identity {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Denied> {
        let identity = authenticate::of(parts, app).await?;
        identity.ok_or_else(|| Denied::SignedOut {
            login: authenticate::login(parts),
        })
    }
}

impl OptionalFromRequestParts<Arc<App>> for Identity {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Option<Self>, Denied> {
        authenticate::of(parts, app).await
    }
}

impl Denied {
    /// The status of HTTP.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::SignedOut { .. } | Self::BadToken | Self::ExpiredToken => StatusCode::UNAUTHORIZED,
            Self::Blocked | Self::Scope(_) | Self::NotAdmin | Self::WrongOrigin { .. } | Self::WrongCsrf => {
                StatusCode::FORBIDDEN
            }
            Self::Wait(_) | Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Tables(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The stable word for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::SignedOut { .. } => "unauthorized",
            Self::BadToken => "token_invalid",
            Self::ExpiredToken => "token_expired",
            Self::Blocked => "account_blocked",
            Self::Scope(_) => "scope_missing",
            Self::NotAdmin => "admin_only",
            Self::WrongOrigin { .. } => "wrong_origin",
            Self::WrongCsrf => "wrong_csrf",
            Self::Wait(_) => "too_many_attempts",
            Self::TooMany(problem) => &problem.code,
            Self::Tables(_) => "store_unavailable",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::SignedOut { .. } => "sign in, or send `Authorization: Bearer` with an API token".to_owned(),
            Self::BadToken | Self::ExpiredToken => "make another token on the hub's page `Tokens`".to_owned(),
            Self::Blocked => "ask whoever runs this hub".to_owned(),
            Self::Scope(scope) => format!("make a token with scope `{}`", scope.as_str()),
            Self::NotAdmin => "ask an admin of this hub".to_owned(),
            Self::WrongOrigin { own } => {
                format!("use the pages at {own}; if that is not how you reach this hub, its public_url is wrong")
            }
            Self::WrongCsrf => "load the page anew, and try again".to_owned(),
            Self::Wait(wait) => format!("wait {} seconds", wait.as_secs() + 1),
            Self::TooMany(_) | Self::Tables(_) => String::new(),
        }
    }

    /// RFC 6750, section 3.
    fn challenge(&self) -> Option<HeaderValue> {
        let text = match self {
            Self::SignedOut { .. } => "Bearer realm=\"adit\"",
            Self::BadToken => {
                "Bearer realm=\"adit\", error=\"invalid_token\", error_description=\"not known, or revoked\""
            }
            Self::ExpiredToken => "Bearer realm=\"adit\", error=\"invalid_token\", error_description=\"expired\"",
            Self::Scope(Scope::Read) => "Bearer realm=\"adit\", error=\"insufficient_scope\", scope=\"read\"",
            Self::Scope(Scope::Launch) => "Bearer realm=\"adit\", error=\"insufficient_scope\", scope=\"launch\"",
            Self::Scope(Scope::Admin) => "Bearer realm=\"adit\", error=\"insufficient_scope\", scope=\"admin\"",
            Self::Blocked
            | Self::NotAdmin
            | Self::WrongOrigin { .. }
            | Self::WrongCsrf
            | Self::Wait(_)
            | Self::TooMany(_)
            | Self::Tables(_) => return None,
        };
        Some(HeaderValue::from_static(text))
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::TooMany(problem) => *problem,
            Denied::Tables(error) => error.into(),
            Denied::Wait(wait) => {
                Self::too_many("too_many_attempts", denied.to_string(), Some(wait)).with_remedy(denied.remedy())
            }
            Denied::SignedOut { .. }
            | Denied::BadToken
            | Denied::ExpiredToken
            | Denied::Blocked
            | Denied::Scope(_)
            | Denied::NotAdmin
            | Denied::WrongOrigin { .. }
            | Denied::WrongCsrf => {
                Self::new(denied.status(), denied.code(), denied.to_string()).with_remedy(denied.remedy())
            }
        }
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        if let Self::SignedOut { login: Some(login) } = &self {
            let mut response = Redirect::to(login).into_response();
            response.extensions_mut().insert(problem::Code(self.code().to_owned()));
            return response;
        }
        let challenge = self.challenge();
        let mut response = Problem::from(self).into_response();
        if let Some(challenge) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl Role {
    /// `user` or `admin`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

impl Scope {
    /// `read`, `launch` or `admin`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Launch => "launch",
            Self::Admin => "admin",
        }
    }
}

/// A text that names no role or no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of {1}")]
pub struct UnknownWord(String, &'static str);

impl FromStr for Role {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let found = [Self::User, Self::Admin].into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| UnknownWord(text.to_owned(), "user, admin"))
    }
}

impl FromStr for Scope {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let found = [Self::Read, Self::Launch, Self::Admin]
            .into_iter()
            .find(|scope| scope.as_str() == text);
        found.ok_or_else(|| UnknownWord(text.to_owned(), "read, launch, admin"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_reaches_beyond_its_owner() {
        type Case<'a> = (&'a [Role], Option<&'a [Scope]>, [Result<(), Denied>; 3]);
        let scope = |scope| Err(Denied::Scope(scope));
        let user: &[Role] = &[Role::User];
        let admin: &[Role] = &[Role::User, Role::Admin];
        // (the owner's roles, the token's scopes, may read, launch, administer)
        let cases: [Case<'_>; 8] = [
            (user, None, [Ok(()), Ok(()), Err(Denied::NotAdmin)]),
            (admin, None, [Ok(()), Ok(()), Ok(())]),
            (
                user,
                Some(&[]),
                [scope(Scope::Read), scope(Scope::Launch), scope(Scope::Admin)],
            ),
            (
                user,
                Some(&[Scope::Read]),
                [Ok(()), scope(Scope::Launch), scope(Scope::Admin)],
            ),
            (
                admin,
                Some(&[Scope::Read]),
                [Ok(()), scope(Scope::Launch), scope(Scope::Admin)],
            ),
            (admin, Some(&[Scope::Launch]), [Ok(()), Ok(()), scope(Scope::Admin)]),
            (admin, Some(&[Scope::Admin]), [Ok(()), Ok(()), Ok(())]),
            // An owner who was an admin when the token was made.
            (user, Some(&[Scope::Admin]), [Ok(()), Ok(()), Err(Denied::NotAdmin)]),
        ];
        for (roles, scopes, expected) in cases {
            let identity = Identity {
                roles: roles.iter().copied().collect(),
                scopes: scopes.map(|scopes| scopes.iter().copied().collect()),
                ..Identity::local()
            };
            let found = [Scope::Read, Scope::Launch, Scope::Admin].map(|scope| identity.require(scope));
            assert_eq!(found, expected, "{roles:?} {scopes:?}");
            assert_eq!(identity.caller("").is_admin, expected[2].is_ok());
        }
    }

    #[test]
    fn a_refusal_says_how_to_come_in() {
        // (why, status, challenge, where a browser goes)
        let login = Some("/login?next=%2Fhistory".to_owned());
        for (denied, status, challenge, place) in [
            (
                Denied::SignedOut { login: None },
                401,
                Some("Bearer realm=\"adit\""),
                None,
            ),
            (Denied::SignedOut { login }, 303, None, Some("/login?next=%2Fhistory")),
            (
                Denied::ExpiredToken,
                401,
                Some("Bearer realm=\"adit\", error=\"invalid_token\", error_description=\"expired\""),
                None,
            ),
            (
                Denied::Scope(Scope::Launch),
                403,
                Some("Bearer realm=\"adit\", error=\"insufficient_scope\", scope=\"launch\""),
                None,
            ),
            (Denied::NotAdmin, 403, None, None),
            (Denied::WrongCsrf, 403, None, None),
            (Denied::Wait(Duration::from_secs(9)), 429, None, None),
        ] {
            let response = denied.clone().into_response();
            let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(response.status().as_u16(), status, "{denied}");
            assert_eq!(header(header::WWW_AUTHENTICATE), challenge, "{denied}");
            assert_eq!(header(header::LOCATION), place, "{denied}");
        }
    }
}
