//! How often an address may fail.
//!
//! A token of 256 bits is not found by trying, but one that somebody has chosen might be. Pure: `now` comes from the caller.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use launch::Moment;

use crate::rates::site;

/// Failures in [`WINDOW`] after which an address has to wait.
const MOST: u32 = 10;

/// How long failures count.
const WINDOW: Duration = Duration::from_secs(300);

/// Addresses that are remembered at once.
const ADDRESSES: usize = 10_000;

/// The failures of each address; of IPv6, of each /64, which is what one customer has.
#[derive(Debug, Default)]
pub(crate) struct Attempts(HashMap<IpAddr, Failures>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    since: Moment,
    count: u32,
}

impl Attempts {
    /// How long the address has to wait; `None` if it may try.
    pub(crate) fn wait(&self, address: Option<IpAddr>, now: Moment) -> Option<Duration> {
        let failures = self.0.get(&key(address)).filter(|failures| failures.count >= MOST)?;
        WINDOW
            .checked_sub(now.since(failures.since))
            .filter(|wait| !wait.is_zero())
    }

    /// Counts a failure.
    pub(crate) fn failed(&mut self, address: Option<IpAddr>, now: Moment) {
        let key = key(address);
        if self.0.len() >= ADDRESSES && !self.0.contains_key(&key) {
            self.make_room(now);
        }
        let failures = self.0.entry(key).or_insert(Failures { since: now, count: 0 });
        // A clock that was set back would otherwise keep an address waiting for longer than the window.
        if now < failures.since || now.since(failures.since) >= WINDOW {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
    }

    /// Forgets what no longer counts, and if that is not enough, the older half.
    fn make_room(&mut self, now: Moment) {
        self.0.retain(|_, failures| now.since(failures.since) < WINDOW);
        if self.0.len() >= ADDRESSES {
            let mut ages: Vec<_> = self.0.iter().map(|(key, failures)| (failures.since, *key)).collect();
            let (older, _, _) = ages.select_nth_unstable(ADDRESSES / 2);
            for (_, key) in older {
                self.0.remove(key);
            }
        }
    }
}

/// Whose failures count together. Those of an unknown address do.
fn key(address: Option<IpAddr>) -> IpAddr {
    address.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), site)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Moment {
        Moment::from_millis(1_795_000_000_000 + secs * 1000)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_failed_ten_times_waits_until_five_minutes_after_the_first() {
        let mut attempts = Attempts::default();
        let who = Some(address("192.0.2.7"));
        for second in 0..9 {
            attempts.failed(who, at(second));
            assert_eq!(attempts.wait(who, at(second)), None);
        }
        attempts.failed(who, at(9));
        attempts.failed(who, at(10));
        assert_eq!(attempts.wait(who, at(10)), Some(Duration::from_secs(290)));
        assert_eq!(attempts.wait(Some(address("192.0.2.8")), at(10)), None);
        attempts.failed(who, at(300));
        assert_eq!(attempts.wait(who, at(300)), None);
    }

    #[test]
    fn neighbours_in_one_network_of_ipv6_count_together() {
        let mut attempts = Attempts::default();
        for host in 0..10 {
            attempts.failed(Some(address(&format!("2001:db8:0:1::{host}"))), at(0));
        }
        // (address, waits?)
        for (text, waits) in [
            ("2001:db8:0:1:ffff::1", true),
            ("2001:db8:0:2::1", false),
            ("192.0.2.1", false),
        ] {
            assert_eq!(attempts.wait(Some(address(text)), at(0)).is_some(), waits, "{text}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_waiting_for_longer() {
        let mut attempts = Attempts::default();
        for _ in 0..20 {
            attempts.failed(None, at(10_000));
        }
        assert_eq!(attempts.wait(None, at(0)), Some(WINDOW));
        attempts.failed(None, at(0));
        assert_eq!(attempts.wait(None, at(1)), None);
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_room() {
        let mut attempts = Attempts::default();
        for number in 0..50_000_u32 {
            attempts.failed(Some(IpAddr::V4(number.into())), at(u64::from(number / 1000)));
            assert!(attempts.0.len() <= ADDRESSES);
        }
        // The latest are known.
        for number in 46_000..50_000_u32 {
            assert!(attempts.0.contains_key(&IpAddr::V4(number.into())), "{number}");
        }
    }
}
