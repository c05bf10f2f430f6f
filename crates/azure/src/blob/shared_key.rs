//! Signs requests with a storage account's key. *Azure Storage: authorize with Shared Key.* Pure.

use std::{collections::BTreeMap, fmt};

use base64ct::{Base64, Encoding as _};
use reqwest::{Url, header::HeaderMap};
use ring::hmac;
use zeroize::Zeroizing;

/// The headers that are signed by their place, in this order. The date is in `x-ms-date`.
const PLACES: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// An account and its key. `Debug` hides the key.
#[derive(Clone)]
pub struct AccountKey {
    account: String,
    key: hmac::Key,
}

impl AccountKey {
    /// The key as the portal shows it, in base64; `None` if it is none.
    pub fn new(account: &str, key: &str) -> Option<Self> {
        let bytes = Zeroizing::new(Base64::decode_vec(key).ok()?);
        (!bytes.is_empty() && !account.is_empty()).then(|| Self {
            account: account.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
        })
    }

    /// What `Authorization` says for a request.
    pub(super) fn authorization(&self, method: &str, url: &Url, headers: &HeaderMap) -> String {
        let text = self.signed_text(method, url, headers);
        let signature = hmac::sign(&self.key, text.as_bytes());
        format!(
            "SharedKey {}:{}",
            self.account,
            Base64::encode_string(signature.as_ref())
        )
    }

    fn signed_text(&self, method: &str, url: &Url, headers: &HeaderMap) -> String {
        let mut text = format!("{method}\n");
        for name in PLACES {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            // A length of nothing is written as no length.
            let value = value.filter(|value| name != "content-length" || *value != "0");
            text.push_str(value.unwrap_or_default());
            text.push('\n');
        }
        let own = headers
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("x-ms-"))
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default().trim()));
        for (name, value) in own.collect::<BTreeMap<_, _>>() {
            text.push_str(&format!("{name}:{value}\n"));
        }
        text.push_str(&format!("/{}{}", self.account, url.path()));
        let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in url.query_pairs() {
            query.entry(name.to_lowercase()).or_default().push(value.into_owned());
        }
        for (name, mut values) in query {
            values.sort_unstable();
            text.push_str(&format!("\n{name}:{}", values.join(",")));
        }
        text
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountKey")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    /// The example of *Azure Storage: authorize with Shared Key*, "Get Container Metadata".
    #[test]
    fn the_text_that_is_signed_is_that_of_azure_s_example() {
        let key = AccountKey::new("myaccount", "a2V5").unwrap();
        let url =
            Url::parse("http://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata&timeout=20");
        let headers = headers(&[
            ("x-ms-version", "2015-02-21"),
            ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"),
            ("content-length", "0"),
            ("accept", "*/*"),
        ]);
        assert_eq!(
            key.signed_text("GET", &url.unwrap(), &headers),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
    }

    #[test]
    fn conditions_and_ranges_are_signed_in_their_places() {
        let key = AccountKey::new("a", "a2V5").unwrap();
        let url = Url::parse("https://a.example/c/b%20c").unwrap();
        let headers = headers(&[
            ("content-length", "7"),
            ("content-type", "text/plain"),
            ("if-match", "\"1\""),
            ("if-none-match", "*"),
            ("range", "bytes=0-1"),
        ]);
        assert_eq!(
            key.signed_text("PUT", &url, &headers),
            "PUT\n\n\n7\n\ntext/plain\n\n\n\"1\"\n*\n\nbytes=0-1\n/a/c/b%20c"
        );
        let (signed, other) = (
            key.authorization("PUT", &url, &headers),
            AccountKey::new("a", "a2V6").unwrap(),
        );
        assert!(signed.starts_with("SharedKey a:"), "{signed}");
        assert_ne!(signed, other.authorization("PUT", &url, &headers));
        assert!(!format!("{key:?}").contains("a2V5"));
    }
}
