//! The key and the certificate by which clients know the API. They are made once: tokens name the certificate.

use std::{path::Path, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::TLS13,
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{ApiError, damaged, read, write};

/// Both in one file: they are there together, or not at all.
const FILE_NAME: &str = "identity.pem";

/// What the certificate is made out to. Clients compare the whole certificate, not its name.
const NAME: &str = "adit";

/// A key with its certificate.
#[derive(Debug)]
pub(super) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// Reads the identity, or makes one.
pub(super) fn load(folder: &Path) -> Result<Identity, ApiError> {
    let path = folder.join(FILE_NAME);
    let text = match read(&path)? {
        Some(text) => text,
        None => {
            let text = make().map_err(|error| ApiError::Certificate(error.to_string()))?;
            write(&path, &text)?;
            text
        }
    };
    let wrong = |what: &str| {
        damaged(
            &path,
            &format!("no {what} in it; remove it for a new one, and give clients new tokens"),
        )
    };
    Ok(Identity {
        certificate: CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| wrong("certificate"))?,
        key: PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| wrong("key"))?,
    })
}

/// A fresh key on P-256, and a certificate that it has signed itself.
fn make() -> Result<Zeroizing<String>, rcgen::Error> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?;
    let secret = Zeroizing::new(key.serialize_pem());
    let mut text = Zeroizing::new(String::with_capacity(2048));
    text.push_str(&certificate.pem());
    text.push_str(&secret);
    Ok(text)
}

impl Identity {
    /// SHA-256 of the certificate.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }

    /// How TLS is spoken: version 1.3 and no other, without session tickets, HTTP/1.1.
    pub(super) fn into_config(self) -> Result<Arc<ServerConfig>, ApiError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(vec![self.certificate], self.key)
            });
        let mut config = config.map_err(|error| ApiError::Certificate(error.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn an_identity_is_made_once_for_its_owner_alone_and_a_damaged_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let first = load(folder.path()).unwrap();
        let again = load(folder.path()).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        again.into_config().unwrap();
        let path = folder.path().join(FILE_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "").unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("identity.pem") && error.contains("remove it"), "{error}");
        fs::remove_file(&path).unwrap();
        assert_ne!(first.fingerprint(), load(folder.path()).unwrap().fingerprint());
    }
}
