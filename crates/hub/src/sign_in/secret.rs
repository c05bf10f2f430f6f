//! Secrets, and what is kept of them.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

/// A text that nobody else may see: wiped from memory with its value, hidden in `Debug`.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

/// The system gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this system's random source cannot be read: {0}")]
pub struct RandomError(#[from] getrandom::Error);

impl Secret {
    /// This text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// 256 random bits, in the alphabet of base64url (RFC 4648, section 5): 43 letters.
    ///
    /// # Errors
    ///
    /// [`RandomError`].
    pub fn random() -> Result<Self, RandomError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice())?;
        Ok(Self::new(Base64UrlUnpadded::encode_string(bytes.as_slice())))
    }

    /// The text itself, for the one who may see it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of the secret where it is used for `purpose`.
    pub(crate) fn fingerprint(&self, purpose: Purpose) -> Fingerprint {
        fingerprint(purpose, &self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a secret is for. One that is given for another purpose has another fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The token that is printed at the start.
    Printed,
    /// A session's cookie.
    Session,
    /// An API token.
    Token,
    /// The cookie of a sign-in that has begun.
    Begun,
    /// The `state` of a sign-in that has begun.
    State,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Printed => "printed",
            Self::Session => "session",
            Self::Token => "token",
            Self::Begun => "begun",
            Self::State => "state",
        }
    }
}

/// SHA-256 of a secret. That is enough for 256 random bits, which nobody finds by trying; it is no way to keep passwords.
///
/// Compared in constant time.
#[derive(Clone, Copy, Debug, Eq, PartialOrd, Ord)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// The fingerprint of what somebody says is the secret.
pub(crate) fn fingerprint(purpose: Purpose, text: &str) -> Fingerprint {
    let mut hash = Sha256::new();
    hash.update(b"adit ");
    hash.update(purpose.name());
    hash.update([0]);
    hash.update(text);
    Fingerprint(hash.finalize().into())
}

/// The value that shows that a form was made for the session of this cookie: HMAC-SHA-256 by the cookie's secret.
///
/// It is the same as long as the session lasts, and says nothing of the cookie.
pub(crate) fn csrf(session: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(session.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(b"adit csrf");
    let mut bytes: [u8; 32] = mac.finalize().into_bytes().into();
    let text = Base64UrlUnpadded::encode_string(&bytes);
    bytes.zeroize();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_seen_in_debug() {
        let secret = Secret::new("correct horse".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(secret.expose(), "correct horse");
    }

    #[test]
    fn random_secrets_differ_and_have_256_bits() {
        let (one, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), 43);
        assert_eq!(Base64UrlUnpadded::decode_vec(one.expose()).unwrap().len(), 32);
    }

    #[test]
    fn a_fingerprint_is_of_one_text_and_one_purpose() {
        let kept = Secret::new("a".to_owned()).fingerprint(Purpose::Session);
        // (purpose, text, same?)
        for (purpose, text, is_same) in [
            (Purpose::Session, "a", true),
            (Purpose::Session, "b", false),
            (Purpose::Session, "", false),
            (Purpose::Token, "a", false),
        ] {
            assert_eq!(kept == fingerprint(purpose, text), is_same, "{purpose:?} {text}");
        }
    }

    #[test]
    fn the_value_of_forms_is_the_sessions() {
        assert_eq!(csrf("one"), csrf("one"));
        assert_ne!(csrf("one"), csrf("other"));
        assert_eq!(csrf("one").len(), 43);
    }
}
