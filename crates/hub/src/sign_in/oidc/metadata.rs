//! What the provider says of itself, and its keys: fetched when first needed, kept, and fetched again.

use std::{sync::Arc, time::Duration};

use launch::{Clock, Moment};
use openidconnect::{
    AdditionalProviderMetadata, IssuerUrl, ProviderMetadata,
    core::{
        CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
        CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType,
        CoreSubjectIdentifierType,
    },
    url::Url,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::http::Http;

/// How long it is believed without being asked for again.
const FRESH: Duration = Duration::from_secs(3_600);

/// How long it is believed while the provider does not answer.
const USABLE: Duration = Duration::from_secs(86_400);

/// How long after a failure the provider is not asked again.
const PAUSE: Duration = Duration::from_secs(5);

/// What is beyond OpenID Connect Discovery 1.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct More {
    /// OpenID Connect RP-Initiated Logout 1.0, section 2.1.
    #[serde(default)]
    pub(super) end_session_endpoint: Option<Url>,
    /// RFC 9207, section 3.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for More {}

/// What a provider says of itself, with its keys.
pub(super) type Document = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// The provider does not say what it is, or says what cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider {issuer} cannot be asked: {why}")]
pub struct Unreachable {
    issuer: String,
    why: String,
}

impl Unreachable {
    pub(super) fn new(issuer: &str, why: String) -> Self {
        Self {
            issuer: issuer.to_owned(),
            why,
        }
    }
}

/// The documents of one provider.
#[derive(Debug)]
pub(super) struct Metadata {
    issuer: IssuerUrl,
    http: Http,
    clock: Clock,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    document: Option<(Arc<Document>, Moment)>,
    failure: Option<(Unreachable, Moment)>,
}

impl Metadata {
    pub(super) fn new(issuer: IssuerUrl, http: Http, clock: Clock) -> Self {
        Self {
            issuer,
            http,
            clock,
            kept: Mutex::default(),
        }
    }

    /// What the provider says of itself.
    pub(super) async fn read(&self) -> Result<Arc<Document>, Unreachable> {
        let mut kept = self.kept.lock().await;
        let now = self.clock.now();
        if let Some((document, at)) = &kept.document
            && now.since(*at) < FRESH
        {
            return Ok(Arc::clone(document));
        }
        if let Some((failure, at)) = &kept.failure
            && now.since(*at) < PAUSE
        {
            return self.old(&kept, now).ok_or_else(|| failure.clone());
        }
        match self.fetch().await {
            Ok(document) => {
                kept.failure = None;
                kept.document = Some((Arc::clone(&document), now));
                Ok(document)
            }
            Err(failure) => {
                tracing::warn!(%failure, "what is known of the provider is not renewed");
                kept.failure = Some((failure.clone(), now));
                self.old(&kept, now).ok_or(failure)
            }
        }
    }

    /// What the provider says of itself by now, because what it said before does not fit: it has new keys.
    pub(super) async fn read_anew(&self, known: &Arc<Document>) -> Result<Arc<Document>, Unreachable> {
        let mut kept = self.kept.lock().await;
        if let Some((document, _)) = &kept.document
            && !Arc::ptr_eq(document, known)
        {
            return Ok(Arc::clone(document));
        }
        let document = self.fetch().await?;
        kept.failure = None;
        kept.document = Some((Arc::clone(&document), self.clock.now()));
        Ok(document)
    }

    fn old(&self, kept: &Kept, now: Moment) -> Option<Arc<Document>> {
        kept.document
            .as_ref()
            .filter(|(_, at)| now.since(*at) < USABLE)
            .map(|(document, _)| Arc::clone(document))
    }

    async fn fetch(&self) -> Result<Arc<Document>, Unreachable> {
        let fail = |why: String| Unreachable::new(self.issuer.as_str(), why);
        let document = Document::discover_async(self.issuer.clone(), &self.http).await;
        let document = document.map_err(|error| fail(chain(&error)))?;
        check(&document, &self.http).map_err(fail)?;
        Ok(Arc::new(document))
    }
}

/// Checks that a sign-in can go by what a provider says of itself.
fn check(document: &Document, http: &Http) -> Result<(), String> {
    let ends = [
        ("authorization_endpoint", Some(document.authorization_endpoint().url())),
        ("token_endpoint", document.token_endpoint().map(|url| url.url())),
        ("userinfo_endpoint", document.userinfo_endpoint().map(|url| url.url())),
        (
            "end_session_endpoint",
            document.additional_metadata().end_session_endpoint.as_ref(),
        ),
    ];
    for (name, url) in ends {
        if url.is_some_and(|url| !http.is_safe(url)) {
            return Err(format!("its {name} is not reached by https"));
        }
    }
    if document.token_endpoint().is_none() {
        return Err("it names no token_endpoint".to_owned());
    }
    Ok(())
}

/// An error and what led to it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use openidconnect::core::CoreJsonWebKeySet;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        config::{Config, Typed, TypedOidc},
        sign_in::oidc::Provider,
    };

    const ENTRA: &str = include_str!("fixtures/entra.json");
    const GOOGLE: &str = include_str!("fixtures/google.json");
    const KEYCLOAK: &str = include_str!("fixtures/keycloak.json");

    #[test]
    fn the_documents_of_the_providers_that_people_have_are_read() {
        let http = Http::new(&[], false).unwrap();
        let tenant = "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47";
        let realm = "https://id.example.org/realms/office";
        // (document, issuer, token endpoint, where one signs out, whether the answer names the issuer)
        for (text, issuer, token, end, has_iss) in [
            (
                ENTRA,
                format!("{tenant}/v2.0"),
                format!("{tenant}/oauth2/v2.0/token"),
                Some(format!("{tenant}/oauth2/v2.0/logout")),
                false,
            ),
            (
                GOOGLE,
                "https://accounts.google.com".to_owned(),
                "https://oauth2.googleapis.com/token".to_owned(),
                None,
                false,
            ),
            (
                KEYCLOAK,
                realm.to_owned(),
                format!("{realm}/protocol/openid-connect/token"),
                Some(format!("{realm}/protocol/openid-connect/logout")),
                true,
            ),
        ] {
            let document: Document = serde_json::from_str(text).unwrap();
            check(&document, &http).unwrap();
            assert_eq!(document.issuer().as_str(), issuer);
            assert_eq!(document.token_endpoint().unwrap().as_str(), token);
            let more = document.additional_metadata();
            assert_eq!(
                more.end_session_endpoint.as_ref().map(|url| url.to_string()),
                end,
                "{issuer}"
            );
            assert_eq!(more.authorization_response_iss_parameter_supported, has_iss, "{issuer}");
            // The hub is set up for it by its issuer alone, as the guide says.
            let config = Config::new(Typed {
                oidc: Some(TypedOidc {
                    issuer: Some(issuer.clone()),
                    client_id: Some("adit".to_owned()),
                    user_values: vec!["example.org".to_owned()],
                    ..TypedOidc::default()
                }),
                ..Typed::default()
            });
            let provider = Provider::new(&config.unwrap().oidc.unwrap(), None, &[], Clock::system()).unwrap();
            assert_eq!(provider.issuer(), issuer);
        }
    }

    #[test]
    fn a_document_by_which_nobody_can_sign_in_safely_is_refused() {
        let http = Http::new(&[], false).unwrap();
        let without = |name: &str, value: Value| {
            let mut document: Value = serde_json::from_str(KEYCLOAK).unwrap();
            document[name] = value;
            document
        };
        for (name, value) in [
            ("token_endpoint", json!("http://id.example.org/token")),
            ("token_endpoint", Value::Null),
            ("authorization_endpoint", json!("http://id.example.org/auth")),
            ("userinfo_endpoint", json!("http://id.example.org/userinfo")),
            ("end_session_endpoint", json!("javascript:alert(1)")),
        ] {
            let document: Document = serde_json::from_value(without(name, value)).unwrap();
            let error = check(&document, &http).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
        for (name, value) in [
            ("issuer", Value::Null),
            ("jwks_uri", json!("no url")),
            ("authorization_endpoint", Value::Null),
        ] {
            assert!(
                serde_json::from_value::<Document>(without(name, value)).is_err(),
                "{name}"
            );
        }
    }

    #[test]
    fn the_keys_of_the_providers_that_people_have_are_read() {
        let n = "AKHE5w".repeat(57);
        // Entra ID names no algorithm and adds an issuer; Keycloak has keys for encryption and of other kinds beside.
        for (whose, keys, signing) in [
            (
                "Entra ID",
                json!([{"kty": "RSA", "use": "sig", "kid": "a", "x5t": "a", "n": n, "e": "AQAB", "x5c": ["MIIC"],
                    "cloud_instance_name": "microsoftonline.com", "issuer": "https://login.microsoftonline.com/x/v2.0"}]),
                1,
            ),
            (
                "Google",
                json!([{"kty": "RSA", "use": "sig", "kid": "b", "alg": "RS256", "n": n, "e": "AQAB"},
                    {"kty": "RSA", "use": "sig", "kid": "c", "alg": "RS256", "n": n, "e": "AQAB"}]),
                2,
            ),
            (
                "Keycloak",
                json!([{"kid": "d", "kty": "RSA", "alg": "RSA-OAEP", "use": "enc", "x5c": ["MIIC"], "x5t": "x",
                        "x5t#S256": "y", "n": n, "e": "AQAB"},
                    {"kid": "e", "kty": "RSA", "alg": "RS256", "use": "sig", "x5c": ["MIIC"], "n": n, "e": "AQAB"},
                    {"kid": "f", "kty": "OKP", "alg": "EdDSA", "use": "sig", "crv": "Ed448", "x": "AAAA"}]),
                1,
            ),
        ] {
            let set: CoreJsonWebKeySet = serde_json::from_value(json!({ "keys": keys })).unwrap();
            let rsa = set.keys().iter().filter(|key| {
                use openidconnect::JsonWebKey as _;
                key.key_type() == &openidconnect::core::CoreJsonWebKeyType::RSA
                    && key.key_use() == Some(&openidconnect::core::CoreJsonWebKeyUse::Signature)
            });
            assert_eq!(rsa.count(), signing, "{whose}");
        }
    }
}
