//! Refusals, of which anybody can cause as many as he likes: which become a row, and which are only counted.
//!
//! Pure: `now` comes from the caller. A window begins with the first refusal. In it, the first few of somebody from an address
//! become a row each, as long as there are not too many in all; the others are counted, and each count becomes one row when
//! the window is over. So what an attacker can add in a window is bounded, from however many addresses. Each sort of refusal
//! has rows of its own, so that none hides another.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use launch::Moment;

use super::Entry;
use crate::rates::site;

/// How long a window lasts.
pub(super) const WINDOW: Duration = Duration::from_secs(300);

/// Rows of one kind in a window.
const EACH: u32 = 10;

/// Rows of one class in a window.
const IN_ALL: u32 = 200;

/// What is added to the last row of a kind.
const AND_MORE: &str = "; more from this address are counted, and become one row within five minutes";

/// The refusals of a window.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// The number of the window, and of the last one until another begins.
    window: u64,
    since: Option<Moment>,
    kinds: BTreeMap<Kind, u32>,
    classes: BTreeMap<Class, Room>,
}

/// What shares the rows of a window: one sort of refusal, of people who are signed in, or of nobody known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    what: &'static str,
    is_signed_in: bool,
}

/// What became of a class.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    /// Rows.
    written: u32,
    /// Those for which there was no room.
    rest: u64,
}

/// What is counted together. Of IPv6 a /64 is one address: one customer has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    who: String,
    what: &'static str,
    address: Option<IpAddr>,
}

/// What becomes of a refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// What is to be written.
    pub(super) rows: Vec<Entry>,
    /// The number of the window that has begun with it.
    pub(super) begins: Option<u64>,
}

impl Refusals {
    /// Takes a refusal.
    pub(super) fn take(&mut self, mut entry: Entry, now: Moment) -> Taken {
        let mut rows = self.over(now);
        let mut begins = None;
        if self.since.is_none() {
            self.since = Some(now);
            self.window += 1;
            begins = Some(self.window);
        }
        let class = Class {
            what: entry.what,
            is_signed_in: !entry.who.is_empty(),
        };
        let room = self.classes.entry(class).or_default();
        let kind = Kind {
            who: entry.who.clone(),
            what: entry.what,
            address: entry.address.map(site),
        };
        let is_known = self.kinds.contains_key(&kind);
        if !is_known && room.written >= IN_ALL {
            room.rest += 1;
            return Taken { rows, begins };
        }
        let count = self.kinds.entry(kind).or_default();
        *count = count.saturating_add(1);
        if *count <= EACH && room.written < IN_ALL {
            room.written += 1;
            if *count == EACH {
                entry.detail.push_str(AND_MORE);
            }
            rows.push(entry);
        } else if *count <= EACH {
            // Its own row about the count would tell of those that were written, too.
            *count -= 1;
            room.rest += 1;
        }
        Taken { rows, begins }
    }

    /// The counts of a window that is over; none while one goes on.
    pub(super) fn over(&mut self, now: Moment) -> Vec<Entry> {
        match self.since {
            // A clock that was set back ends a window, too.
            Some(since) if now < since || now.since(since) >= WINDOW => self.end(),
            Some(_) | None => Vec::new(),
        }
    }

    /// Ends this window, whatever time it is, and gives its counts; none if it is over already.
    pub(super) fn end_window(&mut self, window: u64) -> Vec<Entry> {
        if self.window == window { self.end() } else { Vec::new() }
    }

    /// Ends the window, whatever time it is, and gives its counts.
    pub(super) fn end(&mut self) -> Vec<Entry> {
        let next = Self {
            window: self.window,
            ..Self::default()
        };
        let Self { kinds, classes, .. } = std::mem::replace(self, next);
        let counted = kinds
            .into_iter()
            .filter(|(_, count)| *count > EACH)
            .map(|(kind, count)| {
                let more = count - EACH;
                Entry {
                    who: kind.who,
                    what: kind.what,
                    outcome: "refused",
                    detail: format!("{more} more of these from this address in five minutes"),
                    address: kind.address,
                    ..Entry::default()
                }
            });
        let beyond = classes.into_iter().filter(|(_, room)| room.rest > 0);
        let beyond = beyond.map(|(class, Room { rest, .. })| {
            let whose = if class.is_signed_in {
                "people who are signed in"
            } else {
                "nobody known"
            };
            Entry {
                what: class.what,
                outcome: "refused",
                detail: format!("{rest} more of {whose} in five minutes, beyond those that have rows"),
                ..Entry::default()
            }
        });
        counted.chain(beyond).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Moment {
        Moment::from_millis(1_795_000_000_000 + secs * 1_000)
    }

    fn refusal(who: &str, address: &str) -> Entry {
        Entry {
            who: who.to_owned(),
            what: "request.refused",
            outcome: "refused",
            address: address.parse().ok(),
            ..Entry::default()
        }
    }

    #[test]
    fn the_first_of_a_kind_have_rows_and_the_others_a_count() {
        let mut refusals = Refusals::default();
        let first = refusals.take(refusal("anna", "192.0.2.1"), at(0));
        assert_eq!((first.rows.len(), first.begins), (1, Some(1)));
        let rows: Vec<_> = (1..25)
            .flat_map(|second| refusals.take(refusal("anna", "192.0.2.1"), at(second)).rows)
            .collect();
        assert_eq!(rows.len(), 9);
        assert!(rows[8].detail.contains("are counted") && !rows[7].detail.contains("are counted"));
        // Somebody else, and another address, are told apart.
        for other in [refusal("bob", "192.0.2.1"), refusal("anna", "192.0.2.2")] {
            let taken = refusals.take(other, at(30));
            assert_eq!((taken.rows.len(), taken.begins), (1, None));
        }
        assert_eq!(refusals.over(at(299)), []);
        let counts = refusals.over(at(300));
        assert_eq!(counts.len(), 1);
        assert!(counts[0].detail.starts_with("15 more"), "{counts:?}");
        assert_eq!((counts[0].who.as_str(), counts[0].outcome), ("anna", "refused"));
        // Another window.
        let taken = refusals.take(refusal("anna", "192.0.2.1"), at(301));
        assert_eq!((taken.rows.len(), taken.begins), (1, Some(2)));
    }

    #[test]
    fn a_timer_ends_its_own_window_and_no_later_one() {
        let mut refusals = Refusals::default();
        let refuse = |refusals: &mut Refusals| {
            let taken: Vec<_> = (0..12)
                .map(|_| refusals.take(refusal("anna", "192.0.2.1"), at(0)))
                .collect();
            taken[0].begins
        };
        assert_eq!(refuse(&mut refusals), Some(1));
        // Ended before its time, as when the hub stops or the clock is set back.
        assert_eq!(refusals.end().len(), 1);
        assert_eq!(refuse(&mut refusals), Some(2));
        assert_eq!(refusals.end_window(1), []);
        assert_eq!(refusals.end_window(2).len(), 1);
        assert_eq!(refusals.end_window(2), []);
    }

    #[test]
    fn a_flood_from_everywhere_adds_so_many_rows_and_hides_nobody_who_is_signed_in() {
        let mut refusals = Refusals::default();
        let mut written = 0;
        for number in 0..50_000_u32 {
            let flood = Entry {
                address: Some(IpAddr::V4(number.into())),
                ..refusal("", "")
            };
            written += refusals.take(flood, at(1)).rows.len();
            assert!(refusals.kinds.len() <= 2 * IN_ALL as usize);
        }
        assert_eq!(written, IN_ALL as usize);
        assert_eq!(refusals.take(refusal("anna", "192.0.2.1"), at(2)).rows.len(), 1);
        // Nor what is refused for another reason.
        let guess = Entry {
            what: "session.refused",
            ..refusal("", "192.0.2.1")
        };
        assert_eq!(refusals.take(guess, at(3)).rows.len(), 1);
        let counts = refusals.end();
        assert_eq!(counts.len(), 1);
        assert_eq!(counts[0].what, "request.refused");
        assert!(counts[0].detail.starts_with("49800 more of nobody known"), "{counts:?}");
    }

    #[test]
    fn neighbours_in_one_network_of_ipv6_count_together() {
        let mut refusals = Refusals::default();
        let rows: usize = (0..20)
            .map(|host| {
                let refusal = refusal("", &format!("2001:db8:0:1::{host}"));
                refusals.take(refusal, at(0)).rows.len()
            })
            .sum();
        assert_eq!(rows, EACH as usize);
        // A clock that is set back ends the window.
        assert_eq!(refusals.take(refusal("", "2001:db8:0:1::1"), at(0)).rows.len(), 0);
        let before = Moment::from_millis(1_000);
        assert_eq!(refusals.take(refusal("", "2001:db8:0:1::1"), before).rows.len(), 2);
    }
}
