//! Keeps handshakes from eating the processor: *WireGuard whitepaper 5.3, "Denial of Service Mitigation & Cookies"*.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::time::Time;

/// Handshake messages a second that are no load. One costs about 0.15 ms, so that this is a seventh of one core;
/// 10,000 peers that renew their sessions every two minutes bring 83 a second.
const MESSAGES_PER_SECOND: u32 = 1000;
/// Messages beyond that rate that may wait. The kernel's own queue says "load" at 512.
const QUEUE_UNDER_LOAD: u64 = 512;
/// How long load lasts after the queue was last that long.
const LOAD_LASTS: Duration = Duration::from_secs(1);

/// Judges whether there are so many handshake messages that senders must prove where they are.
///
/// They are handled as they arrive, so that no real queue tells. This is the queue that there would be if they were
/// handled at a constant rate: a number that each message raises by one and time lowers.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// When the queue that there would be is empty.
    drained: Time,
    until: Option<Time>,
}

impl Load {
    /// Counts a message whose mac1 is right, and says whether there is load.
    pub(crate) fn add(&mut self, now: Time) -> bool {
        let cost = Duration::from_secs(1) / MESSAGES_PER_SECOND;
        let limit = now + cost * u32::try_from(QUEUE_UNDER_LOAD).unwrap_or(u32::MAX);
        self.drained = (self.drained.max(now) + cost).min(limit);
        if self.drained == limit {
            self.until = Some(now + LOAD_LASTS);
        }
        self.until.is_some_and(|until| now < until)
    }
}

/// Handshake messages a second that one source may send under load.
const SOURCE_PER_SECOND: u32 = 20;
/// How many of them at once.
const SOURCE_BURST: u32 = 5;
/// Sources that are remembered. When there are more, new ones wait until old ones are forgotten.
const MAX_SOURCES: usize = 16_384;
/// How often sources that have been quiet are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// A bucket of tokens for each IPv4 address and each IPv6 network of 64 bits.
///
/// Depends on nothing but the time and the messages, so that it recovers whether or not there are peers.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    /// For each source, when its bucket is full again.
    sources: HashMap<Source, Time>,
    forgot: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl From<SocketAddr> for Source {
    fn from(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl Limiter {
    /// Takes a token of the source's; false if it has none.
    pub(crate) fn allow(&mut self, now: Time, source: SocketAddr) -> bool {
        if now >= self.forgot + FORGET_EVERY {
            self.sources.retain(|_, full| *full > now);
            self.sources.shrink_to(MAX_SOURCES / 16);
            self.forgot = now;
        }
        let cost = Duration::from_secs(1) / SOURCE_PER_SECOND;
        let source = Source::from(source);
        let full = match self.sources.get(&source) {
            Some(&full) => full.max(now) + cost,
            None if self.sources.len() >= MAX_SOURCES => return false,
            None => now + cost,
        };
        let allowed = full <= now + cost * SOURCE_BURST;
        if allowed {
            self.sources.insert(source, full);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(1_000_000 + millis)
    }

    #[test]
    fn a_source_sends_five_at_once_and_twenty_a_second() {
        let mut limiter = Limiter::default();
        let source = "192.0.2.1:1".parse().unwrap();
        for (millis, allowed) in [
            (0, true),
            (0, true),
            (0, true),
            (0, true),
            (0, true),
            (0, false),
            (49, false),
            (50, true),
            (50, false),
            (100, true),
            (100, false),
            (400, true),
            (400, true),
            (400, true),
            (400, true),
            (400, true),
            (400, false),
        ] {
            assert_eq!(limiter.allow(at(millis), source), allowed, "after {millis} ms");
        }
    }

    #[test]
    fn sources_are_ipv4_addresses_and_ipv6_networks_of_64_bits() {
        for (first, second, same) in [
            ("192.0.2.1:1", "192.0.2.1:2", true),
            ("192.0.2.1:1", "192.0.2.2:1", false),
            ("[2001:db8::1]:1", "[2001:db8::ffff:1]:1", true),
            ("[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false),
            ("192.0.2.1:1", "[::ffff:192.0.2.1]:1", true),
        ] {
            let mut limiter = Limiter::default();
            for _ in 0..SOURCE_BURST {
                assert!(limiter.allow(at(0), first.parse().unwrap()));
            }
            assert_eq!(
                !limiter.allow(at(0), second.parse().unwrap()),
                same,
                "{first} and {second}"
            );
        }
    }

    #[test]
    fn the_table_is_bounded_and_empties_by_itself() {
        let mut limiter = Limiter::default();
        let source = |i: u32| SocketAddr::from((std::net::Ipv4Addr::from_bits(i), 1));
        let allowed = (0..40_000).filter(|&i| limiter.allow(at(0), source(i))).count();
        assert_eq!((allowed, limiter.sources.len()), (MAX_SOURCES, MAX_SOURCES));
        assert!(!limiter.allow(at(900), source(50_000)), "the table is full");
        assert!(limiter.allow(at(1100), source(50_000)), "the table was emptied");
        assert_eq!(limiter.sources.len(), 1);
    }

    #[test]
    fn load_begins_with_a_flood_and_ends_a_second_after_it() {
        let mut load = Load::default();
        assert!((0..5000_u64).all(|i| !load.add(at(i))), "1,000 a second are no load");
        assert!((0..500).all(|_| !load.add(at(6000))), "nor are 500 at once");
        assert!((0..50).any(|_| load.add(at(6000))), "but 550 are");
        assert!(load.add(at(6100)));
        assert!(!load.add(at(8000)), "a second later it is over");
    }
}
