//! How long peers were connected.
//!
//! Pure. A peer is connected from a handshake until [`CONNECTED`] after it: later the session's keys are not good any more.

use std::time::Duration;

use super::{Lease, LeasePeer, State};
use crate::Moment;

/// How long a handshake holds: WireGuard's `REJECT_AFTER_TIME` (*whitepaper 6.1*).
pub(crate) const CONNECTED: Duration = Duration::from_secs(180);

impl LeasePeer {
    /// Whether its latest handshake still holds.
    pub fn is_connected(&self, now: Moment) -> bool {
        self.latest_handshake_at.is_some_and(|at| now.since(at) < CONNECTED)
    }
}

impl Lease {
    /// How many of its peers are connected.
    pub fn connected_peers(&self, now: Moment) -> u64 {
        let connected = self.peers.iter().filter(|peer| peer.is_connected(now));
        u64::try_from(connected.count()).unwrap_or(u64::MAX)
    }
}

/// How long peers were connected between two looks at a lease, all of them together.
pub(crate) fn time((before, from): (&Lease, Moment), (after, to): (&Lease, Moment)) -> Duration {
    if before.state != State::Ready {
        return Duration::ZERO;
    }
    let of = |peer: &LeasePeer| {
        let known = before.peers.iter().find(|known| known.name == peer.name);
        let handshakes = [
            known.and_then(|known| known.latest_handshake_at),
            peer.latest_handshake_at,
        ];
        covered((from, to), handshakes)
    };
    after.peers.iter().map(of).sum()
}

/// How much of the time between two moments these handshakes hold.
fn covered((from, to): (Moment, Moment), handshakes: [Option<Moment>; 2]) -> Duration {
    let mut sum = Duration::ZERO;
    let mut from = from;
    for handshake in handshakes.into_iter().flatten() {
        let (start, end) = (from.max(handshake), to.min(handshake + CONNECTED));
        sum += end.since(start);
        from = from.max(end);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_while_a_handshake_holds_and_once_only() {
        let at = |secs: u64| Moment::from_millis(1_795_000_000_000 + secs * 1_000);
        // (from, to, handshake known before, handshake known now, seconds), all from an origin.
        for (from, to, known, now, secs) in [
            (1_000, 1_060, None, None, 0),
            (1_000, 1_060, Some(990), Some(990), 60),
            // It came between.
            (1_000, 1_060, None, Some(1_020), 40),
            // It ran out between.
            (1_000, 1_060, Some(850), Some(850), 30),
            (1_000, 1_060, Some(820), Some(820), 0),
            (1_000, 1_060, Some(100), Some(100), 0),
            // The next came while the one before held.
            (1_000, 1_060, Some(900), Some(1_020), 60),
            // And after it had run out.
            (1_000, 1_060, Some(830), Some(1_030), 40),
            // Long not looked at: the last handshake alone is known.
            (1_000, 2_000, Some(900), Some(1_900), 180),
            // The gateway's clock is ahead.
            (1_000, 1_060, None, Some(1_070), 0),
        ] {
            let found = covered((at(from), at(to)), [known.map(at), now.map(at)]);
            assert_eq!(found, Duration::from_secs(secs), "{from} to {to}: {known:?} {now:?}");
        }
    }
}
