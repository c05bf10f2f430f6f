//! The life of one token, on the member that made it.
//!
//! ```text
//!   open ──▶ used by a key ──▶ confirmed ──▶ forgotten
//!     └────▶ expired ──────────────────────▶
//! ```
//!
//! A host that was accepted and lost the answer asks again with the same key, and gets the same. It is a member once it
//! speaks with its own key; from then on the token says nothing more than that it was used. A while after its end it is
//! forgotten, and then its holder does not even get a handshake.

use serde::{Deserialize, Serialize};
use wg::{IpNet, Peer, PublicKey};

use crate::{addresses::Addresses, secret::Secret, text};

/// How long a token of no use is told so, in seconds.
const REFUSED_FOR: u64 = 3600;

/// One token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invitation {
    /// What the token holds.
    pub(crate) secret: Secret,
    /// The number that whoever joins gets.
    pub number: u16,
    /// When it is of no more use, in seconds since 1970.
    pub expires: u64,
    /// Who joined with it.
    pub state: State,
}

/// How far a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Nobody has used it.
    Open,
    /// A host has joined with it, and has not been heard of since.
    Used(#[serde(with = "text")] PublicKey),
    /// That host is a member.
    Confirmed,
}

/// Why nobody joins with a token. Its holder is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Somebody has.
    #[error("the token was used already: a token is for one host; ask for another (adit link invite)")]
    Used,
    /// It is too late.
    #[error("the token has expired: ask for another (adit link invite)")]
    Expired,
}

impl Invitation {
    /// Whether a host with this key may join, at `now`.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn admit(&self, key: &PublicKey, now: u64) -> Result<(), Refusal> {
        match self.state {
            State::Open if now < self.expires => Ok(()),
            State::Open => Err(Refusal::Expired),
            State::Used(by) if by == *key => Ok(()),
            State::Used(_) | State::Confirmed => Err(Refusal::Used),
        }
    }

    /// Whether its number is kept.
    pub fn is_open(&self, now: u64) -> bool {
        self.state == State::Open && now < self.expires
    }

    /// Whether nothing is left to be told.
    pub fn is_over(&self, now: u64) -> bool {
        now >= self.expires + REFUSED_FOR
    }

    /// Its holder, as a peer of the tunnel.
    pub(crate) fn peer(&self, addresses: &Addresses) -> (PublicKey, Peer) {
        let address = addresses.of_guest(self.secret.one_time_address());
        let peer = Peer {
            allowed_ips: [IpNet::from(std::net::IpAddr::from(address))].into(),
            ..Peer::default()
        };
        (self.secret.one_time_key().public_key(), peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::tests::key;

    #[test]
    fn a_token_is_for_one_host_and_for_a_while() {
        let invitation = |state| Invitation {
            secret: Secret::from_bytes([1; 32]),
            number: 1,
            expires: 100,
            state,
        };
        for (state, now, expected) in [
            (State::Open, 99, Ok(())),
            (State::Open, 100, Err(Refusal::Expired)),
            (State::Used(key(1)), 99, Ok(())),
            // Its answer was lost, and it was down meanwhile.
            (State::Used(key(1)), 500, Ok(())),
            (State::Used(key(2)), 99, Err(Refusal::Used)),
            (State::Confirmed, 99, Err(Refusal::Used)),
        ] {
            assert_eq!(invitation(state).admit(&key(1), now), expected, "{state:?} at {now}");
        }
        for (now, is_over) in [(0, false), (3699, false), (3700, true)] {
            assert_eq!(invitation(State::Confirmed).is_over(now), is_over, "{now}");
        }
    }
}
