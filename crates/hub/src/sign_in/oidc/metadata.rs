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
            if url.is_some_and(|url| !self.http.is_safe(url)) {
                return Err(fail(format!("its {name} is not reached by https")));
            }
        }
        if document.token_endpoint().is_none() {
            return Err(fail("it names no token_endpoint".to_owned()));
        }
        Ok(Arc::new(document))
    }
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
