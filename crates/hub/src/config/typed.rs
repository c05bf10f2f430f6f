//! A hub's configuration as it is typed.

use std::{collections::BTreeMap, num::NonZeroU32, ops::RangeInclusive, path::PathBuf, time::Duration};

use launch::{
    order::Profile,
    policy::{LONGEST, Policy},
};
use serde::Deserialize;

use super::{ConfigError, Oidc, RateLimits, Tls, oidc};
use crate::retention::Retention;

/// What flags, the environment and the file say together. `None` is the default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Typed {
    /// `ADDRESS:PORT`; 127.0.0.1:8790.
    pub listen: Option<String>,
    /// `ADDRESS:PORT` of `/metrics` alone.
    pub metrics_listen: Option<String>,
    /// A file with the token that `/metrics` needs there.
    pub metrics_token_file: Option<PathBuf>,
    /// Whether `/metrics` may leave this machine in the clear, to whoever asks; it may not.
    pub metrics_insecure: Option<bool>,
    /// What people type to reach the hub, such as `https://vpn.example.org`.
    pub public_url: Option<String>,
    /// A certificate.
    pub tls: Option<TypedTls>,
    /// Addresses and networks of proxies that are believed.
    pub trusted_proxies: Vec<String>,
    /// Sign-in by OpenID Connect.
    pub oidc: Option<TypedOidc>,
    /// Whether people may make API tokens; they may. `true` lets a hub without OpenID Connect be reached by others.
    pub api_tokens: Option<bool>,
    /// How long a session lasts at most, in seconds; 12 hours.
    pub session_secs: Option<u64>,
    /// What may be asked for.
    pub limits: TypedLimits,
    /// How often somebody may ask.
    pub rates: TypedRates,
    /// How long something is kept.
    pub retention: TypedRetention,
    /// Sets of options by name.
    pub profiles: BTreeMap<String, Profile>,
    /// Where spans go by OTLP over HTTP.
    pub otlp_endpoint: Option<String>,
    /// Where custom metrics go.
    pub azure_monitor: Option<TypedAzureMonitor>,
}

/// Custom metrics for Azure Monitor.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TypedAzureMonitor {
    /// The ID of the resource under which they are shown.
    pub resource: Option<String>,
    /// Its region, such as `westeurope`.
    pub region: Option<String>,
    /// Who takes them instead of the region's own address.
    pub endpoint: Option<String>,
}

/// A certificate's files.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TypedTls {
    /// The certificate and those above it, PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
}

/// Sign-in by OpenID Connect.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TypedOidc {
    /// The issuer's URL, below which `/.well-known/openid-configuration` is. May be left out for Entra ID.
    pub issuer: Option<String>,
    /// Entra ID's tenant, a GUID.
    pub tenant: Option<String>,
    /// The name under which the hub is registered.
    pub client_id: Option<String>,
    /// A file with the secret; without one the hub is a public client, safe by PKCE.
    pub client_secret_file: Option<PathBuf>,
    /// A file with certificates, PEM, of authorities that are trusted for the issuer beside the public ones.
    pub authorities_file: Option<PathBuf>,
    /// Scopes beside `openid`; `profile` and `email`.
    pub scopes: Option<Vec<String>>,
    /// The claim with a user's roles or groups; `roles`.
    pub role_claim: Option<String>,
    /// Values of it that make an admin.
    pub admin_values: Vec<String>,
    /// Values of it that make a user; if none is named, everybody whom the issuer knows is one.
    pub user_values: Vec<String>,
}

/// What may be asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TypedLimits {
    /// Longest lifetime, extensions included; a day.
    pub max_lifetime_secs: Option<u64>,
    /// Running leases of one user; 5.
    pub leases_per_user: Option<u32>,
    /// Running leases in all; 100.
    pub leases: Option<u32>,
    /// Minutes of leases that one user may ask for in 24 hours; any number.
    pub minutes_a_day: Option<u32>,
}

/// How often somebody may ask.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TypedRates {
    /// Requests a minute of one user; 300.
    pub per_user: Option<u32>,
    /// Requests a minute from one address; 600.
    pub per_address: Option<u32>,
}

/// How long something is kept, in days; 0 is for ever.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TypedRetention {
    /// Leases that are over; 400.
    pub leases_days: Option<u64>,
    /// Rows of the audit; for ever.
    pub audit_days: Option<u64>,
}

impl TypedTls {
    pub(super) fn check(self) -> Result<Tls, ConfigError> {
        match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Ok(Tls { certificate, key }),
            (None, _) => Err(ConfigError::wrong(
                "tls.certificate",
                "is missing: the file with the certificate, PEM",
            )),
            (_, None) => Err(ConfigError::wrong(
                "tls.key",
                "is missing: the file with the private key, PEM",
            )),
        }
    }
}

impl TypedOidc {
    pub(super) fn check(self) -> Result<Oidc, ConfigError> {
        oidc::check(self)
    }
}

impl TypedLimits {
    pub(super) fn check(self) -> Result<Policy, ConfigError> {
        let usual = Policy::default();
        let longest = usual.max_lifetime.as_secs();
        let secs = within(
            "limits.max_lifetime_secs",
            self.max_lifetime_secs,
            longest,
            60..=LONGEST.as_secs(),
        )?;
        Ok(Policy {
            max_lifetime: Duration::from_secs(secs),
            leases_per_user: self.leases_per_user.or(usual.leases_per_user),
            leases: self.leases.or(usual.leases),
            minutes_a_day: self.minutes_a_day.or(usual.minutes_a_day),
        })
    }
}

impl TypedRates {
    pub(super) fn check(self) -> Result<RateLimits, ConfigError> {
        let read = |field, given: Option<u32>, usual| {
            NonZeroU32::new(given.unwrap_or(usual))
                .ok_or_else(|| ConfigError::wrong(field, "would let nobody in: give requests a minute, at least 1"))
        };
        Ok(RateLimits {
            per_user: read("rates.per_user", self.per_user, 300)?,
            per_address: read("rates.per_address", self.per_address, 600)?,
        })
    }
}

impl TypedRetention {
    pub(super) fn check(self) -> Result<Retention, ConfigError> {
        let read = |field, given: Option<u64>, usual: Option<Duration>| match given {
            None => Ok(usual),
            Some(0) => Ok(None),
            Some(_) => within(field, given, 0, 1..=36_500).map(|days| Some(Duration::from_secs(days * 86_400))),
        };
        let usual = Retention::default();
        Ok(Retention {
            leases: read("retention.leases_days", self.leases_days, usual.leases)?,
            audit: read("retention.audit_days", self.audit_days, usual.audit)?,
        })
    }
}

pub(super) fn within(
    field: &'static str,
    given: Option<u64>,
    usual: u64,
    range: RangeInclusive<u64>,
) -> Result<u64, ConfigError> {
    let value = given.unwrap_or(usual);
    if range.contains(&value) {
        return Ok(value);
    }
    let problem = format!("must be between {} and {}", range.start(), range.end());
    Err(ConfigError::wrong(field, problem))
}
