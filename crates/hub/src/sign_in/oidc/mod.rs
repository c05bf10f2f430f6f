//! Sign-in by OpenID Connect: the code flow with PKCE, `state` and `nonce`.
//!
//! OpenID Connect Core 1.0, section 3.1; RFC 7636 (PKCE); RFC 9207 (`iss` in the answer). Nothing of the provider's tokens is
//! kept: what they say of somebody becomes an account and a session, and they are dropped.

mod flow;
mod http;
mod metadata;
mod pending;
mod person;
mod roles;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use launch::{Clock, Moment};
use openidconnect::{IssuerUrl, url::Url};
use serde::Deserialize;

pub(super) use self::pending::LIFETIME;
use self::{
    flow::Registration,
    http::Http,
    metadata::Metadata,
    pending::{Begun, Pending},
    roles::Rule,
};
pub use self::{metadata::Unreachable, pending::NotBegun, person::NoPerson, roles::NoRole};
use super::{
    account::Known,
    lock,
    next::Next,
    secret::{Purpose, RandomError, Secret},
};
use crate::{
    config::{Oidc, is_loopback_host},
    rates::site,
};

/// Google, where everybody can have an account.
const GOOGLE: &str = "https://accounts.google.com";

/// Longest text of a provider's that is shown or written down, in characters.
const LONGEST_QUOTE: usize = 200;

/// A provider.
#[derive(Debug)]
pub(super) struct Provider {
    issuer: String,
    tenant: Option<String>,
    rule: Rule,
    registration: Registration,
    http: Http,
    metadata: Metadata,
    pending: Mutex<Pending>,
    clock: Clock,
}

/// Why a provider cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetUpError {
    /// The issuer is no URL.
    #[error("oidc.issuer: {0}")]
    Issuer(String),
    /// Everybody could come in.
    #[error(
        "everybody can have an account at {GOOGLE}: say whom this hub lets in, such as the people of one domain: \
         oidc.role_claim = \"hd\", oidc.user_values = [\"example.org\"]"
    )]
    Everybody,
    /// A certificate is none.
    #[error("the provider's authorities are not certificates in PEM: {0}")]
    Authority(String),
    /// The client for HTTP cannot be made.
    #[error("the provider cannot be asked: {0}")]
    Client(String),
}

/// Why nobody is signed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// The browser brings nothing that has begun here.
    #[error(transparent)]
    NotBegun(#[from] NotBegun),
    /// The provider refused.
    #[error("the provider refused: {0}")]
    Refused(String),
    /// The answer is of another provider.
    #[error("the answer is not from the provider that was asked")]
    OtherIssuer,
    /// The provider does not answer.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The provider gives nothing for the code.
    #[error("the provider does not take its own code: {0}")]
    Code(String),
    /// The provider's token is not what it has to be.
    #[error("the provider's token is not valid: {0}")]
    Token(String),
    /// The token says of nobody.
    #[error(transparent)]
    NoPerson(#[from] NoPerson),
    /// Somebody who may do nothing here.
    #[error("{why} ({name})")]
    NoRole {
        /// Who, for programs.
        subject: String,
        /// Who, for people.
        name: String,
        /// Why.
        why: NoRole,
    },
    /// This system has no random numbers.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// What the browser brings back (RFC 6749, section 4.1.2).
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    state: Option<String>,
    code: Option<String>,
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// The beginning of a sign-in.
#[derive(Debug)]
pub(super) struct Beginning {
    /// Where the browser goes.
    pub(super) url: Url,
    /// The cookie by which it is known when it comes back.
    pub(super) browser: Secret,
}

impl Provider {
    /// A provider that trusts `authorities`, in PEM, beside the public ones.
    pub(super) fn new(
        oidc: &Oidc,
        secret: Option<Secret>,
        authorities: &[u8],
        clock: Clock,
    ) -> Result<Self, SetUpError> {
        let issuer = IssuerUrl::new(oidc.issuer.clone()).map_err(|error| SetUpError::Issuer(error.to_string()))?;
        if issuer.as_str().trim_end_matches('/') == GOOGLE && oidc.user_values.is_empty() {
            return Err(SetUpError::Everybody);
        }
        let takes_plain = issuer.url().scheme() == "http" && issuer.url().host_str().is_some_and(is_loopback_host);
        let http = Http::new(authorities, takes_plain)?;
        if !http.is_safe(issuer.url()) {
            return Err(SetUpError::Issuer("begins with https://".to_owned()));
        }
        Ok(Self {
            issuer: issuer.to_string(),
            tenant: oidc.tenant.clone(),
            rule: Rule {
                claim: oidc.role_claim.clone(),
                admin: oidc.admin_values.clone(),
                user: oidc.user_values.clone(),
            },
            registration: Registration {
                client_id: oidc.client_id.clone(),
                secret,
                scopes: oidc.scopes.clone(),
            },
            metadata: Metadata::new(issuer, http.clone(), clock.clone()),
            http,
            pending: Mutex::default(),
            clock,
        })
    }

    /// The issuer's URL, which is the realm of its accounts.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What people call it: its host.
    pub(super) fn name(&self) -> String {
        let url = Url::parse(&self.issuer).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or(&self.issuer);
        match host {
            "accounts.google.com" => "Google".to_owned(),
            _ if self.tenant.is_some() => "Microsoft".to_owned(),
            host => host.to_owned(),
        }
    }

    /// Begins a sign-in, for a browser that brings these cookies of earlier ones.
    pub(super) async fn begin(
        &self,
        callback: &str,
        next: Next,
        cookies: &[Secret],
        address: Option<IpAddr>,
    ) -> Result<Beginning, SignInError> {
        let document = self.metadata.read().await?;
        let now = self.clock.now();
        let known = {
            let pending = lock(&self.pending);
            cookies.iter().find(|cookie| pending.knows(cookie, now)).cloned()
        };
        // Several tabs of one browser have one cookie.
        let browser = known.map_or_else(Secret::random, Ok)?;
        let (state, nonce, verifier) = (Secret::random()?, Secret::random()?, Secret::random()?);
        let url = flow::url(&self.registration, &document, callback, &state, &nonce, &verifier)?;
        let begun = Begun {
            browser: browser.fingerprint(Purpose::Begun),
            nonce,
            verifier,
            next,
            address: address.map(site),
            at: now,
        };
        lock(&self.pending).keep(&state, begun);
        Ok(Beginning { url, browser })
    }

    /// Finishes a sign-in: who it is, and where he wanted to go.
    pub(super) async fn finish(
        &self,
        callback: &str,
        answer: Answer,
        cookies: &[Secret],
    ) -> Result<(Known, Next), SignInError> {
        let now = self.clock.now();
        let state = answer.state.as_deref().unwrap_or_default();
        let begun = lock(&self.pending).take(state, cookies, now)?;
        let document = self.metadata.read().await?;
        self.check_issuer(&document, answer.iss.as_deref())?;
        if let Some(error) = &answer.error {
            let description = answer.error_description.as_deref().unwrap_or_default();
            return Err(SignInError::Refused(quote(&format!("{error} {description}"))));
        }
        let code = answer
            .code
            .ok_or_else(|| SignInError::Refused("it sent no code".to_owned()))?;
        let claims = self.claims(&document, callback, code, &begun, now).await?;
        let person = person::read(&self.issuer, self.tenant.as_deref(), &claims)?;
        match self.rule.roles(&claims) {
            Ok(roles) => Ok((self.known(person, roles), begun.next)),
            Err(why) => Err(SignInError::NoRole {
                subject: person.subject,
                name: quote(&person.name),
                why,
            }),
        }
    }

    /// Where a browser signs out of the provider, too, and comes back from; `None`: it has no such place.
    pub(super) async fn end_session(&self, back: &str) -> Option<Url> {
        let document = self.metadata.read().await.ok()?;
        let mut url = document.additional_metadata().end_session_endpoint.clone()?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.registration.client_id)
            .append_pair("post_logout_redirect_uri", back);
        Some(url)
    }

    fn known(&self, person: person::Person, roles: BTreeSet<crate::identity::Role>) -> Known {
        Known {
            subject: person.subject,
            realm: self.issuer.clone(),
            name: person.name,
            email: person.email,
            roles,
        }
    }

    fn check_issuer(&self, document: &metadata::Document, iss: Option<&str>) -> Result<(), SignInError> {
        let is_right = match iss {
            Some(iss) => iss == self.issuer,
            None => {
                !document
                    .additional_metadata()
                    .authorization_response_iss_parameter_supported
            }
        };
        if is_right {
            Ok(())
        } else {
            Err(SignInError::OtherIssuer)
        }
    }

    /// What the provider says of somebody: by his token, and if that does not say enough, when asked.
    async fn claims(
        &self,
        document: &Arc<metadata::Document>,
        callback: &str,
        code: String,
        begun: &Begun,
        now: Moment,
    ) -> Result<flow::Claims, SignInError> {
        let tokens = flow::exchange(
            &self.registration,
            document,
            &self.http,
            callback,
            code,
            &begun.verifier,
        )
        .await?;
        let nonce = &begun.nonce;
        let claims = match flow::verify(&self.registration, document, &tokens, nonce, now) {
            Err(flow::Unverified::UnknownKey) => {
                let document = self.metadata.read_anew(document).await?;
                flow::verify(&self.registration, &document, &tokens, nonce, now)
            }
            verified @ (Ok(_) | Err(flow::Unverified::Wrong(_))) => verified,
        };
        let mut claims = claims.map_err(|unverified| SignInError::Token(quote(&unverified.to_string())))?;
        if !self.rule.is_answered(&claims) || !person::is_named(&claims) {
            let more = flow::user_info(&self.registration, document, &self.http, &tokens, &claims).await?;
            for (claim, value) in more {
                // What is signed comes first.
                claims.entry(claim).or_insert(value);
            }
        }
        Ok(claims)
    }
}

/// A text of the provider's, as far as it is shown.
fn quote(text: &str) -> String {
    let text: String = text
        .chars()
        .filter(|letter| !letter.is_control())
        .take(LONGEST_QUOTE)
        .collect();
    text.trim().to_owned()
}
