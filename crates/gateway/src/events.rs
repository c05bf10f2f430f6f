//! What happens with peers: who connected from where, who moved, who went silent.
//!
//! Pure: [`Tracker::observe`] is told how the peers are, and when, and says what is different from the last time.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use wg::PublicKey;

use crate::{Name, server::PeerState};

/// How long after its latest handshake a peer counts as connected: that long its session can be used (WireGuard
/// whitepaper 6.1: `REJECT_AFTER_TIME`). A peer that has something to say renews its session every two minutes.
pub const CONNECTED_FOR: Duration = Duration::from_secs(180);

/// Something that happened with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// It completed a handshake, not having been connected before.
    Connected {
        /// Who.
        name: Name,
        /// Where it is.
        endpoint: Option<SocketAddr>,
    },
    /// It is at another address than before, its session going on.
    Moved {
        /// Who.
        name: Name,
        /// Where it was.
        from: SocketAddr,
        /// Where it is.
        to: SocketAddr,
    },
    /// It has not renewed its session for [`CONNECTED_FOR`].
    Silent {
        /// Who.
        name: Name,
        /// Where it was.
        endpoint: Option<SocketAddr>,
        /// How long it was connected.
        connected: Duration,
    },
}

/// What is known of a peer since the tracker was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Whether it is connected.
    pub connected: bool,
    /// How often it connected, not having been connected before.
    pub session_starts: u64,
    /// For how long it was connected, all in all.
    pub connected_time: Duration,
}

/// Remembers how the peers were.
#[derive(Debug, Default)]
pub struct Tracker {
    peers: HashMap<PublicKey, Track>,
    round: u64,
}

#[derive(Debug)]
struct Track {
    name: Name,
    handshake: Option<SystemTime>,
    /// When the handshake took place, by a clock that nobody sets.
    renewed: Option<Instant>,
    endpoint: Option<SocketAddr>,
    totals: Totals,
    /// The part of the totals that is of this session.
    session: Duration,
    /// Up to when `connected_time` is counted.
    counted: Instant,
    round: u64,
}

impl Tracker {
    /// Takes note of how the peers are, and says what happened. Peers that are not among them are forgotten.
    ///
    /// `wall` is the time of day at `now`; only the age of a handshake that is seen for the first time depends on it.
    pub fn observe(&mut self, now: Instant, wall: SystemTime, peers: &[PeerState]) -> Vec<PeerEvent> {
        self.round += 1;
        let mut events = Vec::new();
        for peer in peers {
            let track = self.peers.entry(peer.public_key).or_insert_with(|| {
                let age = peer.latest_handshake.map(|handshake| wall.duration_since(handshake));
                Track {
                    name: peer.name.clone(),
                    handshake: peer.latest_handshake,
                    renewed: age.and_then(|age| now.checked_sub(age.unwrap_or_default())),
                    endpoint: peer.endpoint,
                    totals: Totals::default(),
                    session: Duration::ZERO,
                    counted: now,
                    round: 0,
                }
            });
            track.round = self.round;
            track.observe(now, peer, &mut events);
        }
        let round = self.round;
        self.peers.retain(|_, track| track.round == round);
        events
    }

    /// What is known of a peer.
    pub fn totals(&self, peer: &PublicKey) -> Totals {
        self.peers.get(peer).map(|track| track.totals).unwrap_or_default()
    }

    /// How many peers are connected.
    pub fn connected(&self) -> usize {
        self.peers.values().filter(|track| track.totals.connected).count()
    }
}

impl Track {
    fn observe(&mut self, now: Instant, peer: &PeerState, events: &mut Vec<PeerEvent>) {
        self.name.clone_from(&peer.name);
        // The time up to the end of the session as it was known.
        let ended = self.renewed.map(|renewed| renewed + CONNECTED_FOR);
        if self.totals.connected {
            let until = ended.map_or(now, |ended| ended.min(now));
            let more = until.saturating_duration_since(self.counted);
            self.totals.connected_time += more;
            self.session += more;
        }
        self.counted = now;
        let is_over = ended.is_none_or(|ended| ended <= now);
        let is_new = peer.latest_handshake != self.handshake && peer.latest_handshake.is_some();
        if is_new {
            self.handshake = peer.latest_handshake;
            self.renewed = Some(now);
        }
        if self.totals.connected && is_over {
            self.totals.connected = false;
            events.push(PeerEvent::Silent {
                name: self.name.clone(),
                endpoint: self.endpoint,
                connected: self.session,
            });
        }
        let is_connected = self.renewed.is_some_and(|renewed| now < renewed + CONNECTED_FOR);
        if is_connected && !self.totals.connected {
            self.totals.connected = true;
            self.totals.session_starts += 1;
            self.session = Duration::ZERO;
            events.push(PeerEvent::Connected {
                name: self.name.clone(),
                endpoint: peer.endpoint,
            });
        } else if is_connected
            && let (Some(from), Some(to)) = (self.endpoint, peer.endpoint)
            && from != to
        {
            events.push(PeerEvent::Moved {
                name: self.name.clone(),
                from,
                to,
            });
        }
        self.endpoint = peer.endpoint;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(handshake: Option<SystemTime>, endpoint: Option<&str>) -> PeerState {
        PeerState {
            name: "phone".parse().unwrap(),
            public_key: PublicKey::from_bytes([7; 32]),
            endpoint: endpoint.map(|endpoint| endpoint.parse().unwrap()),
            latest_handshake: handshake,
            received_bytes: 0,
            sent_bytes: 0,
        }
    }

    fn say(event: &PeerEvent) -> String {
        match event {
            PeerEvent::Connected { endpoint, .. } => format!("connected {}", endpoint.unwrap()),
            PeerEvent::Moved { from, to, .. } => format!("moved {from} {to}"),
            PeerEvent::Silent { connected, .. } => format!("silent after {}", connected.as_secs()),
        }
    }

    #[test]
    fn a_peer_connects_moves_falls_silent_and_comes_back() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let mut tracker = Tracker::default();
        let (home, away) = (Some("192.0.2.7:5000"), Some("198.51.100.7:6000"));
        // (seconds, of the latest handshake, where, what happened, session starts, connected seconds)
        for (second, handshake, endpoint, happened, starts, connected) in [
            (0, None, None, "", 0, 0),
            (2, None, home, "", 0, 0),
            (4, Some(3), home, "connected 192.0.2.7:5000", 1, 0),
            (6, Some(3), home, "", 1, 2),
            (8, Some(3), away, "moved 192.0.2.7:5000 198.51.100.7:6000", 1, 4),
            (124, Some(123), away, "", 1, 120),
            (302, Some(123), away, "", 1, 298),
            (306, Some(123), away, "silent after 300", 1, 300),
            (400, Some(123), home, "", 1, 300),
            (500, Some(500), home, "connected 192.0.2.7:5000", 2, 300),
            (510, Some(500), home, "", 2, 310),
        ] {
            let at = |seconds: u64| wall + Duration::from_secs(seconds);
            let now = start + Duration::from_secs(second);
            let events = tracker.observe(now, at(second), &[state(handshake.map(at), endpoint)]);
            let said: Vec<String> = events.iter().map(say).collect();
            assert_eq!(said.join(", "), happened, "at {second}");
            let totals = tracker.totals(&PublicKey::from_bytes([7; 32]));
            assert_eq!(
                (totals.session_starts, totals.connected_time.as_secs()),
                (starts, connected),
                "at {second}"
            );
        }
    }

    #[test]
    fn a_clock_that_is_set_neither_connects_nor_silences_anybody() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let mut tracker = Tracker::default();
        let minute = Duration::from_secs(60);
        let peer = [state(Some(wall), Some("192.0.2.7:5000"))];
        assert_eq!(tracker.observe(start, wall, &peer).len(), 1);
        assert_eq!(tracker.observe(start + minute, wall + minute * 10_000, &peer), []);
        assert_eq!(tracker.observe(start + minute * 2, SystemTime::UNIX_EPOCH, &peer), []);
        assert_eq!(tracker.connected(), 1);
    }

    #[test]
    fn an_old_handshake_is_no_connection_and_a_peer_that_goes_is_forgotten() {
        let (start, wall) = (Instant::now() + Duration::from_secs(1000), SystemTime::now());
        let mut tracker = Tracker::default();
        let old = wall - Duration::from_secs(200);
        assert_eq!(tracker.observe(start, wall, &[state(Some(old), None)]), []);
        tracker.observe(start, wall, &[]);
        assert_eq!(tracker.totals(&PublicKey::from_bytes([7; 32])), Totals::default());
        assert!(tracker.peers.is_empty());
    }
}
