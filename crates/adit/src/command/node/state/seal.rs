//! How what a gateway keeps looks where it is kept: a line that names the lease, then what nobody reads without the key.
//!
//! ```text
//!   adit state 1 01kb2w0v9hq3k1yv8s4n6t2m5e⏎   24 bytes    sealed, with a tag of 16 bytes behind it
//!   └────────── authenticated ───────────┘ └─ nonce ─┘ └─ XChaCha20-Poly1305 ─────────────────────┘
//! ```
//!
//! Pure.

use std::fmt;

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use launch::LeaseId;
use wg::PresharedKey;
use zeroize::Zeroizing;

/// What every version begins with.
const MAGIC: &str = "adit state ";

/// The form that is written, and the one that is read.
const VERSION: &str = "1";

/// A nonce's length: long enough to be random.
pub(super) const NONCE_LEN: usize = 24;

/// Longest first line that is looked for.
const MAX_HEAD: usize = 100;

/// Where the key is.
pub(crate) const KEY_VARIABLE: &str = "ADIT_STATE_KEY";

/// 32 bytes, in base64 as `adit genpsk` prints them.
#[derive(Clone)]
pub(super) struct Key(PresharedKey);

/// Why something cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealError {
    /// It is something else.
    #[error("it is no state of a gateway: give another --state, or remove it")]
    Foreign,
    /// A later program wrote it.
    #[error("it has the form {0}, and this adit reads {VERSION}: start the adit that wrote it")]
    Version(String),
    /// It is another gateway's.
    #[error("it is the state of the lease {0}: give that as --lease, or another --state")]
    OtherLease(LeaseId),
    /// Something is missing.
    #[error("it was cut off: restore it whole, or remove it, after which peers need new configurations")]
    Cut,
    /// The key is wrong, or something was changed: nothing tells the two apart.
    #[error(
        "{KEY_VARIABLE} does not open it: give the key that it was sealed with; if that is the right one, it was changed: \
         restore it, or remove it, after which peers need new configurations"
    )]
    Shut,
}

impl Key {
    /// `None` if it is none.
    pub(super) fn read(text: &str) -> Option<Self> {
        let key = PresharedKey::from_base64(text.trim()).ok()?;
        (!key.is_zero()).then_some(Self(key))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.0.danger_bytes().into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Seals. A nonce is never used twice.
pub(super) fn seal(plain: &[u8], lease: LeaseId, key: &Key, nonce: [u8; NONCE_LEN]) -> Vec<u8> {
    let head = format!("{MAGIC}{VERSION} {lease}\n");
    let payload = Payload {
        msg: plain,
        aad: head.as_bytes(),
    };
    let sealed = key
        .cipher()
        .encrypt(&XNonce::from(nonce), payload)
        .expect("what is kept is shorter than 256 GiB");
    [head.as_bytes(), &nonce, &sealed].concat()
}

/// Opens what was sealed for this lease with this key.
pub(super) fn open(bytes: &[u8], lease: LeaseId, key: &Key) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let magic = MAGIC.as_bytes();
    let beginning = &bytes[..bytes.len().min(magic.len())];
    if beginning.len() < magic.len() && magic.starts_with(beginning) {
        return Err(SealError::Cut);
    }
    let rest = bytes.strip_prefix(magic).ok_or(SealError::Foreign)?;
    let end = rest.iter().take(MAX_HEAD).position(|byte| *byte == b'\n');
    let Some(end) = end else {
        return Err(if rest.len() < MAX_HEAD {
            SealError::Cut
        } else {
            SealError::Foreign
        });
    };
    let (head, rest) = (&rest[..end], &rest[end + 1..]);
    let head = std::str::from_utf8(head).map_err(|_| SealError::Foreign)?;
    let (version, found) = head.split_once(' ').ok_or(SealError::Foreign)?;
    if version != VERSION {
        return Err(SealError::Version(version.escape_debug().to_string()));
    }
    let found: LeaseId = found.parse().map_err(|_| SealError::Foreign)?;
    if found != lease {
        return Err(SealError::OtherLease(found));
    }
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Cut)?;
    let payload = Payload {
        msg: sealed,
        aad: &bytes[..magic.len() + end + 1],
    };
    let opened = key.cipher().decrypt(&XNonce::from(*nonce), payload);
    opened.map(Zeroizing::new).map_err(|_| SealError::Shut)
}

/// The nonce, by which what was sealed once differs from all else.
pub(super) fn nonce(bytes: &[u8]) -> Option<&[u8; NONCE_LEN]> {
    let end = bytes.iter().take(MAX_HEAD).position(|byte| *byte == b'\n')?;
    bytes[end + 1..].first_chunk()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: &str = "01kb2w0v9hq3k1yv8s4n6t2m5e";

    fn lease(text: &str) -> LeaseId {
        text.parse().unwrap()
    }

    fn key(number: u8) -> Key {
        Key(PresharedKey::from_bytes([number; 32]))
    }

    /// Bytes that pass for random ones.
    fn noise(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        }
    }

    #[test]
    fn what_is_sealed_is_opened_by_its_key_for_its_lease_alone() {
        let own = lease(LEASE);
        let sealed = seal(b"kept", own, &key(1), [7; NONCE_LEN]);
        assert_eq!(open(&sealed, own, &key(1)).unwrap().as_slice(), b"kept");
        assert_eq!(open(&sealed, own, &key(2)), Err(SealError::Shut));
        let other = lease("01kb2w0v9hq3k1yv8s4n6t2m5f");
        assert_eq!(open(&sealed, other, &key(1)), Err(SealError::OtherLease(own)));
        // The lease in the first line is not believed by itself.
        let renamed = String::from_utf8_lossy(&sealed[..39]).replace("m5e", "m5f");
        let renamed = [renamed.as_bytes(), &sealed[renamed.len()..]].concat();
        assert_eq!(open(&renamed, other, &key(1)), Err(SealError::Shut));
        assert_eq!(nonce(&sealed), Some(&[7; NONCE_LEN]));
        assert!(!sealed.windows(4).any(|window| window == b"kept"));
    }

    #[test]
    fn what_is_no_state_is_told_apart() {
        let head = format!("adit state 1 {LEASE}\n");
        for (bytes, expected) in [
            ("", SealError::Cut),
            ("adit st", SealError::Cut),
            ("adit state 1 01kb2w", SealError::Cut),
            (&*head, SealError::Cut),
            (&*format!("{head}short"), SealError::Cut),
            (&*format!("{head}{}", "x".repeat(24)), SealError::Shut),
            (&*format!("adit state 2 {LEASE}\n"), SealError::Version("2".to_owned())),
            ("adit state 1 nobody\n", SealError::Foreign),
            ("adit state 1\n", SealError::Foreign),
            (&*format!("adit state {}", "x".repeat(200)), SealError::Foreign),
            ("[Interface]\n", SealError::Foreign),
        ] {
            assert_eq!(
                open(bytes.as_bytes(), lease(LEASE), &key(1)),
                Err(expected),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn no_change_of_any_byte_and_no_cut_passes() {
        for seed in 0..20 {
            let mut random = noise(seed);
            let plain: Vec<u8> = (0..random() % 60).map(|_| random().to_le_bytes()[0]).collect();
            let sealed = seal(&plain, lease(LEASE), &key(1), [seed.to_le_bytes()[0]; NONCE_LEN]);
            assert_eq!(open(&sealed, lease(LEASE), &key(1)).unwrap().as_slice(), plain);
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << (random() % 8);
                assert!(open(&changed, lease(LEASE), &key(1)).is_err(), "byte {at}");
                assert!(open(&sealed[..at], lease(LEASE), &key(1)).is_err(), "cut at {at}");
            }
        }
    }

    #[test]
    fn a_key_is_what_genpsk_prints() {
        let text = PresharedKey::from_bytes([3; 32]).danger_base64();
        assert!(Key::read(&format!("{}\n", *text)).is_some());
        for wrong in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", &text[1..]] {
            assert!(Key::read(wrong).is_none(), "{wrong}");
        }
    }
}
