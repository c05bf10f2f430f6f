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
    #[error("a key has {expected} characters, this has {found}; copy it whole, with the `=` at its end")]
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

fn from_base64(text: &str) -> Result<[u8; KEY_LEN], KeyError> {
    if text.len() != BASE64_LEN {
        return Err(KeyError::Length {
            expected: BASE64_LEN,
            found: text.chars().count(),
        });
    }
    let mut bytes = [0; KEY_LEN];
    match Base64::decode(text, &mut bytes) {
        Ok(decoded) if decoded.len() == KEY_LEN => Ok(bytes),
        _ => Err(KeyError::Notation { notation: "base64" }),
    }
}

fn from_hex(text: &str) -> Result<[u8; KEY_LEN], KeyError> {
    if text.len() != 2 * KEY_LEN {
        return Err(KeyError::Length {
            expected: 2 * KEY_LEN,
            found: text.chars().count(),
        });
    }
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
