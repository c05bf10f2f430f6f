//! PIA's certificate authority: from a file, from the cache, or downloaded once; always with the SHA-256 that it must have.

use std::{path::Path, sync::Arc};

use http_body_util::Full;
use hyper::{Request, StatusCode};
use ring::digest;
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::sync::Mutex;

use super::{config::Config, store::Store};
use crate::provider::{
    ProviderError,
    https::{self, HttpsError},
};

/// The cached certificate.
const FILE: &str = "ca.pem";

/// The trust in PIA's certificate authority alone, once it is there.
#[derive(Debug, Default)]
pub(super) struct Authority(Mutex<Option<Arc<ClientConfig>>>);

impl Authority {
    /// The trust, for requests to servers.
    pub(super) async fn trust(
        &self,
        config: &Config,
        store: &Store,
        web: &Arc<ClientConfig>,
    ) -> Result<Arc<ClientConfig>, ProviderError> {
        let mut known = self.0.lock().await;
        if let Some(trust) = &*known {
            return Ok(Arc::clone(trust));
        }
        let expected = &config.endpoints.ca_sha256;
        let trust = match &config.ca {
            Some(path) => from_file(path, expected)?,
            None => match store.read(FILE).and_then(|(pem, _)| read(&pem, expected).ok()) {
                Some(trust) => trust,
                None => download(config, store, web).await?,
            },
        };
        Ok(Arc::clone(known.insert(trust)))
    }
}

fn from_file(path: &Path, expected: &[u8; 32]) -> Result<Arc<ClientConfig>, ProviderError> {
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|cause| {
        ProviderError::Refused(format!(
            "PIA's certificate authority: {shown}: {cause}: put ca.rsa.4096.crt there, or name no file to have it downloaded"
        ))
    })?;
    read(&pem, expected).map_err(|wrong| {
        ProviderError::Refused(format!(
            "PIA's certificate authority: {shown}: {wrong}: put PIA's ca.rsa.4096.crt there"
        ))
    })
}

async fn download(config: &Config, store: &Store, web: &Arc<ClientConfig>) -> Result<Arc<ClientConfig>, ProviderError> {
    let at = &config.endpoints.ca;
    let failed = |why: String| {
        ProviderError::Unavailable(format!(
            "PIA's certificate authority cannot be had from {at}: {why}; it may be given as a file, too"
        ))
    };
    let question = Request::get(at.path(""))
        .body(Full::default())
        .map_err(|error| failed(error.to_string()))?;
    let answer = at
        .ask(web, question)
        .await
        .map_err(|error: HttpsError| failed(error.to_string()))?;
    if answer.status != StatusCode::OK {
        return Err(failed(format!("the server answers {}", answer.status)));
    }
    let trust = read(&answer.body, &config.endpoints.ca_sha256).map_err(failed)?;
    store.write(FILE, &answer.body)?;
    Ok(trust)
}

/// The trust in a certificate that has the `expected` SHA-256.
fn read(pem: &[u8], expected: &[u8; 32]) -> Result<Arc<ClientConfig>, String> {
    let certificate = CertificateDer::from_pem_slice(pem).map_err(|_| "there is no certificate as PEM".to_owned())?;
    let found = digest::digest(&digest::SHA256, &certificate);
    if found.as_ref() != expected {
        return Err(format!(
            "its SHA-256 is {}, PIA's is {}",
            colons(found.as_ref()),
            colons(expected)
        ));
    }
    https::trust_in(certificate).map_err(|error| error.to_string())
}

fn colons(bytes: &[u8]) -> String {
    let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}
