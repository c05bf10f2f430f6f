//! The token of a gateway's API: where it is, how it is known, and the secret that opens it, in one word.
//!
//! ```text
//! adit1:BASE64URL( length of HOST:PORT, 2 bytes │ HOST:PORT │ SHA-256 of the certificate, 32 bytes │ secret, 32 bytes )
//! ```

use std::{fmt, str::FromStr};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::Endpoint;

/// What a token begins with: the name of its form.
pub const PREFIX: &str = "adit1:";

/// Bytes of a fingerprint, and of a secret.
pub const LEN: usize = 32;

/// Longest token, in characters: a host's name has at most 253.
const MAX_LEN: usize = 512;

/// Who holds it may add, change and remove peers of one gateway. `Debug` shows no secret.
#[derive(Clone)]
pub struct Token {
    /// Where the API is.
    pub endpoint: Endpoint,
    /// SHA-256 of the API's certificate, in DER.
    pub fingerprint: [u8; LEN],
    /// What requests are authorised by.
    pub secret: Secret,
}

/// What opens an API. Compared in constant time, wiped when dropped, hidden by `Debug`.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; LEN]>);

/// A text that is no token. Its `Display` shows nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It begins otherwise.
    #[error("a token begins with `{PREFIX}`; `adit peer token` prints one")]
    Prefix,
    /// It is cut off, or has characters that do not belong there.
    #[error("the token is damaged: copy it whole, as `adit peer token` prints it")]
    Damaged,
}

impl Secret {
    /// The secret with these bytes, which come from a random source.
    pub fn from_bytes(bytes: [u8; LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads what [`Secret::danger_text`] writes.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; LEN]);
        let length = Base64UrlUnpadded::decode(text, &mut *bytes).ok()?.len();
        (length == LEN).then_some(Self(bytes))
    }

    /// The secret as 43 characters of base64url, for a file that only its owner reads, or a header under TLS.
    pub fn danger_text(&self) -> Zeroizing<String> {
        Zeroizing::new(Base64UrlUnpadded::encode_string(&*self.0))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Token {
    /// The token as text, for whoever is to hold it.
    pub fn danger_text(&self) -> Zeroizing<String> {
        let endpoint = self.endpoint.to_string();
        let length = u16::try_from(endpoint.len()).expect("a host's name has at most 253 characters");
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 + endpoint.len() + 2 * LEN));
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(endpoint.as_bytes());
        bytes.extend_from_slice(&self.fingerprint);
        bytes.extend_from_slice(&*self.secret.0);
        let encoded = Zeroizing::new(Base64UrlUnpadded::encode_string(&bytes));
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + encoded.len()));
        text.push_str(PREFIX);
        text.push_str(&encoded);
        text
    }
}

impl FromStr for Token {
    type Err = TokenError;

    /// Reads a token. Space around it does not count: it is copied by hand.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        if encoded.len() > MAX_LEN {
            return Err(TokenError::Damaged);
        }
        let bytes = Base64UrlUnpadded::decode_vec(encoded).map_err(|_| TokenError::Damaged)?;
        let bytes = Zeroizing::new(bytes);
        let (length, rest) = bytes.split_first_chunk().ok_or(TokenError::Damaged)?;
        let (endpoint, rest) = rest
            .split_at_checked(u16::from_be_bytes(*length).into())
            .ok_or(TokenError::Damaged)?;
        let (fingerprint, rest) = rest.split_first_chunk::<LEN>().ok_or(TokenError::Damaged)?;
        let secret = <&[u8; LEN]>::try_from(rest).map_err(|_| TokenError::Damaged)?;
        let endpoint = std::str::from_utf8(endpoint).map_err(|_| TokenError::Damaged)?;
        Ok(Self {
            endpoint: endpoint.parse().map_err(|_| TokenError::Damaged)?,
            fingerprint: *fingerprint,
            secret: Secret::from_bytes(*secret),
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(endpoint: &str) -> Token {
        Token {
            endpoint: endpoint.parse().unwrap(),
            fingerprint: [7; LEN],
            secret: Secret::from_bytes([251; LEN]),
        }
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        for endpoint in ["vpn.example.com:8443", "203.0.113.2:1", "[2001:db8::1]:65535"] {
            let written = token(endpoint).danger_text();
            let read: Token = format!(" {}\n", *written).parse().unwrap();
            assert_eq!(read.endpoint.to_string(), endpoint);
            assert_eq!(read.fingerprint, [7; LEN]);
            assert_eq!(read.secret, token(endpoint).secret);
            assert!(!format!("{read:?}").contains("251"), "{read:?}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_without_a_word_of_it() {
        let whole = token("vpn.example.com:8443").danger_text();
        for (text, error) in [
            ("", TokenError::Prefix),
            ("adit2:AAAA", TokenError::Prefix),
            ("adit1:", TokenError::Damaged),
            ("adit1:AA+/", TokenError::Damaged),
            (&whole[..whole.len() - 1], TokenError::Damaged),
            (&whole[..80], TokenError::Damaged),
            (&format!("{PREFIX}{}", "A".repeat(MAX_LEN + 4)), TokenError::Damaged),
        ] {
            assert_eq!(text.parse::<Token>().unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn a_secret_of_another_length_is_none() {
        let text = Secret::from_bytes([1; LEN]).danger_text();
        assert_eq!(Secret::from_text(&text), Some(Secret::from_bytes([1; LEN])));
        for wrong in ["", "AAAA", &text[1..], &format!("{}A", *text), "!"] {
            assert_eq!(Secret::from_text(wrong), None, "{wrong}");
        }
    }
}
