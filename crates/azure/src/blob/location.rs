//! Where a blob is. Pure.

use std::{fmt, str::FromStr};

use reqwest::Url;

use crate::cloud::is_loopback;

/// A blob's URL, or that of what holds blobs: a container, or a folder in one. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location(Url);

/// Why an address is none of a container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It is no URL, or names no container.
    #[error("`{0}` names no container: it is like https://ACCOUNT.blob.core.windows.net/CONTAINER/FOLDER")]
    NoContainer(String),
    /// What is kept would travel in the clear.
    #[error("`{0}` is not taken: it must begin with https, or with http if it is on this machine")]
    Plain(String),
    /// A signature, or a password: it would be seen wherever arguments are.
    #[error(
        "what is behind `?`, `#` or before `@` is not taken in the address of a container, for others may see it: give a \
         shared access signature in AZURE_STORAGE_CONNECTION_STRING"
    )]
    Secret,
}

impl Location {
    /// The blob of this name in it: letters, digits, `-`, `_` and `.`.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(name);
        }
        Self(url)
    }

    /// As URL.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Whether it is behind this endpoint of a service.
    pub(super) fn is_behind(&self, endpoint: &Url) -> bool {
        let base = endpoint.path().trim_end_matches('/');
        let rest = self.0.path().strip_prefix(base);
        self.0.origin() == endpoint.origin() && rest.is_some_and(|rest| rest.starts_with('/'))
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        // Nothing of it is shown before it is known to hold no secret.
        if text.contains(['?', '#', '@']) {
            return Err(LocationError::Secret);
        }
        let none = || LocationError::NoContainer(text.escape_debug().to_string());
        let url = Url::parse(text).map_err(|_| none())?;
        let host = url.host_str().ok_or_else(none)?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(host) => {}
            "http" => return Err(LocationError::Plain(text.escape_debug().to_string())),
            _ => return Err(none()),
        }
        let mut segments = url.path_segments().ok_or_else(none)?;
        if segments.next().is_none_or(str::is_empty) {
            return Err(none());
        }
        Ok(Self(url))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_container_s_without_a_secret() {
        let plain = |text: &str| LocationError::Plain(text.to_owned());
        let none = |text: &str| LocationError::NoContainer(text.to_owned());
        for (text, expected) in [
            (
                "https://a.blob.core.windows.net/c",
                Ok("https://a.blob.core.windows.net/c/x"),
            ),
            (
                "https://a.blob.core.windows.net/c/",
                Ok("https://a.blob.core.windows.net/c/x"),
            ),
            ("https://a.example/c/d/e", Ok("https://a.example/c/d/e/x")),
            (
                "http://127.0.0.1:10000/devstoreaccount1/c",
                Ok("http://127.0.0.1:10000/devstoreaccount1/c/x"),
            ),
            ("http://a.example/c", Err(plain("http://a.example/c"))),
            (
                "https://a.blob.core.windows.net",
                Err(none("https://a.blob.core.windows.net")),
            ),
            (
                "https://a.blob.core.windows.net/",
                Err(none("https://a.blob.core.windows.net/")),
            ),
            ("ftp://a.example/c", Err(none("ftp://a.example/c"))),
            ("/config", Err(none("/config"))),
            ("https://a.example/c?sv=1&sig=s", Err(LocationError::Secret)),
            ("https://a:b@a.example/c", Err(LocationError::Secret)),
        ] {
            let joined = text.parse().map(|location: Location| location.join("x").to_string());
            assert_eq!(joined, expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn a_location_is_behind_one_endpoint_only() {
        for (endpoint, text, expected) in [
            ("https://a.example", "https://a.example/c", true),
            ("https://a.example/", "https://a.example:443/c", true),
            ("https://b.example", "https://a.example/c", false),
            ("http://127.0.0.1:10000/one", "http://127.0.0.1:10000/one/c", true),
            ("http://127.0.0.1:10000/one", "http://127.0.0.1:10000/onerous/c", false),
            ("http://127.0.0.1:10000/one", "http://127.0.0.1:10001/one/c", false),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(
                location.is_behind(&endpoint.parse().unwrap()),
                expected,
                "{endpoint} {text}"
            );
        }
    }
}
