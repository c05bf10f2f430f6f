//! Whose a request is: by a token in its header, else by a session's cookie.

use std::sync::{Arc, OnceLock};

use axum::http::{HeaderMap, Method, header, request::Parts};

use super::{
    LOCAL, SignIn,
    account::Account,
    asker::Asker,
    cookie::Cookie,
    next::Next,
    secret::{Purpose, Secret, csrf},
    session::{self, Began},
    token,
};
use crate::{
    App,
    identity::{CameBy, Denied, How, Identity, Role},
};

/// Who asks, as an extension of the request that all its copies share: it is looked for once a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found(Arc<OnceLock<Outcome>>);

#[derive(Debug)]
struct Outcome {
    /// Who it is, be he let in or not.
    subject: Option<String>,
    identity: Result<Option<Identity>, Denied>,
}

impl Found {
    /// The subject of who asks; `None` if nobody is signed in, or nobody has looked.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.0.get()?.subject.as_deref()
    }
}

/// Who asks; `None` if nobody is signed in.
pub(crate) async fn of(parts: &mut Parts, app: &App) -> Result<Option<Identity>, Denied> {
    let shared: Found = parts.extensions.get_or_insert_default::<Found>().clone();
    if let Some(outcome) = shared.0.get() {
        return outcome.identity.clone();
    }
    let asker = Asker::of(&parts.extensions);
    let is_https = app.config.origin.is_https();
    let mut identity = app.sign_in.identify(&parts.headers, is_https, &asker).await;
    let subject = match &identity {
        Ok(Some(identity)) => Some(identity.subject.clone()),
        Ok(None) | Err(_) => None,
    };
    if let Some(subject) = &subject {
        tracing::Span::current().record("subject", subject);
        if let Err(problem) = app.rates.check_user(subject) {
            identity = Err(Denied::TooMany(Box::new(problem)));
        }
    }
    shared.0.get_or_init(|| Outcome { subject, identity }).identity.clone()
}

/// Where a browser that shows pages signs in, and comes back from; `None` for a program.
pub(crate) fn login(parts: &Parts) -> Option<String> {
    let accepts_pages = parts
        .headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .any(|accept| accept.contains("text/html"));
    if parts.uri.path().starts_with("/api/") || !accepts_pages {
        return None;
    }
    // What was to be changed is not changed by coming back.
    let is_page = matches!(parts.method, Method::GET | Method::HEAD);
    let page = parts.uri.path_and_query().map(|page| page.as_str()).filter(|_| is_page);
    Some(Next::of(page).login())
}

impl SignIn {
    /// Whose the request with these headers is. One with a token is the token's, whatever its cookies say.
    async fn identify(&self, headers: &HeaderMap, is_https: bool, asker: &Asker) -> Result<Option<Identity>, Denied> {
        if let Some(text) = bearer(headers)? {
            return self.by_token(&text, asker).await.map(Some);
        }
        for secret in Cookie::Session.values(headers, is_https) {
            if let Some(identity) = self.by_session(&secret).await? {
                return Ok(Some(identity));
            }
        }
        Ok(None)
    }

    async fn by_session(&self, secret: &Secret) -> Result<Option<Identity>, Denied> {
        let fingerprint = secret.fingerprint(Purpose::Session);
        let (lifetime, now) = (self.lifetime, self.clock.now());
        let found = self
            .tables
            .read(move |tables| Ok(session::find(tables, &fingerprint, lifetime, now)?));
        let found: Option<session::Session> = found.await.map_err(Denied::Tables)?;
        let Some(session) = found.filter(|session| self.is_welcome(&session.account)) else {
            return Ok(None);
        };
        if session.is_to_be_noted {
            // A use that is not noted ends the session earlier, and nothing else.
            let noted = self
                .tables
                .write(move |tables| Ok(session::note(tables, &fingerprint, now)?));
            note(noted.await);
        }
        Ok(Some(Identity {
            subject: session.account.subject,
            name: session.account.name,
            roles: session.account.roles,
            how: match session.began {
                Began::Printed => How::Loopback,
                Began::Provider => How::Session,
            },
            scopes: None,
            came_by: CameBy::Cookie {
                session: fingerprint,
                csrf: csrf(secret.expose()),
            },
        }))
    }

    async fn by_token(&self, text: &Secret, asker: &Asker) -> Result<Identity, Denied> {
        if !token::is_token(text.expose()) {
            self.check_printed(text, asker).await?;
            return Ok(Identity::local());
        }
        if !self.takes_tokens {
            return Err(Denied::BadToken);
        }
        let fingerprint = text.fingerprint(Purpose::Token);
        let now = self.clock.now();
        let found = self.tables.read(move |tables| Ok(token::find(tables, &fingerprint)?));
        let found: Option<(token::Token, Account)> = found.await.map_err(Denied::Tables)?;
        let Some((token, account)) = found else {
            self.refused(asker, "", "token.refused", "", "no such token").await;
            return Err(Denied::BadToken);
        };
        let denied = if token.revoked_at.is_some() {
            Some((Denied::BadToken, "it was revoked"))
        } else if !token.is_valid(now) {
            Some((Denied::ExpiredToken, "it has expired"))
        } else if !self.is_welcome(&account) {
            Some((Denied::Blocked, "its owner is blocked, or has no role"))
        } else {
            None
        };
        if let Some((denied, why)) = denied {
            self.refused(asker, &account.subject, "token.refused", &token.id, why)
                .await;
            return Err(denied);
        }
        if token.is_to_be_noted(now) {
            let id = token.id.clone();
            note(
                self.tables
                    .write(move |tables| Ok(token::note(tables, &id, now)?))
                    .await,
            );
        }
        Ok(Identity {
            subject: account.subject,
            name: account.name,
            roles: account.roles,
            how: How::Token,
            scopes: Some(token.scopes),
            came_by: CameBy::Token { id: token.id },
        })
    }

    /// Whether an account may come in, as the hub is set up now: those of a provider that is no longer asked may not.
    pub(super) fn is_welcome(&self, account: &Account) -> bool {
        let is_ours = match account.realm.as_str() {
            LOCAL => self.printed.is_some(),
            super::BY_COMMAND => self.takes_tokens,
            issuer => self
                .provider
                .as_ref()
                .is_some_and(|provider| provider.issuer() == issuer),
        };
        is_ours && account.is_welcome()
    }

    /// Whether somebody who came in earlier still may, for answers that go on for long.
    pub async fn is_current(&self, identity: &Identity) -> bool {
        let now = self.clock.now();
        let lifetime = self.lifetime;
        let roles = match identity.came_by.clone() {
            CameBy::Printed => return self.printed.is_some(),
            CameBy::Cookie { session, .. } => {
                let found = self
                    .tables
                    .read(move |tables| Ok(session::find(tables, &session, lifetime, now)?));
                found
                    .await
                    .map(|found: Option<session::Session>| found.map(|session| session.account))
            }
            CameBy::Token { id } => {
                let found = self.tables.read(move |tables| {
                    let Some((token, subject)) = token::by_id(tables, &id)? else {
                        return Ok(None);
                    };
                    let account = super::account::find(tables, &subject)?;
                    Ok(account.filter(|_| token.is_valid(now)))
                });
                found.await
            }
        };
        let is_same = |roles: &std::collections::BTreeSet<Role>| *roles == identity.roles;
        match roles {
            Ok(account) => account.is_some_and(|account| self.is_welcome(&account) && is_same(&account.roles)),
            // Whether it may cannot be told: it goes on until that can.
            Err(super::TablesError { .. }) => true,
        }
    }
}

/// The token of `Authorization: Bearer`; `None` if there is no such header, or it is of another scheme.
fn bearer(headers: &HeaderMap) -> Result<Option<Secret>, Denied> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Denied::BadToken);
    }
    let Ok(value) = value.to_str() else {
        return Err(Denied::BadToken);
    };
    let (scheme, text) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    match text.trim() {
        "" => Err(Denied::BadToken),
        text => Ok(Some(Secret::new(text.to_owned()))),
    }
}

fn note(noted: Result<(), super::TablesError>) {
    if let Err(error) = noted {
        tracing::warn!(%error, "the use of a session or token is not noted");
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, Request};

    use super::*;

    #[test]
    fn a_token_is_taken_from_one_header_of_the_right_scheme() {
        let token = |text: &str| Ok(Some(text.to_owned()));
        for (lines, expected) in [
            (&[][..], Ok(None)),
            (&["Bearer abc"], token("abc")),
            (&["bearer abc"], token("abc")),
            (&["BEARER   abc "], token("abc")),
            (&["Basic YTpi"], Ok(None)),
            (&["Bearer"], Err(Denied::BadToken)),
            (&["Bearer "], Err(Denied::BadToken)),
            (&["Bearer abc", "Bearer def"], Err(Denied::BadToken)),
            (&["Basic YTpi", "Bearer def"], Err(Denied::BadToken)),
            (&["Bearer \u{e9}"], Err(Denied::BadToken)),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            let found = bearer(&headers).map(|found| found.map(|secret| secret.expose().to_owned()));
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    #[test]
    fn a_browser_is_sent_to_the_sign_in_and_a_program_is_told() {
        let browser = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
        for (method, uri, accept, expected) in [
            ("GET", "/", browser, Some("/login")),
            (
                "GET",
                "/history?page=2",
                browser,
                Some("/login?next=%2Fhistory%3Fpage%3D2"),
            ),
            ("POST", "/launch", browser, Some("/login")),
            ("GET", "/api/v1/leases", browser, None),
            ("GET", "/", "*/*", None),
            ("GET", "/", "application/json", None),
            ("GET", "//evil.example", browser, Some("/login")),
        ] {
            let request = Request::builder()
                .method(method)
                .uri(uri)
                .header(header::ACCEPT, accept)
                .body(())
                .unwrap();
            let (parts, ()) = request.into_parts();
            assert_eq!(login(&parts).as_deref(), expected, "{method} {uri} {accept}");
        }
    }
}
