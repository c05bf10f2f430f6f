//! Asks whoever gives tokens, and reads what is given.

use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{CredentialError, Way};
use crate::{
    Cloud, ServiceError,
    answer::Answer,
    clock::Clock,
    http::{Http, Reply},
    retry::{Action, Event, Retry},
    token::Token,
};

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// How long a token without a told end is taken for good: those who give such ones keep them for longer.
const UNTOLD_LIFE: Duration = Duration::from_secs(240);

/// Longest token, in bytes.
const MAX_TOKEN: usize = 64 << 10;

/// What it takes to ask for tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange<'e> {
    pub(crate) http: &'e Http,
    pub(crate) cloud: &'e Cloud,
    pub(crate) clock: &'e dyn Clock,
}

/// A token as it is given; numbers come as text as well.
#[derive(Deserialize)]
pub(super) struct Grant {
    #[serde(alias = "accessToken")]
    access_token: String,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    expires_on: Value,
    #[serde(default)]
    refresh_in: Value,
}

impl Exchange<'_> {
    /// The times that a token's life begins at, if it is asked for now.
    pub(super) fn start(&self) -> (Instant, SystemTime) {
        (self.clock.now(), self.clock.time_of_day())
    }

    /// Asks until there is an answer that is no trouble of the moment, within `patience`. `is_trouble` says which other
    /// statuses are.
    pub(super) async fn ask(
        &self,
        way: Way,
        request: &reqwest::Request,
        patience: Duration,
        is_trouble: fn(u16) -> bool,
    ) -> Result<Token, CredentialError> {
        let mut retry = Retry::new(self.clock.now() + patience, true);
        loop {
            let start = self.start();
            let copy = request.try_clone().expect("the body is no stream");
            let sent = self.http.send(copy, LIMIT).await;
            let event = match &sent {
                Ok(reply) => Event::Answered {
                    status: if is_trouble(reply.status) { 503 } else { reply.status },
                    code: None,
                    retry_after: Answer::from_headers(reply.status, &reply.headers, start.1).retry_after,
                },
                Err(_) => Event::Lost,
            };
            match retry.handle(self.clock.now(), event, getrandom::u32().unwrap_or(u32::MAX)) {
                Action::Wait(wait) => self.clock.sleep(wait).await,
                Action::Accept | Action::Renew => {
                    let host = request.url().host_str().unwrap_or_default();
                    let reply = sent.map_err(|error| CredentialError::Unreachable {
                        way,
                        why: format!("{host} gives no answer: {error}"),
                    })?;
                    let is_trouble = is_trouble(reply.status) || matches!(reply.status, 408 | 429 | 500..);
                    return read(way, &reply, is_trouble, start);
                }
            }
        }
    }
}

fn read(way: Way, reply: &Reply, is_trouble: bool, start: (Instant, SystemTime)) -> Result<Token, CredentialError> {
    if reply.status == 200 {
        return grant(way, &reply.body, start);
    }
    let error = ServiceError::read(reply.status, &reply.body, None);
    if is_trouble {
        return Err(CredentialError::Unreachable {
            way,
            why: format!("no token at the moment: {error}"),
        });
    }
    Err(CredentialError::Refused {
        way,
        message: with_remedy(&error.to_string()),
    })
}

/// Reads what was given at `start`.
pub(super) fn grant(way: Way, json: &[u8], start: (Instant, SystemTime)) -> Result<Token, CredentialError> {
    let odd = |what: &str| CredentialError::Refused {
        way,
        message: format!("what came in place of a token cannot be read: {what}"),
    };
    let given: Grant = serde_json::from_slice(json).map_err(|_| odd("it is no JSON with a token in it"))?;
    let secret = Zeroizing::new(given.access_token);
    let is_token =
        !secret.is_empty() && secret.len() <= MAX_TOKEN && secret.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token {
        return Err(odd("the token is empty, too long, or has letters that no token has"));
    }
    // A span does not depend on this machine's time of day.
    let until = || {
        let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(number(&given.expires_on)?))?;
        Some(end.duration_since(start.1).unwrap_or_default())
    };
    let life = number(&given.expires_in)
        .map(Duration::from_secs)
        .or_else(until)
        .unwrap_or(UNTOLD_LIFE);
    let refresh = number(&given.refresh_in).map(Duration::from_secs);
    Ok(Token::new(secret, life, refresh, start))
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// What mends errors of Entra ID, by its numbers. *Microsoft identity platform: authentication and authorization error codes.*
const REMEDIES: &[(&str, &str)] = &[
    ("AADSTS7000215", "the secret is wrong: give its value, not its ID"),
    (
        "AADSTS7000222",
        "the secret has expired: make another (az ad app credential reset)",
    ),
    (
        "AADSTS700016",
        "the tenant has no such application: look at AZURE_CLIENT_ID and AZURE_TENANT_ID",
    ),
    (
        "AADSTS90002",
        "there is no such tenant: look at AZURE_TENANT_ID and the cloud",
    ),
    ("AADSTS900023", "that is no tenant: look at AZURE_TENANT_ID"),
    (
        "AADSTS70021",
        "the application trusts no such issuer, subject and audience: compare its federated credentials",
    ),
    (
        "AADSTS700213",
        "the application trusts no such issuer, subject and audience: compare its federated credentials",
    ),
    (
        "AADSTS700024",
        "the federated token is out of its time: look at who writes its file, and at this machine's clock",
    ),
    ("AADSTS50173", "sign in again: az login"),
    ("AADSTS700082", "sign in again: az login"),
    ("AADSTS70043", "sign in again: az login"),
    ("AADSTS50076", "sign in again, with a second factor: az login"),
    (
        "AADSTS53003",
        "the organisation's conditional access forbids it from here",
    ),
    ("az login", "sign in: az login"),
    (
        "identity not found",
        "give the machine an identity, or name the one that it has by AZURE_CLIENT_ID",
    ),
    (
        "no managed identity",
        "give the machine an identity, or name the one that it has by AZURE_CLIENT_ID",
    ),
];

/// The words, and what would mend it.
pub(super) fn with_remedy(message: &str) -> String {
    let lower = message.to_ascii_lowercase();
    let is_in = |key: &str| {
        let key = key.to_ascii_lowercase();
        lower.match_indices(&key).any(|(at, _)| {
            let next = lower[at + key.len()..].chars().next();
            !next.is_some_and(|letter| letter.is_ascii_alphanumeric())
        })
    };
    match REMEDIES.iter().find(|(key, _)| is_in(key)) {
        Some((_, remedy)) => format!("{}: {remedy}", message.trim_end_matches('.')),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_entra_is_not_taken_for_a_longer_one() {
        for (message, remedy) in [
            (
                "invalid_client: AADSTS7000215: Invalid client secret.",
                "give its value",
            ),
            ("AADSTS700213: No matching", "federated"),
            ("AADSTS70021: No matching", "federated"),
            ("ERROR: Please run 'az login' to setup account.", "sign in: az login"),
        ] {
            assert!(with_remedy(message).contains(remedy), "{message}");
        }
        assert_eq!(with_remedy("AADSTS70021999: new"), "AADSTS70021999: new");
    }
}
