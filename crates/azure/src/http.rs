//! Sends: encrypted, never redirected, within limits of time and size.

use std::{sync::Arc, time::Duration};

use reqwest::{header::HeaderMap, redirect};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use crate::{arm::SetUpError, cloud::is_beside};

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection is kept for the next request. Azure keeps it for longer, so that none is taken that it closes.
const IDLE_LIMIT: Duration = Duration::from_secs(20);

/// Longest answer that is read, in bytes: the list of all sizes of one region has about 2 MB, a container's log up to 4.
const MAX_BODY: usize = 16 << 20;

/// The client. Requests to this machine and what is beside it never take a proxy, others that of the environment
/// (`HTTPS_PROXY`, `NO_PROXY`).
#[derive(Clone, Debug)]
pub(crate) struct Http {
    outside: reqwest::Client,
    beside: reqwest::Client,
}

/// An answer, whole.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// Why there is no answer. Holds no URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpError {
    /// No connection came about: nothing was sent.
    #[error("{0}")]
    Unsent(String),
    /// It was sent, perhaps.
    #[error("{0}")]
    Lost(String),
    /// The answer has no end.
    #[error("the answer is longer than {MAX_BODY} bytes")]
    TooLong,
}

impl Http {
    /// Trusts the public authorities.
    pub(crate) fn new() -> Result<Self, SetUpError> {
        let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| SetUpError(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let builder = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(redirect::Policy::none())
                .connect_timeout(CONNECT_LIMIT)
                .pool_idle_timeout(IDLE_LIMIT)
                .user_agent(concat!("adit/", env!("CARGO_PKG_VERSION")))
        };
        let made = |builder: reqwest::ClientBuilder| builder.build().map_err(|error| SetUpError(error.to_string()));
        Ok(Self {
            outside: made(builder().https_only(true))?,
            beside: made(builder().no_proxy())?,
        })
    }

    /// Sends, and reads the answer to its end within `limit`.
    pub(crate) async fn send(&self, mut request: reqwest::Request, limit: Duration) -> Result<Reply, HttpError> {
        *request.timeout_mut() = Some(limit);
        let is_beside = request.url().host_str().is_some_and(is_beside);
        let client = if is_beside { &self.beside } else { &self.outside };
        let mut response = client.execute(request).await.map_err(told)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(HttpError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, headers, body })
    }
}

/// The innermost error says most: "connection refused" rather than "error sending request".
fn told(error: reqwest::Error) -> HttpError {
    let is_unsent = error.is_connect() || error.is_builder();
    let text = if error.is_timeout() {
        "it took too long".to_owned()
    } else {
        let error = error.without_url();
        let mut innermost: &dyn std::error::Error = &error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        innermost.to_string()
    };
    if is_unsent {
        HttpError::Unsent(text)
    } else {
        HttpError::Lost(text)
    }
}
