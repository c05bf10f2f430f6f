//! Tokens: the metadata service of a machine, and the service for sign-ins.

use std::collections::BTreeMap;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};

use super::super::query;
use super::clock;
use super::fault::Refusal;
use super::request::{Answer, Request};
use super::{Settings, Shared};

/// The audiences under which this API is known.
const AUDIENCES: [&str; 4] = [
    "https://management.azure.com/",
    "https://management.azure.com",
    "https://management.core.windows.net/",
    "https://management.core.windows.net",
];

/// What a client says when it shows a token that another issuer signed (*RFC 7523, 2.2*).
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Tokens that were issued: their audiences, and when they end.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    issued: BTreeMap<String, (String, i64)>,
    count: usize,
}

impl Tokens {
    /// A new one. It has three parts and looks like a JWT; clients are not to look inside.
    pub(super) fn issue(&mut self, audience: &str, now: i64, life: i64) -> String {
        self.count += 1;
        let part = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
        let (head, claims) = (
            json!({ "typ": "JWT", "alg": "none" }),
            json!({ "aud": audience, "exp": now + life, "iat": now, "jti": self.count }),
        );
        let token = format!("{}.{}.fake", part(&head), part(&claims));
        self.issued.insert(token.clone(), (audience.to_owned(), now + life));
        token
    }

    /// How many were issued.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Lets all end that were issued so far.
    pub(super) fn expire(&mut self) {
        for (_, end) in self.issued.values_mut() {
            *end = 0;
        }
    }

    /// Whether a request may come in.
    pub(super) fn check(&self, request: &Request, settings: &Settings, now: i64) -> Result<(), Refusal> {
        self.check_for(request, settings, now, &AUDIENCES)
    }

    /// The same where other audiences are known.
    pub(super) fn check_for(
        &self,
        request: &Request,
        settings: &Settings,
        now: i64,
        audiences: &[&str],
    ) -> Result<(), Refusal> {
        let refuse = |code: &str, message: &str| {
            let challenge = format!(
                "Bearer authorization_uri=\"https://login.windows.net/{}\", error=\"invalid_token\", error_description=\"{message}\"",
                settings.tenant
            );
            Err(Refusal::new(401, code, message).header("WWW-Authenticate", challenge))
        };
        let Some(token) = request.header("authorization").strip_prefix("Bearer ") else {
            return refuse(
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            );
        };
        match self.issued.get(token) {
            None => refuse("InvalidAuthenticationToken", "The access token is invalid."),
            Some((audience, _)) if !audiences.contains(&&**audience) => refuse(
                "InvalidAuthenticationTokenAudience",
                "The access token has been obtained for wrong audience or resource.",
            ),
            Some((_, end)) if *end <= now => refuse(
                "ExpiredAuthenticationToken",
                "The access token expiry UTC time is earlier than current UTC time.",
            ),
            Some(_) => Ok(()),
        }
    }
}

/// `GET /metadata/identity/oauth2/token`, as on a machine with a managed identity.
pub(super) fn metadata(shared: &Shared, request: &Request) -> Answer {
    let refuse = |error: &str, why: &str| Answer::json(400, json!({ "error": error, "error_description": why }));
    if request.method != "GET" {
        return Answer::json(405, json!({ "error": "method_not_allowed" }));
    }
    // It answers nobody who may have been sent here by somebody else.
    if !request.header("metadata").eq_ignore_ascii_case("true") || !request.header("x-forwarded-for").is_empty() {
        return refuse("invalid_request", "Required metadata header not specified");
    }
    let (version, resource) = (request.parameter("api-version"), request.parameter("resource"));
    if !["2018-02-01", "2019-08-01", "2021-02-01"].contains(&version) {
        return refuse(
            "invalid_request",
            "Required query variable 'api-version' is missing or not supported",
        );
    }
    if resource.is_empty() {
        return refuse("invalid_request", "Required query variable 'resource' is missing");
    }
    let settings = &shared.settings;
    let asked = request.parameter("client_id");
    if !settings.has_identity || !(asked.is_empty() || asked == settings.client) {
        return refuse("invalid_request", "Identity not found");
    }
    let mut state = shared.state();
    let now = clock::now(state.skew);
    let life = i64::from(settings.token_life);
    let token = state.tokens.issue(resource, now, life);
    drop(state);
    // All of these are texts.
    let body = json!({
        "access_token": token, "client_id": settings.client, "expires_in": life.to_string(),
        "expires_on": (now + life).to_string(), "ext_expires_in": life.to_string(),
        "not_before": (now - 300).to_string(), "resource": resource, "token_type": "Bearer",
    });
    Answer::json(200, body)
}

/// `POST /{tenant}/oauth2/v2.0/token`: a client's secret, or a token of another issuer (*RFC 6749, 4.4*; *RFC 7523*).
pub(super) fn sign_in(shared: &Shared, request: &Request, tenant: &str) -> Answer {
    let settings = &shared.settings;
    let refuse = |status: u16, error: &str, number: u32, why: &str| {
        let body = json!({
            "error": error, "error_description": format!("AADSTS{number}: {why}"), "error_codes": [number],
            "timestamp": "2026-01-01 00:00:00Z", "trace_id": "00000000-0000-0000-0000-000000000001",
            "correlation_id": "00000000-0000-0000-0000-000000000002",
        });
        Answer::json(status, body)
    };
    if !tenant.eq_ignore_ascii_case(&settings.tenant) {
        return refuse(
            400,
            "invalid_request",
            90002,
            "Tenant not found. Check to make sure you have the correct tenant ID.",
        );
    }
    let is_form = request
        .header("content-type")
        .starts_with("application/x-www-form-urlencoded");
    let form = query::pairs(&String::from_utf8_lossy(&request.body));
    let value = |name: &str| {
        let found = form.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    };
    if !is_form || value("grant_type") != "client_credentials" {
        return refuse(
            400,
            "unsupported_grant_type",
            70003,
            "The app requested an unsupported grant type.",
        );
    }
    if value("client_id") != settings.client {
        return refuse(
            400,
            "unauthorized_client",
            700_016,
            "Application was not found in the directory.",
        );
    }
    let assertion = value("client_assertion");
    if assertion.is_empty() {
        if value("client_secret") != settings.secret {
            return refuse(401, "invalid_client", 7_000_215, "Invalid client secret provided.");
        }
    } else if value("client_assertion_type") != ASSERTION || assertion != settings.assertion {
        return refuse(
            401,
            "invalid_client",
            700_213,
            "No matching federated identity record found for presented assertion.",
        );
    }
    let Some(audience) = value("scope").strip_suffix("/.default") else {
        return refuse(
            400,
            "invalid_scope",
            70011,
            "The provided value for the input parameter 'scope' is not valid.",
        );
    };
    let mut state = shared.state();
    let now = clock::now(state.skew);
    let life = i64::from(settings.token_life);
    let token = state.tokens.issue(audience, now, life);
    drop(state);
    let body = json!({ "token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": token });
    Answer::json(200, body)
}
