//! The certificate, read anew when its files change.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {problem}")]
    Pem {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The key is not the certificate's, or of a kind that is not known.
    #[error("{certificate} and {key} do not go together: {source}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Setup(rustls::Error),
}

/// A certificate that is shown to clients, and follows its files.
#[derive(Debug)]
pub(super) struct Certificate {
    files: Tls,
    shown: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads it.
    pub(super) fn open(files: &Tls) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self {
            shown: RwLock::new(Arc::new(read(files)?)),
            files: files.clone(),
        }))
    }

    /// What accepts connections with it.
    pub(super) fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as _);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Looks at the files for ever. What cannot be read leaves the certificate that there is.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut seen = stamps(&self.files);
        loop {
            tokio::time::sleep(LOOK).await;
            let found = stamps(&self.files);
            if found == seen {
                continue;
            }
            match read(&self.files) {
                Ok(fresh) => {
                    self.show(fresh);
                    tracing::info!(event = "certificate", "the certificate was read anew");
                    seen = found;
                }
                // The other file may be about to come.
                Err(error) => {
                    tracing::warn!(%error, "the certificate has changed and cannot be used: the one before stays")
                }
            }
        }
    }

    fn show(&self, fresh: CertifiedKey) {
        *self.shown.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(fresh);
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(
            &self.shown.read().unwrap_or_else(std::sync::PoisonError::into_inner),
        ))
    }
}

fn read(files: &Tls) -> Result<CertifiedKey, TlsError> {
    let pem = |path: &Path| {
        fs::read(path).map_err(|source| TlsError::File {
            path: path.to_owned(),
            source,
        })
    };
    let wrong = |path: &Path, problem: String| TlsError::Pem {
        path: path.to_owned(),
        problem,
    };
    let text = pem(&files.certificate)?;
    let chain = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(&files.certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(
            &files.certificate,
            "there is no certificate in it (PEM)".to_owned(),
        ));
    }
    let text = zeroize::Zeroizing::new(pem(&files.key)?);
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| wrong(&files.key, error.to_string()))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|source| TlsError::Pair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    })
}

/// What tells a file from the one that was there before.
fn stamps(files: &Tls) -> [Option<(SystemTime, u64)>; 2] {
    [&files.certificate, &files.key].map(|path| {
        let data = fs::metadata(path).ok()?;
        Some((data.modified().ok()?, data.len()))
    })
}
