//! `AZURE_STORAGE_CONNECTION_STRING`: who may come to which storage account. Pure.

use std::{fmt, str::FromStr};

use reqwest::Url;
use zeroize::Zeroizing;

use super::{Access, AccountKey, Location};
use crate::cloud::is_loopback;

/// The account of the emulator; its key is public. *Azure Storage: Azurite, well-known storage account and key.*
const EMULATED: (&str, &str) = (
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
);

/// Where the emulator is.
const EMULATOR: &str = "http://127.0.0.1:10000/devstoreaccount1";

/// The end of the names of services in the public cloud.
const SUFFIX: &str = "core.windows.net";

/// What a connection string says of blobs. `Debug` hides secrets.
#[derive(Clone, Debug)]
pub struct ConnectionString {
    endpoint: Url,
    access: Access,
}

/// What is wrong with a connection string. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// A part is no `name=value`.
    #[error("the part number {0} is not of the form Name=Value")]
    Form(usize),
    /// It is there twice.
    #[error("{0} is there twice")]
    Twice(&'static str),
    /// Something is missing.
    #[error("{0} is missing: copy the connection string of the storage account's page `Access keys` anew")]
    Missing(&'static str),
    /// A value is not what it has to be.
    #[error("{field} is not {wanted}")]
    Wrong {
        /// Its name.
        field: &'static str,
        /// What it has to be.
        wanted: &'static str,
    },
    /// What is kept is said to be elsewhere.
    #[error("it is for {endpoint}, and {location} is not there: give the one of that account")]
    Elsewhere {
        /// Where it leads.
        endpoint: String,
        /// Where what is kept is.
        location: String,
    },
}

/// The parts, by their names.
#[derive(Default)]
struct Parts<'t> {
    account: Option<&'t str>,
    key: Option<&'t str>,
    signature: Option<&'t str>,
    endpoint: Option<&'t str>,
    suffix: Option<&'t str>,
    protocol: Option<&'t str>,
    emulated: Option<&'t str>,
}

impl<'t> Parts<'t> {
    fn read(text: &'t str) -> Result<Self, ConnectionError> {
        let mut parts = Self::default();
        for (at, part) in text.split(';').map(str::trim).enumerate() {
            if part.is_empty() {
                continue;
            }
            let (name, value) = part.split_once('=').ok_or(ConnectionError::Form(at + 1))?;
            let (name, value) = (name.trim(), value.trim());
            let (known, place) = match name.to_ascii_lowercase().as_str() {
                "accountname" => ("AccountName", &mut parts.account),
                "accountkey" => ("AccountKey", &mut parts.key),
                "sharedaccesssignature" => ("SharedAccessSignature", &mut parts.signature),
                "blobendpoint" => ("BlobEndpoint", &mut parts.endpoint),
                "endpointsuffix" => ("EndpointSuffix", &mut parts.suffix),
                "defaultendpointsprotocol" => ("DefaultEndpointsProtocol", &mut parts.protocol),
                "usedevelopmentstorage" => ("UseDevelopmentStorage", &mut parts.emulated),
                // Endpoints of queues and tables, and whatever comes.
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(ConnectionError::Twice(known));
            }
        }
        Ok(parts)
    }

    fn endpoint(&self) -> Result<Url, ConnectionError> {
        let protocol = self.protocol.unwrap_or("https");
        if !["http", "https"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(protocol))
        {
            return Err(ConnectionError::Wrong {
                field: "DefaultEndpointsProtocol",
                wanted: "https or http",
            });
        }
        let wrong = |field| ConnectionError::Wrong {
            field,
            wanted: "the address of a service: it begins with https, or with http if it is on this machine",
        };
        let (field, address) = match (self.endpoint, self.account) {
            (Some(endpoint), _) => ("BlobEndpoint", endpoint.to_owned()),
            (None, Some(account)) => {
                let suffix = self.suffix.unwrap_or(SUFFIX);
                (
                    "AccountName or EndpointSuffix",
                    format!("{protocol}://{account}.blob.{suffix}"),
                )
            }
            (None, None) => return Err(ConnectionError::Missing("AccountName or BlobEndpoint")),
        };
        let url = Url::parse(&address).map_err(|_| wrong(field))?;
        let is_bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        let is_safe = match url.scheme() {
            "https" => true,
            "http" => url.host_str().is_some_and(is_loopback),
            _ => false,
        };
        if self.endpoint.is_none() && (url.path() != "/" || url.port().is_some()) {
            return Err(wrong(field));
        }
        (is_bare && is_safe).then_some(url).ok_or_else(|| wrong(field))
    }

    fn access(&self) -> Result<Access, ConnectionError> {
        if let Some(signature) = self.signature {
            let signature = signature.trim_start_matches('?');
            let has_one = signature
                .split('&')
                .any(|pair| pair.strip_prefix("sig=").is_some_and(|rest| !rest.is_empty()));
            return has_one
                .then(|| Access::Signature(Zeroizing::new(signature.to_owned())))
                .ok_or(ConnectionError::Wrong {
                    field: "SharedAccessSignature",
                    wanted: "a query with `sig=`, such as sv=…&sig=…",
                });
        }
        let key = self
            .key
            .ok_or(ConnectionError::Missing("AccountKey or SharedAccessSignature"))?;
        let account = self.account.ok_or(ConnectionError::Missing("AccountName"))?;
        AccountKey::new(account, key)
            .map(Access::Key)
            .ok_or(ConnectionError::Wrong {
                field: "AccountKey",
                wanted: "a key in base64",
            })
    }
}

impl ConnectionString {
    /// Where the account's blobs are.
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// The access to what is at a location.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::Elsewhere`] if that is another account's.
    pub fn access(&self, location: &Location) -> Result<Access, ConnectionError> {
        if !location.is_behind(&self.endpoint) {
            return Err(ConnectionError::Elsewhere {
                endpoint: self.endpoint.to_string(),
                location: location.to_string(),
            });
        }
        Ok(self.access.clone())
    }
}

impl FromStr for ConnectionString {
    type Err = ConnectionError;

    fn from_str(text: &str) -> Result<Self, ConnectionError> {
        let mut parts = Parts::read(text)?;
        match parts.emulated {
            Some(word) if word.eq_ignore_ascii_case("true") => {
                parts.account.get_or_insert(EMULATED.0);
                if parts.signature.is_none() {
                    parts.key.get_or_insert(EMULATED.1);
                }
                parts.endpoint.get_or_insert(EMULATOR);
            }
            Some(word) if word.eq_ignore_ascii_case("false") => {}
            Some(_) => {
                return Err(ConnectionError::Wrong {
                    field: "UseDevelopmentStorage",
                    wanted: "true or false",
                });
            }
            None => {}
        }
        Ok(Self {
            endpoint: parts.endpoint()?,
            access: parts.access()?,
        })
    }
}

impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<(String, &'static str), String> {
        let read: ConnectionString = text.parse().map_err(|error: ConnectionError| error.to_string())?;
        let way = match read.access {
            Access::Key(_) => "key",
            Access::Signature(_) => "signature",
            Access::Identity(_) => "identity",
        };
        Ok((read.endpoint.to_string(), way))
    }

    #[test]
    fn a_connection_string_is_read_as_the_portal_and_the_emulator_write_it() {
        for (text, endpoint, way) in [
            (
                "DefaultEndpointsProtocol=https;AccountName=a1;AccountKey=a2V5;EndpointSuffix=core.windows.net",
                "https://a1.blob.core.windows.net/",
                "key",
            ),
            (
                "AccountName=a1;AccountKey=a2V5;EndpointSuffix=core.chinacloudapi.cn;",
                "https://a1.blob.core.chinacloudapi.cn/",
                "key",
            ),
            (
                " accountname = a1 ; ACCOUNTKEY=a2V5aw== ",
                "https://a1.blob.core.windows.net/",
                "key",
            ),
            (
                "BlobEndpoint=https://a1.blob.core.windows.net/;QueueEndpoint=https://a1.queue.core.windows.net/;\
                 SharedAccessSignature=sv=2022-11-02&ss=b&sig=x%3D%3D",
                "https://a1.blob.core.windows.net/",
                "signature",
            ),
            (
                "AccountName=a1;SharedAccessSignature=?sv=1&sig=s",
                "https://a1.blob.core.windows.net/",
                "signature",
            ),
            (
                "UseDevelopmentStorage=true",
                "http://127.0.0.1:10000/devstoreaccount1",
                "key",
            ),
            (
                "UseDevelopmentStorage=TRUE;BlobEndpoint=http://127.0.0.1:7/devstoreaccount1",
                "http://127.0.0.1:7/devstoreaccount1",
                "key",
            ),
            (
                "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:7/a",
                "http://127.0.0.1:7/a",
                "key",
            ),
        ] {
            assert_eq!(read(text), Ok((endpoint.to_owned(), way)), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is_said() {
        for (text, reason) in [
            ("", "AccountName or BlobEndpoint is missing"),
            ("AccountName=a;c2VjcmV0", "part number 2"),
            ("AccountName=a", "AccountKey or SharedAccessSignature is missing"),
            (
                "AccountName=a;AccountKey=c2VjcmV0;AccountKey=c2VjcmV0",
                "AccountKey is there twice",
            ),
            ("AccountName=a;AccountKey=c2VjcmV0!", "AccountKey is not a key"),
            ("AccountName=a;AccountKey=", "AccountKey is not a key"),
            (
                "BlobEndpoint=https://a.example;AccountKey=c2VjcmV0",
                "AccountName is missing",
            ),
            (
                "BlobEndpoint=https://a.example;SharedAccessSignature=sv=c2VjcmV0",
                "SharedAccessSignature is not",
            ),
            (
                "BlobEndpoint=http://a.example;AccountName=a;AccountKey=c2VjcmV0",
                "BlobEndpoint is not",
            ),
            (
                "BlobEndpoint=https://a.example?x=c2VjcmV0;AccountName=a;AccountKey=c2VjcmV0",
                "BlobEndpoint is not",
            ),
            (
                "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0",
                "AccountName or EndpointSuffix is not",
            ),
            (
                "DefaultEndpointsProtocol=ftp;AccountName=a;AccountKey=c2VjcmV0",
                "DefaultEndpointsProtocol is not",
            ),
            (
                "AccountName=evil.example/;AccountKey=c2VjcmV0",
                "AccountName or EndpointSuffix is not",
            ),
            (
                "UseDevelopmentStorage=perhaps",
                "UseDevelopmentStorage is not true or false",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("c2VjcmV0"), "{error}");
        }
    }

    #[test]
    fn the_key_of_one_account_is_not_used_for_another() {
        let string: ConnectionString = "AccountName=a;AccountKey=a2V5".parse().unwrap();
        for (location, fits) in [
            ("https://a.blob.core.windows.net/c", true),
            ("https://b.blob.core.windows.net/c", false),
        ] {
            assert_eq!(string.access(&location.parse().unwrap()).is_ok(), fits, "{location}");
        }
        assert!(!format!("{string:?}").contains("a2V5"));
    }

    proptest! {
        #[test]
        fn whatever_is_read_has_a_safe_endpoint_and_says_no_secret(
            parts in proptest::collection::vec(
                (
                    prop_oneof![
                        Just("AccountName"), Just("AccountKey"), Just("BlobEndpoint"), Just("EndpointSuffix"),
                        Just("SharedAccessSignature"), Just("DefaultEndpointsProtocol"), Just("UseDevelopmentStorage"),
                    ],
                    prop_oneof![
                        ".{0,12}", Just("c2VjcmV0".to_owned()), Just("sig=c2VjcmV0".to_owned()), Just("true".to_owned()),
                        Just("http".to_owned()), Just("https://a.example/x".to_owned()), Just("http://a.example".to_owned()),
                    ],
                ),
                0..6,
            ),
        ) {
            let text = parts.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(";");
            match text.parse::<ConnectionString>() {
                Ok(read) => {
                    let host = read.endpoint.host_str().unwrap_or_default();
                    prop_assert!(read.endpoint.scheme() == "https" || is_loopback(host), "{text}");
                    let shown = format!("{:?}", read.access);
                    prop_assert!(!shown.contains("c2VjcmV0"), "{text}");
                }
                Err(error) => prop_assert!(!error.to_string().contains("c2VjcmV0"), "{text}: {error}"),
            }
        }
    }
}
