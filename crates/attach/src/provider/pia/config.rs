//! How the provider is set up.

use std::path::PathBuf;

use super::credentials::{Credentials, Secret};
use crate::provider::https::{Endpoint, EndpointError};

/// The SHA-256 of PIA's certificate authority (`ca.rsa.4096.crt`, valid from 2014-04-17 to 2034-04-12).
const CA_SHA256: [u8; 32] = [
    0x1f, 0xd2, 0x56, 0x58, 0x45, 0x6e, 0xab, 0x30, 0x41, 0xfb, 0xa7, 0x7c, 0xcd, 0x39, 0x8a, 0xb8, 0x12, 0x4e, 0xdc,
    0xc1, 0xb8, 0xb2, 0xfc, 0x1d, 0x55, 0xfd, 0xf6, 0xb1, 0xbb, 0xfc, 0x9d, 0x70,
];

/// The region of containers that name none, if the operator names none either.
pub const DEFAULT_REGION: &str = "ca_vancouver";

/// The region that stands for the dedicated IP.
pub const DEDICATED_REGION: &str = "dedicated-ip";

/// How the provider is set up. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who logs in.
    pub credentials: Credentials,
    /// Where the token, the server list, the certificate authority and what containers hold are kept; made with mode
    /// 0700. It should outlive a boot: the token endpoint counts logins.
    pub cache: PathBuf,
    /// PIA's certificate authority as PEM; `None` downloads it once. Either must have [`Endpoints::ca_sha256`].
    pub ca: Option<PathBuf>,
    /// The public key that signs the server list, RSA as PEM; `None` trusts the list for the TLS that it came by.
    pub list_key: Option<PathBuf>,
    /// The region of containers that name none; [`DEFAULT_REGION`] by default.
    pub region: String,
    /// The token of a dedicated IP (`DIP…`), for the one container that asks for the region [`DEDICATED_REGION`].
    pub dedicated_ip: Option<Secret>,
    /// Where PIA is.
    pub endpoints: Endpoints,
}

impl Config {
    /// PIA's own service, with the defaults.
    pub fn new(credentials: Credentials, cache: impl Into<PathBuf>) -> Self {
        Self {
            credentials,
            cache: cache.into(),
            ca: None,
            list_key: None,
            region: DEFAULT_REGION.to_owned(),
            dedicated_ip: None,
            endpoints: Endpoints::pia(),
        }
    }
}

/// Where PIA's service is. Another one stands in for tests.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// The API with `/token` and `/dedicated_ip`.
    pub api: Endpoint,
    /// The server list, of the format v6.
    pub list: Endpoint,
    /// The certificate authority as PEM.
    pub ca: Endpoint,
    /// The SHA-256 of the certificate authority, in DER.
    pub ca_sha256: [u8; 32],
    /// A certificate authority, as PEM, that is trusted for the three above in place of the public ones.
    pub roots: Option<PathBuf>,
}

impl Endpoints {
    /// PIA's own.
    pub fn pia() -> Self {
        let known = "PIA's own places are well formed";
        Self::new(
            "https://www.privateinternetaccess.com/api/client/v2",
            "https://serverlist.piaservers.net/vpninfo/servers/v6",
            "https://raw.githubusercontent.com/pia-foss/manual-connections/master/ca.rsa.4096.crt",
        )
        .expect(known)
    }

    /// Others, with PIA's certificate authority.
    ///
    /// # Errors
    ///
    /// If one is not of the form `https://HOST[:PORT]/PATH`.
    pub fn new(api: &str, list: &str, ca: &str) -> Result<Self, EndpointError> {
        Ok(Self {
            api: Endpoint::new(api)?,
            list: Endpoint::new(list)?,
            ca: Endpoint::new(ca)?,
            ca_sha256: CA_SHA256,
            roots: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let mut config = Config::new(Credentials::File("/c".into()), "/cache");
        config.dedicated_ip = Some(Secret::new("DIPsecret"));
        let shown = format!("{config:?}");
        assert!(
            shown.contains(DEFAULT_REGION) && !shown.contains("DIPsecret"),
            "{shown}"
        );
    }
}
