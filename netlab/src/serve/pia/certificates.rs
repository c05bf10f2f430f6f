//! Two certificate authorities, and certificates of theirs for whoever is asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_RSA_SHA512};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{HOST, Rsa, Shared};

pub(super) struct Certificates {
    /// Signs for servers: RSA with SHA-512, as PIA's.
    pia: CertifiedIssuer<'static, KeyPair>,
    /// Signs for [`HOST`].
    web: CertifiedIssuer<'static, KeyPair>,
    provider: Arc<CryptoProvider>,
    made: Mutex<BTreeMap<String, Arc<CertifiedKey>>>,
}

impl Certificates {
    pub(super) fn new(rsa: &Rsa) -> Self {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(rsa.pkcs8()));
        let key = KeyPair::from_der_and_sign_algo(&key, &PKCS_RSA_SHA512).expect("read an RSA key");
        Self {
            pia: authority(key),
            web: authority(KeyPair::generate().expect("make a key")),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            made: Mutex::default(),
        }
    }

    pub(super) fn authority_pem(&self) -> String {
        self.pia.pem()
    }

    pub(super) fn authority_sha256(&self) -> [u8; 32] {
        let hash = digest::digest(&digest::SHA256, self.pia.der());
        hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    pub(super) fn web_pem(&self) -> String {
        self.web.pem()
    }

    /// A certificate for a server's name, or for [`HOST`].
    fn of(&self, name: &str) -> Arc<CertifiedKey> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let found = made.entry(name.to_owned()).or_insert_with(|| {
            let issuer = if name == HOST { &self.web } else { &self.pia };
            let key = KeyPair::generate().expect("make a key");
            let params = CertificateParams::new([name.to_owned()]).expect("a name for a certificate");
            let certificate = params.signed_by(&key, issuer).expect("sign a certificate");
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let certified = CertifiedKey::from_der(vec![certificate.der().clone()], key, &self.provider);
            Arc::new(certified.expect("a key for its certificate"))
        });
        Arc::clone(found)
    }
}

fn authority(key: KeyPair) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).expect("an authority has no name of a host");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, key).expect("sign an authority")
}

/// What TLS is like for one who came to `address`.
pub(super) fn tls(shared: &Arc<Shared>, address: IpAddr) -> Arc<ServerConfig> {
    let resolver = Resolver {
        shared: Arc::clone(shared),
        address,
    };
    let config = ServerConfig::builder_with_provider(Arc::clone(&shared.certificates.provider))
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    Arc::new(config)
}

struct Resolver {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let state = self.shared.lock();
        let here = state.all().find(|server| server.ip == self.address);
        let here = here.map(|server| state.renamed.get(&server.cn).unwrap_or(&server.cn).clone());
        let name = here.or_else(|| Some(hello.server_name()?.to_owned()))?;
        drop(state);
        Some(self.shared.certificates.of(&name))
    }
}
