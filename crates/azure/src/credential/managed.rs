//! Tokens of the identity that the platform gives: on machines from the metadata service, in App Service and Container Apps
//! from an endpoint of their own. *Managed identities: how to use a VM's token; App Service: REST endpoint reference.*

use std::{fmt, time::Duration};

use reqwest::{
    Method, Url,
    header::{HeaderName, HeaderValue},
};
use zeroize::Zeroizing;

use super::{CredentialError, Exchange, Settings, Way};
use crate::{
    cloud::{Audience, is_beside},
    path::encode_pairs,
    token::Token,
};

const METADATA_HOST: &str = "http://169.254.169.254";
const METADATA_PATH: &str = "/metadata/identity/oauth2/token";
const METADATA: HeaderName = HeaderName::from_static("metadata");
const IDENTITY_HEADER: HeaderName = HeaderName::from_static("x-identity-header");

/// How long the platform is asked: an update of the metadata service (status 410) takes up to 70 s.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long it is sought whether there is a metadata service at all: it is on this machine, or nowhere.
const SOUGHT: Duration = Duration::from_secs(2);

/// A managed identity.
#[derive(Clone, Debug)]
pub(super) struct Managed {
    endpoint: Endpoint,
    /// A user-assigned one; `None` is that of the system.
    client: Option<String>,
    is_sought: bool,
}

#[derive(Clone)]
enum Endpoint {
    Metadata(Url),
    AppService(Url, Zeroizing<String>),
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata(url) => write!(f, "Metadata({url})"),
            Self::AppService(url, _) => write!(f, "AppService({url}, …)"),
        }
    }
}

impl Managed {
    pub(super) fn new(settings: &Settings) -> Result<Self, CredentialError> {
        let absent = |why: String| CredentialError::Absent {
            way: Way::ManagedIdentity,
            why,
        };
        let beside = |name: &str, address: &str| {
            let url = Url::parse(address).ok();
            let is_safe = |url: &Url| match url.scheme() {
                "https" => url.host_str().is_some(),
                "http" => url.host_str().is_some_and(is_beside),
                _ => false,
            };
            url.filter(is_safe).ok_or_else(|| {
                absent(format!(
                    "{name} must be an address on this machine, or begin with https"
                ))
            })
        };
        let endpoint = match (&settings.identity_endpoint, &settings.identity_header) {
            (Some(address), Some(header)) => {
                Endpoint::AppService(beside("IDENTITY_ENDPOINT", address)?, header.clone())
            }
            (Some(_), None) => return Err(absent("IDENTITY_HEADER is not set, as IDENTITY_ENDPOINT is".to_owned())),
            (None, _) => {
                let host = settings.metadata_host.as_deref().unwrap_or(METADATA_HOST);
                let mut url = beside("AZURE_POD_IDENTITY_AUTHORITY_HOST", host)?;
                url.set_path(METADATA_PATH);
                Endpoint::Metadata(url)
            }
        };
        Ok(Self {
            endpoint,
            client: settings.client.clone(),
            is_sought: false,
        })
    }

    /// Whether the platform has said that there is one.
    pub(super) fn is_certain(&self) -> bool {
        matches!(self.endpoint, Endpoint::AppService(..))
    }

    /// The same on a machine that may be none of Azure's.
    pub(super) fn sought(self) -> Self {
        Self {
            is_sought: true,
            ..self
        }
    }

    pub(super) async fn obtain(&self, exchange: &Exchange<'_>, audience: Audience) -> Result<Token, CredentialError> {
        let resource = exchange.cloud.audience(audience);
        let (url, version) = match &self.endpoint {
            Endpoint::Metadata(url) => (url, "2018-02-01"),
            Endpoint::AppService(url, _) => (url, "2019-08-01"),
        };
        if self.is_sought {
            self.seek(exchange, url).await?;
        }
        let client = self.client.as_deref().map(|client| ("client_id", client));
        let mut query = String::new();
        encode_pairs(
            [("api-version", version), ("resource", resource)]
                .into_iter()
                .chain(client),
            &mut query,
        );
        let mut url = url.clone();
        url.set_query(Some(&query));
        let mut request = reqwest::Request::new(Method::GET, url);
        match &self.endpoint {
            Endpoint::Metadata(_) => {
                request.headers_mut().insert(METADATA, HeaderValue::from_static("true"));
                // Not yet there; being updated: Microsoft asks clients to try these again.
                exchange
                    .ask(Way::ManagedIdentity, &request, PATIENCE, |status| {
                        matches!(status, 404 | 410)
                    })
                    .await
            }
            Endpoint::AppService(_, secret) => {
                let mut header = HeaderValue::from_str(secret).map_err(|_| CredentialError::Absent {
                    way: Way::ManagedIdentity,
                    why: "IDENTITY_HEADER holds letters that no header may hold".to_owned(),
                })?;
                header.set_sensitive(true);
                request.headers_mut().insert(IDENTITY_HEADER, header);
                exchange.ask(Way::ManagedIdentity, &request, PATIENCE, |_| false).await
            }
        }
    }

    /// Azure's metadata service answers what lacks its header with 400, at once. Other clouds have something else there.
    async fn seek(&self, exchange: &Exchange<'_>, url: &Url) -> Result<(), CredentialError> {
        let absent = |why: String| CredentialError::Absent {
            way: Way::ManagedIdentity,
            why,
        };
        let host = url.host_str().unwrap_or_default();
        match exchange
            .http
            .send(reqwest::Request::new(Method::GET, url.clone()), SOUGHT)
            .await
        {
            Ok(reply) if reply.status == 400 => Ok(()),
            Ok(reply) => Err(absent(format!(
                "{host} is no metadata service of Azure: it answers {}",
                reply.status
            ))),
            Err(error) => Err(absent(format!(
                "{host}, where machines of Azure have their metadata service: {error}"
            ))),
        }
    }
}
