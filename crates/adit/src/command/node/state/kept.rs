//! What a gateway keeps beyond its own end. Pure.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use ipnet::IpNet;
use launch::Moment;
use serde::{Deserialize, Serialize};
use wg::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

/// A moment is written anew once it has moved by more: what is left of a lifetime is told in whole seconds.
const LEEWAY: Duration = Duration::from_secs(5);

/// All that is kept but the private key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// When the gateway is over.
    pub(crate) due: Moment,
    /// The port that it listens on.
    pub(crate) listen_port: u16,
    /// The networks of its peers.
    pub(crate) subnets: Vec<IpNet>,
    /// Its peers, in the order in which they are wanted.
    pub(crate) peers: Vec<KeptPeer>,
    /// Who has gone, the longest first, and the addresses that are kept for them.
    pub(crate) gone: Vec<Gone>,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptPeer {
    pub(crate) name: String,
    pub(crate) public_key: Option<PublicKey>,
    /// Whether the gateway made the pair.
    pub(crate) is_made: bool,
    pub(crate) addresses: Vec<IpAddr>,
}

/// A peer that has gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gone {
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
}

/// What is sealed.
#[derive(Serialize)]
struct Written<'k> {
    private_key: &'k str,
    kept: &'k Kept,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read<'b> {
    // Borrowed, so that there is no copy of it.
    private_key: &'b str,
    kept: Kept,
}

impl Kept {
    /// Whether this has to be written, where `before` was.
    pub(crate) fn differs(&self, before: &Self) -> bool {
        let moved = self.due.since(before.due).max(before.due.since(self.due));
        let same = Self {
            due: before.due,
            ..self.clone()
        };
        moved > LEEWAY || same != *before
    }

    /// What is left, but `least` at least: this machine's clock may be wrong.
    pub(crate) fn remaining(&self, now: SystemTime, least: Duration, most: Duration) -> Duration {
        self.due.since(Moment::from_system(now)).clamp(least, most)
    }

    pub(super) fn write(&self, private_key: &PrivateKey) -> Zeroizing<Vec<u8>> {
        let private_key = private_key.danger_base64();
        let written = Written {
            private_key: &private_key,
            kept: self,
        };
        // Room for all of it, so that no part of the key stays behind as it grows.
        let mut bytes = Zeroizing::new(Vec::with_capacity(1_024 + 256 * (self.peers.len() + self.gone.len())));
        serde_json::to_writer(&mut *bytes, &written).expect("names, numbers and addresses become JSON");
        bytes
    }

    /// `Err` says what is wrong, without any of it.
    pub(super) fn read(bytes: &[u8]) -> Result<(PrivateKey, Self), String> {
        let read: Read<'_> = serde_json::from_slice(bytes)
            .map_err(|error| format!("line {}, column {}", error.line(), error.column()))?;
        let private_key = PrivateKey::from_base64(read.private_key).map_err(|_| "private_key".to_owned())?;
        Ok((private_key, read.kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn kept() -> Kept {
        Kept {
            due: Moment::from_millis(1_795_000_000_000),
            listen_port: 443,
            subnets: vec!["10.9.9.0/24".parse().unwrap()],
            peers: vec![KeptPeer {
                name: "phone".to_owned(),
                public_key: Some(PublicKey::from_bytes([1; 32])),
                is_made: true,
                addresses: vec!["10.9.9.2".parse().unwrap()],
            }],
            gone: vec![Gone {
                name: "laptop".to_owned(),
                addresses: vec!["10.9.9.3".parse().unwrap()],
            }],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let private_key = PrivateKey::from_random([5; 32]);
        let bytes = kept().write(&private_key);
        let (read_key, read) = Kept::read(&bytes).unwrap();
        assert_eq!((read_key.public_key(), read), (private_key.public_key(), kept()));
        for cut in 0..bytes.len() {
            assert!(Kept::read(&bytes[..cut]).is_err(), "{cut}");
        }
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let error = Kept::read(text.replace("443", "\"443 c2VjcmV0\"").as_bytes()).unwrap_err();
        assert!(!error.contains("c2VjcmV0"), "{error}");
    }

    #[test]
    fn only_what_has_changed_is_written() {
        let moved = |millis: i64| Kept {
            due: Moment::from_millis(kept().due.as_millis().saturating_add_signed(millis)),
            ..kept()
        };
        let keyless = |mut kept: Kept| {
            kept.peers[0].public_key = None;
            kept
        };
        for (other, expected) in [
            (kept(), false),
            (moved(1_001), false),
            (moved(-1_001), false),
            (moved(60_000), true),
            (moved(-60_000), true),
            (keyless(kept()), true),
            (
                Kept {
                    gone: Vec::new(),
                    ..kept()
                },
                true,
            ),
        ] {
            assert_eq!(other.differs(&kept()), expected, "{other:?}");
        }
    }

    #[test]
    fn what_is_left_is_within_bounds() {
        let secs = Duration::from_secs;
        for (before, expected) in [(600, 600), (30, 120), (0, 120), (100_000, 10_000)] {
            let now = kept().due.to_system() - secs(before);
            assert_eq!(
                kept().remaining(now, secs(120), secs(10_000)),
                secs(expected),
                "{before}"
            );
        }
        let late = kept().due.to_system() + secs(1);
        assert_eq!(kept().remaining(late, secs(120), secs(10_000)), secs(120));
    }
}
