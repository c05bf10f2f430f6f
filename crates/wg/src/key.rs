//! Private, public and preshared keys.

use std::{fmt, str::FromStr};

use aws_lc_rs::agreement;
use base64ct::{Base64, Encoding as _};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Length of every WireGuard key, in bytes.
pub const KEY_LEN: usize = 32;

/// Length of a key in base64, in characters.
pub const BASE64_LEN: usize = 44;

/// A text that is not a WireGuard key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither 44 characters of base64 nor, in UAPI text, 64 of hexadecimal.
    #[error(
        "a key has {expected} characters, this has {found}{}",
        if *expected == BASE64_LEN { "; copy it whole, with the `=` at its end" } else { "" }
    )]
    Length {
        /// Characters that a key has in this notation.
        expected: usize,
        /// Characters that were found.
        found: usize,
    },
    /// A character that the notation does not have, or stray bits at the end.
    #[error("not valid {notation}; make a new key with `adit genkey`")]
    Notation {
        /// `base64` or `hexadecimal`.
        notation: &'static str,
    },
}

/// Checks that `text` has `expected` characters, all of them ASCII.
fn check_len(text: &str, expected: usize, notation: &'static str) -> Result<(), KeyError> {
    if text.len() == expected {
        return Ok(());
    }
    match text.chars().count() {
        found if found == expected => Err(KeyError::Notation { notation }),
        found => Err(KeyError::Length { expected, found }),
    }
}

fn from_base64(text: &str) -> Result<[u8; KEY_LEN], KeyError> {
    check_len(text, BASE64_LEN, "base64")?;
    let mut bytes = [0; KEY_LEN];
    match Base64::decode(text, &mut bytes) {
        Ok(decoded) if decoded.len() == KEY_LEN => Ok(bytes),
        _ => Err(KeyError::Notation { notation: "base64" }),
    }
}

fn from_hex(text: &str) -> Result<[u8; KEY_LEN], KeyError> {
    check_len(text, 2 * KEY_LEN, "hexadecimal")?;
    let mut bytes = [0; KEY_LEN];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let mut value = 0_u8;
        for &digit in pair {
            let nibble = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                b'A'..=b'F' => digit - b'A' + 10,
                _ => {
                    return Err(KeyError::Notation {
                        notation: "hexadecimal",
                    });
                }
            };
            value = value << 4 | nibble;
        }
        *byte = value;
    }
    Ok(bytes)
}

fn hex(bytes: &[u8; KEY_LEN]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * KEY_LEN), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

macro_rules! secret {
    ($name:ident) => {
        impl $name {
            /// Reads 44 characters of base64, as `wg genkey` and `wg genpsk` write them.
            ///
            /// # Errors
            ///
            /// [`KeyError`] if the length or a character is wrong.
            pub fn from_base64(text: &str) -> Result<Self, KeyError> {
                from_base64(text).map(Self::from_bytes)
            }

            /// Reads 64 hexadecimal digits, as UAPI text has them.
            ///
            /// # Errors
            ///
            /// [`KeyError`] if the length or a digit is wrong.
            pub fn from_hex(text: &str) -> Result<Self, KeyError> {
                from_hex(text).map(Self::from_bytes)
            }

            /// The key itself. Whoever calls this keeps it out of logs and arguments.
            pub fn danger_bytes(&self) -> &[u8; KEY_LEN] {
                &self.0
            }

            /// The key in base64, for a file that only its owner reads.
            pub fn danger_base64(&self) -> zeroize::Zeroizing<String> {
                zeroize::Zeroizing::new(Base64::encode_string(&self.0))
            }

            /// The key in hexadecimal, for UAPI text.
            pub fn danger_hex(&self) -> zeroize::Zeroizing<String> {
                zeroize::Zeroizing::new(hex(&self.0))
            }

            /// Whether all bytes are zero, which UAPI text takes for "no key".
            pub fn is_zero(&self) -> bool {
                self.0.ct_eq(&[0; KEY_LEN]).into()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(hidden)"))
            }
        }

        impl ConstantTimeEq for $name {
            fn ct_eq(&self, other: &Self) -> Choice {
                self.0.ct_eq(&other.0)
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.ct_eq(other).into()
            }
        }

        impl Eq for $name {}
    };
}

/// An X25519 private key, wiped from memory when dropped. Has no `Display`, and `Debug` hides it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PrivateKey([u8; KEY_LEN]);

secret!(PrivateKey);

impl PrivateKey {
    /// Makes a key of 32 random bytes, clamped as X25519 wants it (RFC 7748, section 5).
    pub fn from_random(mut random: [u8; KEY_LEN]) -> Self {
        random[0] &= 248;
        random[31] = random[31] & 127 | 64;
        let key = Self(random);
        random.zeroize();
        key
    }

    /// Takes 32 bytes as they are, as `wg` does; X25519 clamps them at each use.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The public key that belongs to this key.
    pub fn public_key(&self) -> PublicKey {
        let mut bytes = [0; KEY_LEN];
        let private = agreement::PrivateKey::from_private_key(&agreement::X25519, &self.0)
            .expect("X25519 takes every string of 32 bytes");
        let public = private
            .compute_public_key()
            .expect("X25519 has a public key for every private one");
        bytes.copy_from_slice(public.as_ref());
        PublicKey(bytes)
    }
}

/// A preshared key, mixed into the handshake; wiped from memory when dropped. `Debug` hides it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PresharedKey([u8; KEY_LEN]);

secret!(PresharedKey);

impl PresharedKey {
    /// Takes 32 bytes as they are; any string of 32 random bytes is a preshared key.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }
}

/// An X25519 public key: the name of a peer. Displays as base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// Takes 32 bytes as they are.
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The key's 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Reads 64 hexadecimal digits, as UAPI text has them.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the length or a digit is wrong.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        from_hex(text).map(Self)
    }

    /// The key as 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        from_base64(text).map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&Base64::encode_string(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32 bytes that end in ones, so that stray bits would show.
    const BYTES: [u8; KEY_LEN] = [0xff; KEY_LEN];
    const BASE64: &str = "//////////////////////////////////////////8=";

    #[test]
    fn a_key_reads_back_from_base64_and_hexadecimal() {
        let secret = PrivateKey::from_bytes(BYTES);
        assert_eq!(*secret.danger_base64(), BASE64);
        assert_eq!(*secret.danger_hex(), "f".repeat(64));
        assert_eq!(PrivateKey::from_base64(BASE64), Ok(secret.clone()));
        assert_eq!(PrivateKey::from_hex(&"fF".repeat(32)), Ok(secret));
        let public = PublicKey::from_bytes(BYTES);
        assert_eq!(public.to_string(), BASE64);
        assert_eq!(BASE64.parse(), Ok(public));
        assert_eq!(PublicKey::from_hex(&public.to_hex()), Ok(public));
    }

    #[test]
    fn base64_is_taken_in_its_one_exact_spelling_only() {
        let notation = KeyError::Notation { notation: "base64" };
        let length = |found| KeyError::Length {
            expected: BASE64_LEN,
            found,
        };
        for (text, error) in [
            // The two bits beyond byte 32 must be zero.
            ("//////////////////////////////////////////9=", notation),
            ("///////////////////////////////////////////=", notation),
            ("____________________________________________", notation),
            ("//////////////////////////////////////////8!", notation),
            ("////////////////////////////////////////////", notation),
            ("/////////////////////////////////////////8==", notation),
            ("//////////////////////////////////////////8", length(43)),
            ("//////////////////////////////////////////8= ", length(45)),
            ("", length(0)),
            // 44 characters in 45 bytes.
            ("/////////////////////////////////////////\u{e9}8=", notation),
        ] {
            assert_eq!(text.parse::<PublicKey>(), Err(error), "{text:?}");
            assert_eq!(PresharedKey::from_base64(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn hexadecimal_of_another_length_or_alphabet_is_refused() {
        let notation = KeyError::Notation {
            notation: "hexadecimal",
        };
        for (text, error) in [
            ("f".to_owned(), KeyError::Length { expected: 64, found: 1 }),
            ("g".repeat(64), notation),
            ("\u{e9}".repeat(32), notation),
            ("\u{e9}".repeat(64), notation),
        ] {
            assert_eq!(PublicKey::from_hex(&text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn debug_hides_what_is_secret_and_shows_what_is_public() {
        assert_eq!(format!("{:?}", PrivateKey::from_bytes(BYTES)), "PrivateKey(hidden)");
        assert_eq!(
            format!("{:#?}", PresharedKey::from_bytes(BYTES)),
            "PresharedKey(hidden)"
        );
        assert_eq!(
            format!("{:?}", PublicKey::from_bytes(BYTES)),
            format!("PublicKey({BASE64})")
        );
    }

    #[test]
    fn random_bytes_are_clamped_and_given_bytes_are_kept() {
        let clamped = PrivateKey::from_random(BYTES);
        assert_eq!(clamped.danger_bytes()[0], 0xf8);
        assert_eq!(clamped.danger_bytes()[31], 0x7f);
        assert_eq!(PrivateKey::from_random([0; KEY_LEN]).danger_bytes()[31], 0x40);
        assert_eq!(PrivateKey::from_bytes(BYTES).danger_bytes(), &BYTES);
        assert_eq!(PrivateKey::from_bytes(BYTES).public_key(), clamped.public_key());
    }

    #[test]
    fn public_keys_are_those_of_rfc_7748() {
        for (private, public) in [
            // Section 6.1, Bob.
            (
                "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
                "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            ),
            // Section 5.2, the first iteration: the scalar 9 is clamped.
            (
                "0900000000000000000000000000000000000000000000000000000000000000",
                "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
            ),
        ] {
            assert_eq!(PrivateKey::from_hex(private).unwrap().public_key().to_hex(), public);
        }
    }

    #[test]
    fn zero_bytes_are_known_as_such() {
        assert!(PresharedKey::from_bytes([0; KEY_LEN]).is_zero());
        assert!(!PresharedKey::from_bytes(BYTES).is_zero());
    }
}
