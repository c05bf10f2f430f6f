//! Secrets of links: random bytes, what is derived from them, and what is proven by them.

use std::fmt;

use base64ct::{Base64, Encoding as _};
use ring::hmac;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use wg::PrivateKey;
use zeroize::Zeroizing;

/// Bytes of a secret.
pub const LEN: usize = 32;

/// What a one-time key, and the key of its exchange, are derived by (*RFC 2104*, as *RFC 5869* expands).
const KEY_LABEL: &[u8] = b"adit link: key of one time";
const EXCHANGE_LABEL: &[u8] = b"adit link: exchange of one time";
const ADDRESS_LABEL: &[u8] = b"adit link: address of one time";

/// 32 secret bytes. Wiped when dropped, hidden by `Debug`; written only where files of root's keep them.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; LEN]>);

impl Secret {
    /// New random bytes.
    ///
    /// # Errors
    ///
    /// If the system has no random source.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; LEN]);
        getrandom::fill(&mut *bytes)?;
        Ok(Self(bytes))
    }

    /// These bytes, which came from a random source.
    pub fn from_bytes(bytes: [u8; LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for a token or a file of root's.
    pub fn danger_bytes(&self) -> &[u8; LEN] {
        &self.0
    }

    /// The secret as 44 characters of base64, for a person who hands it over.
    pub fn danger_text(&self) -> Zeroizing<String> {
        Zeroizing::new(Base64::encode_string(&*self.0))
    }

    /// Reads what [`Self::danger_text`] writes.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; LEN]);
        let length = Base64::decode(text, &mut *bytes).ok()?.len();
        (length == LEN).then_some(Self(bytes))
    }

    /// The private key whose bytes these are.
    pub fn private_key(&self) -> PrivateKey {
        PrivateKey::from_bytes(*self.0)
    }

    /// The WireGuard key of a token with this secret, which is used once.
    pub fn one_time_key(&self) -> PrivateKey {
        PrivateKey::from_random(self.derive(KEY_LABEL))
    }

    /// What authenticates the exchange of a token with this secret.
    pub fn one_time_exchange(&self) -> Self {
        Self::from_bytes(self.derive(EXCHANGE_LABEL))
    }

    /// The last 64 bits of the address that the holder of a token with this secret has for a moment.
    pub fn one_time_address(&self) -> u64 {
        let bytes: [u8; LEN] = self.derive(ADDRESS_LABEL);
        u64::from_be_bytes(*bytes.first_chunk().expect("there are 32"))
    }

    fn derive(&self, label: &[u8]) -> [u8; LEN] {
        self.mac(&[label])
    }

    /// HMAC-SHA256 of the parts, one after the other. Their lengths are the caller's to fix.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> [u8; LEN] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &*self.0));
        for part in parts {
            context.update(part);
        }
        let mut bytes = [0; LEN];
        bytes.copy_from_slice(context.sign().as_ref());
        bytes
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.danger_text())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(from)?);
        Self::from_text(&text).ok_or_else(|| D::Error::custom("a secret is 32 bytes in base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_derived_differs_and_is_always_the_same() {
        let secret = Secret::from_bytes([7; LEN]);
        let again = Secret::from_text(&secret.danger_text()).unwrap();
        assert_eq!(secret.one_time_key().public_key(), again.one_time_key().public_key());
        assert_eq!(secret.one_time_address(), again.one_time_address());
        assert_ne!(
            secret.one_time_exchange().danger_bytes(),
            secret.one_time_key().danger_bytes()
        );
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
        for wrong in ["", "AAAA", "!", &secret.danger_text()[1..]] {
            assert!(Secret::from_text(wrong).is_none(), "{wrong}");
        }
    }
}
