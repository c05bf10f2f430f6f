//! Asks the provider: encrypted, never redirected, within limits of time and size.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse, http, url::Url};
use reqwest::redirect;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::SetUpError;
use crate::{config::is_loopback_host, request_id, trace_context};

/// How long an answer may take, from the first packet to its last byte.
const LIMIT: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes.
const MAX_BODY: usize = 1 << 20;

/// Asks the provider.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    takes_plain: bool,
}

/// Why there is no answer. Holds nothing of what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("{0} is not reached by https")]
    Plain(String),
    #[error("{0}")]
    Failed(#[from] reqwest::Error),
    #[error("the answer is longer than {MAX_BODY} bytes")]
    TooLong,
    #[error("{0}")]
    Http(#[from] http::Error),
}

impl Http {
    /// Trusts the public authorities and these, in PEM. Plain HTTP is taken from this machine alone, if the issuer is there.
    pub(super) fn new(authorities: &[u8], takes_plain: bool) -> Result<Self, SetUpError> {
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            let wrong = |error: &dyn std::fmt::Display| SetUpError::Authority(error.to_string());
            let certificate = certificate.map_err(|error| wrong(&error))?;
            roots.add(certificate).map_err(|error| wrong(&error))?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| SetUpError::Client(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .timeout(LIMIT)
            .user_agent(concat!("adit/", env!("CARGO_PKG_VERSION")))
            .https_only(!takes_plain);
        // What is on this machine is not asked through a proxy.
        let builder = if takes_plain { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| SetUpError::Client(error.to_string()))?;
        Ok(Self { client, takes_plain })
    }

    /// Whether a URL may be asked, or a browser sent to it.
    pub(super) fn is_safe(&self, url: &Url) -> bool {
        match url.scheme() {
            "https" => url.host_str().is_some(),
            "http" => self.takes_plain && url.host_str().is_some_and(is_loopback_host),
            _ => false,
        }
    }

    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let uri = request.uri().to_string();
        if !Url::parse(&uri).is_ok_and(|url| self.is_safe(&url)) {
            return Err(HttpError::Plain(uri));
        }
        let mut request = reqwest::Request::try_from(request)?;
        let trace = request_id::trace().and_then(|trace| trace.to_string().parse().ok());
        if let Some(trace) = trace {
            request.headers_mut().insert(trace_context::HEADER, trace);
        }
        let mut response = self
            .client
            .execute(request)
            .await
            .map_err(reqwest::Error::without_url)?;
        let mut answer = http::Response::builder().status(response.status());
        if let Some(headers) = answer.headers_mut() {
            *headers = response.headers().clone();
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(HttpError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(answer.body(body)?)
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.ask(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_travels_in_the_clear_but_on_this_machine() {
        // (the issuer is on this machine?, url, is safe?)
        for (takes_plain, url, is_safe) in [
            (false, "https://id.example.org/token", true),
            (true, "https://id.example.org/token", true),
            (false, "http://127.0.0.1:9900/token", false),
            (true, "http://127.0.0.1:9900/token", true),
            (true, "http://localhost:9900/token", true),
            (true, "http://[::1]:9900/token", true),
            (true, "http://id.example.org/token", false),
            (true, "http://127.0.0.1.evil.example/token", false),
            (true, "file:///etc/passwd", false),
            (true, "javascript:alert(1)", false),
        ] {
            let http = Http::new(&[], takes_plain).unwrap();
            assert_eq!(http.is_safe(&Url::parse(url).unwrap()), is_safe, "{takes_plain} {url}");
        }
    }

    #[test]
    fn an_authority_that_is_none_is_refused() {
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(Http::new(broken, false), Err(SetUpError::Authority(_))));
    }
}
