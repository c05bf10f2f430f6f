//! Sign-ins that have begun, and wait for the browser to come back from the provider.
//!
//! Pure: `now` comes from the caller. What the browser has to bring is known here by fingerprint only: the `state`, which went
//! to the provider and back, and the cookie, which did not.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use launch::Moment;

use super::super::{
    next::Next,
    secret::{Fingerprint, Purpose, Secret, fingerprint},
};

/// How long somebody may take at the provider.
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);

/// Sign-ins that wait at once, in all and from one address.
const MOST: usize = 10_000;
const MOST_OF_ADDRESS: usize = 50;

/// A sign-in that has begun.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    /// The cookie of the browser in which it has begun.
    pub(crate) browser: Fingerprint,
    /// What the token has to hold.
    pub(crate) nonce: Secret,
    /// What shows the provider that the code was meant for us (RFC 7636).
    pub(crate) verifier: Secret,
    /// Where the browser goes afterwards.
    pub(crate) next: Next,
    /// From where it was begun; of IPv6 the /64.
    pub(crate) address: Option<IpAddr>,
    /// When.
    pub(crate) at: Moment,
}

/// The browser brings nothing that has begun here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBegun {
    /// There is no such sign-in, or there is no longer.
    #[error("this sign-in was not begun here, is over already, or took longer than {} minutes", LIFETIME.as_secs() / 60)]
    Unknown,
    /// It has begun in another browser.
    #[error("this sign-in was begun in another browser")]
    OtherBrowser,
}

/// What waits, by the fingerprint of its `state`.
#[derive(Debug, Default)]
pub(crate) struct Pending(BTreeMap<Fingerprint, Begun>);

impl Pending {
    /// Keeps a sign-in until the browser comes back with `state`.
    pub(crate) fn keep(&mut self, state: &Secret, begun: Begun) {
        self.0.retain(|_, other| is_young(other, begun.at));
        let of_address = self.0.values().filter(|other| other.address == begun.address).count();
        if of_address >= MOST_OF_ADDRESS {
            self.remove_oldest(|other| other.address == begun.address);
        } else if self.0.len() >= MOST {
            self.remove_oldest(|_| true);
        }
        self.0.insert(state.fingerprint(Purpose::State), begun);
    }

    /// Whether something that has begun in the browser with this cookie still waits.
    pub(crate) fn knows(&self, browser: &Secret, now: Moment) -> bool {
        let browser = browser.fingerprint(Purpose::Begun);
        self.0
            .values()
            .any(|begun| begun.browser == browser && is_young(begun, now))
    }

    /// Takes what has begun with this `state`. It can be taken once, whatever comes of it.
    pub(crate) fn take(&mut self, state: &str, cookies: &[Secret], now: Moment) -> Result<Begun, NotBegun> {
        let begun = self
            .0
            .remove(&fingerprint(Purpose::State, state))
            .ok_or(NotBegun::Unknown)?;
        if !is_young(&begun, now) {
            return Err(NotBegun::Unknown);
        }
        if !cookies
            .iter()
            .any(|cookie| cookie.fingerprint(Purpose::Begun) == begun.browser)
        {
            return Err(NotBegun::OtherBrowser);
        }
        Ok(begun)
    }

    fn remove_oldest(&mut self, of: impl Fn(&Begun) -> bool) {
        let oldest = self
            .0
            .iter()
            .filter(|(_, begun)| of(begun))
            .min_by_key(|(_, begun)| begun.at)
            .map(|(key, _)| *key);
        if let Some(oldest) = oldest {
            self.0.remove(&oldest);
        }
    }
}

fn is_young(begun: &Begun, now: Moment) -> bool {
    now.since(begun.at) < LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn at(secs: u64) -> Moment {
        Moment::from_millis(1_795_000_000_000 + secs * 1000)
    }

    fn begun(browser: &str, address: &str, secs: u64) -> Begun {
        Begun {
            browser: secret(browser).fingerprint(Purpose::Begun),
            nonce: secret("nonce"),
            verifier: secret("verifier"),
            next: Next::default(),
            address: Some(address.parse().unwrap()),
            at: at(secs),
        }
    }

    #[test]
    fn a_sign_in_is_finished_once_in_time_and_where_it_has_begun() {
        // (state, cookies, seconds later, refused for)
        for (state, cookies, secs, expected) in [
            ("state", &["mine"][..], 0, None),
            ("state", &["mine"], 599, None),
            ("state", &["old", "mine"], 1, None),
            ("state", &["mine"], 600, Some(NotBegun::Unknown)),
            ("stat", &["mine"], 1, Some(NotBegun::Unknown)),
            ("", &["mine"], 1, Some(NotBegun::Unknown)),
            ("mine", &["state"], 1, Some(NotBegun::Unknown)),
            ("state", &[], 1, Some(NotBegun::OtherBrowser)),
            ("state", &["theirs"], 1, Some(NotBegun::OtherBrowser)),
            ("state", &["state"], 1, Some(NotBegun::OtherBrowser)),
        ] {
            let mut pending = Pending::default();
            pending.keep(&secret("state"), begun("mine", "192.0.2.1", 0));
            let cookies: Vec<_> = cookies.iter().map(|text| secret(text)).collect();
            assert_eq!(
                pending.take(state, &cookies, at(secs)).err(),
                expected,
                "{state} {secs}"
            );
            if state == "state" {
                let again = pending.take(state, &[secret("mine")], at(secs));
                assert_eq!(again.err(), Some(NotBegun::Unknown), "a second time");
            }
        }
    }

    #[test]
    fn several_tabs_of_one_browser_sign_in_side_by_side() {
        let mut pending = Pending::default();
        assert!(!pending.knows(&secret("mine"), at(0)));
        pending.keep(&secret("one"), begun("mine", "192.0.2.1", 0));
        assert!(pending.knows(&secret("mine"), at(1)));
        assert!(!pending.knows(&secret("theirs"), at(1)));
        assert!(!pending.knows(&secret("mine"), at(600)));
        pending.keep(&secret("two"), begun("mine", "192.0.2.1", 1));
        assert!(pending.take("two", &[secret("mine")], at(2)).is_ok());
        assert!(pending.take("one", &[secret("mine")], at(3)).is_ok());
    }

    #[test]
    fn whoever_begins_without_end_pushes_only_his_own_out() {
        let mut pending = Pending::default();
        pending.keep(&secret("mine"), begun("mine", "192.0.2.1", 0));
        for number in 0..200 {
            pending.keep(&secret(&format!("{number}")), begun("theirs", "192.0.2.2", 1));
        }
        assert_eq!(pending.0.len(), 1 + MOST_OF_ADDRESS);
        assert!(pending.take("mine", &[secret("mine")], at(2)).is_ok());
    }
}
