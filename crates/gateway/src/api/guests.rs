//! Counts open connections, by whence they come.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Connections that one source has at once; more are closed before a byte is read.
pub(super) const MOST: usize = 16;

/// Whence somebody comes: an IPv4 address, or the /64 of an IPv6 address, which is one site's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(pub(super) IpAddr);

/// Who is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Guests(Arc<Mutex<HashMap<Source, usize>>>);

/// A connection that counts until it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    guests: Guests,
    source: Source,
}

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            address @ IpAddr::V4(_) => address,
        })
    }
}

impl Guests {
    /// Lets one more in, unless too many of that source are there.
    pub(super) fn enter(&self, source: Source) -> Option<Guest> {
        let mut counts = self.counts();
        let count = counts.entry(source).or_default();
        if *count >= MOST {
            return None;
        }
        *count += 1;
        Some(Guest {
            guests: self.clone(),
            source,
        })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Source, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.guests.counts();
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_share_and_gets_it_back() {
        let guests = Guests::default();
        let source = |text: &str| Source::of(text.parse().unwrap());
        let mut inside: Vec<_> = (0..MOST).map(|_| guests.enter(source("192.0.2.1")).unwrap()).collect();
        assert!(guests.enter(source("192.0.2.1")).is_none());
        assert!(guests.enter(source("::ffff:192.0.2.1")).is_none());
        assert!(guests.enter(source("192.0.2.2")).is_some());
        inside.pop();
        assert!(guests.enter(source("192.0.2.1")).is_some());
        drop(inside);
        assert!(guests.counts().is_empty());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    }
}
