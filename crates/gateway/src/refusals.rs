//! Refused handshakes as lines of a log: who and why, but a flood of them in few lines.
//!
//! Pure: the caller passes the time.

use std::{
    collections::HashSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use tunnel::{Count, Refusal, RefusalCause, Stage};
use wg::PublicKey;

use crate::{Name, entry::Entry};

/// How long a source is not named again for the same cause, and after which the unnamed are summed up.
const WINDOW: Duration = Duration::from_secs(60);

/// Most lines in a window, besides the sum.
const MAX_LINES: usize = 10;

/// Counters of the protocol that are refused handshakes.
pub const REFUSED: [&str; 8] = [
    "wrong_mac1",
    "unknown_peers",
    "forged_handshakes",
    "replayed_handshakes",
    "flooded_handshakes",
    "rate_limited",
    "cookies_sent",
    "no_identity",
];

/// Turns refusals into lines.
#[derive(Debug)]
pub struct RefusalLog {
    since: Instant,
    named: HashSet<(IpAddr, RefusalCause)>,
    /// What the counters were when the window began.
    before: Vec<(&'static str, u64)>,
}

impl RefusalLog {
    /// Begins with the counters as they are.
    pub fn new(now: Instant, counts: &[Count]) -> Self {
        Self {
            since: now,
            named: HashSet::new(),
            before: refused(counts).collect(),
        }
    }

    /// What is to be said of refusals, and of those that were only counted. `name` knows peers by their keys.
    pub fn observe(
        &mut self,
        now: Instant,
        refusals: &[Refusal],
        counts: &[Count],
        name: impl Fn(&PublicKey) -> Option<Name>,
    ) -> Vec<Entry> {
        let mut entries = Vec::new();
        for refusal in refusals {
            if self.named.len() < MAX_LINES && self.named.insert((refusal.source.ip(), refusal.cause)) {
                entries.push(entry(refusal, refusal.peer.as_ref().and_then(&name)));
            }
        }
        if now.saturating_duration_since(self.since) >= WINDOW {
            entries.extend(self.sum(counts));
            *self = Self::new(now, counts);
        }
        entries
    }

    /// What the counters say beyond what was named.
    fn sum(&self, counts: &[Count]) -> Option<Entry> {
        let mut parts = Vec::new();
        let mut total = 0;
        let mut sum = Entry::new("refused_handshakes", "");
        for ((name, value), (_, before)) in refused(counts).zip(&self.before) {
            let more = value.saturating_sub(*before);
            total += more;
            if more > 0 {
                parts.push(format!("{more} {}", name.replace('_', " ")));
                sum = sum.with_number(name, more);
            }
        }
        let is_more = total > self.named.len() as u64;
        sum.message = format!("refused {total} handshakes in the last minute: {}", parts.join(", "));
        Some(sum).filter(|_| is_more)
    }
}

fn refused(counts: &[Count]) -> impl Iterator<Item = (&'static str, u64)> {
    let is_refused = |count: &&Count| count.stage == Stage::WireGuard && REFUSED.contains(&count.name);
    counts.iter().filter(is_refused).map(|count| (count.name, count.value))
}

fn entry(refusal: &Refusal, peer: Option<Name>) -> Entry {
    let (word, why) = match refusal.cause {
        RefusalCause::WrongMac1 => ("wrong_mac1", "it is made for another public key than this gateway's"),
        RefusalCause::UnknownPeer => ("unknown_peer", "its key is no peer's"),
        RefusalCause::Forged => ("forged", "it does not open"),
        RefusalCause::Replayed => (
            "replayed",
            "it is not newer than the last one; it was recorded, or the client's clock was set back",
        ),
        RefusalCause::RateLimited => ("rate_limited", "its source sends too many while there is load"),
    };
    let source = refusal.source;
    let whose = peer.as_ref().map_or_else(String::new, |name| format!("{name}: "));
    let entry = Entry::new("refused", format!("{whose}refused a handshake from {source}: {why}"))
        .with("endpoint", source)
        .with("cause", word);
    match peer {
        Some(name) => entry.with("peer", name),
        None => entry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(wrong_mac1: u64) -> Vec<Count> {
        let of = |name, value| Count {
            stage: Stage::WireGuard,
            name,
            value,
        };
        vec![
            of("malformed_datagrams", 9),
            of("wrong_mac1", wrong_mac1),
            of("unknown_peers", 0),
        ]
    }

    fn refusal(source: &str, cause: RefusalCause) -> Refusal {
        Refusal {
            source: source.parse().unwrap(),
            cause,
            peer: (cause == RefusalCause::Replayed).then(|| PublicKey::from_bytes([7; 32])),
        }
    }

    #[test]
    fn a_source_is_named_once_a_minute_for_each_cause_and_a_flood_is_summed_up() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut log = RefusalLog::new(start, &counts(5));
        let name = |_: &PublicKey| Some("phone".parse().unwrap());
        let mut say = |second, refusals: &[Refusal], wrong_mac1| {
            let entries = log.observe(at(second), refusals, &counts(wrong_mac1), name);
            entries.into_iter().map(|entry| entry.message).collect::<Vec<_>>()
        };
        let wrong = refusal("192.0.2.7:5000", RefusalCause::WrongMac1);
        let line = "refused a handshake from 192.0.2.7:5000: it is made for another public key than this gateway's";
        assert_eq!(say(2, &[wrong, wrong], 7), [line]);
        assert_eq!(
            say(4, &[refusal("192.0.2.7:5001", RefusalCause::WrongMac1)], 8),
            [""; 0]
        );
        let replayed = say(6, &[refusal("192.0.2.7:5001", RefusalCause::Replayed)], 8);
        assert!(
            replayed[0].starts_with("phone: refused a handshake from 192.0.2.7:5001: "),
            "{replayed:?}"
        );
        let flood: Vec<Refusal> = (0..100)
            .map(|i| refusal(&format!("198.51.100.{i}:1"), RefusalCause::Forged))
            .collect();
        assert_eq!(say(8, &flood, 8).len(), MAX_LINES - 2, "few lines");
        assert_eq!(
            say(62, &[], 1005),
            ["refused 1000 handshakes in the last minute: 1000 wrong mac1"]
        );
        assert_eq!(say(64, &[wrong], 1006), [line], "a minute later it is named again");
        assert_eq!(say(130, &[], 1006), [""; 0], "one that was named is not summed up");
    }
}
