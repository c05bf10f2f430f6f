//! Who was refused a handshake of late, and why: a few of them, for a log.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use wg::PublicKey;

/// How many are kept until somebody takes them. More are only counted: a flood must not cost more than it does anyway.
const MAX: usize = 16;

/// Why a handshake message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalCause {
    /// The sender does not know this host's public key.
    WrongMac1,
    /// The sender's key belongs to no peer.
    UnknownPeer,
    /// It does not open.
    Forged,
    /// It is not newer than the last from the same peer.
    Replayed,
    /// Its source sends too many, while there is load.
    RateLimited,
}

/// A handshake message that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where it came from.
    pub source: SocketAddr,
    /// Why it was refused.
    pub cause: RefusalCause,
    /// The peer that it came from, if it proved that.
    pub peer: Option<PublicKey>,
}

/// The refusals that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Vec<Refusal>>);

impl Refusals {
    /// Keeps a refusal, if there is room and nobody else is at it.
    pub(super) fn note(&self, source: SocketAddr, cause: RefusalCause, peer: Option<PublicKey>) {
        if let Ok(mut kept) = self.0.try_lock()
            && kept.len() < MAX
        {
            kept.push(Refusal { source, cause, peer });
        }
    }

    /// Gives what was kept, and forgets it.
    pub(super) fn take(&self) -> Vec<Refusal> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_kept_until_they_are_taken() {
        let refusals = Refusals::default();
        let source = "192.0.2.7:5000".parse().unwrap();
        for _ in 0..1000 {
            refusals.note(source, RefusalCause::WrongMac1, None);
        }
        assert_eq!(refusals.take().len(), MAX);
        refusals.note(source, RefusalCause::Forged, None);
        assert_eq!(refusals.take()[0].cause, RefusalCause::Forged);
        assert_eq!(refusals.take(), []);
    }
}
