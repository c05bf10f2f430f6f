//! Bounds what is open at once, in all and of each asker: one that asks much leaves room for others.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What is open, and how much may be.
#[derive(Debug)]
pub(super) struct Shares {
    max: usize,
    max_each: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    each: HashMap<IpAddr, usize>,
}

/// Room for one question or connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    asker: IpAddr,
}

impl Shares {
    /// Room for so many in all, and for so many of one address.
    pub(super) fn new(max: usize, max_each: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_each,
            open: Mutex::default(),
        })
    }

    /// Room for one more of this address; `None` if there is none.
    ///
    /// What comes from 127.0.0.1 or ::1 counts in all only: the netstack plane gives each peer an address of the
    /// loopback of its own, but for a service on IPv6 or where the system does not let it, and those are then of all.
    pub(super) fn take(self: &Arc<Self>, asker: IpAddr) -> Option<Share> {
        let mut open = self.lock();
        if open.all >= self.max {
            return None;
        }
        if asker != Ipv4Addr::LOCALHOST && asker != Ipv6Addr::LOCALHOST {
            let own = open.each.entry(asker).or_default();
            if *own >= self.max_each {
                return None;
            }
            *own += 1;
        }
        open.all += 1;
        let shares = Arc::clone(self);
        Some(Share { shares, asker })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = self.shares.lock();
        open.all -= 1;
        if let Some(own) = open.each.get_mut(&self.asker) {
            *own -= 1;
            if *own == 0 {
                open.each.remove(&self.asker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_much_leaves_room_for_others() {
        let shares = Shares::new(40, 8);
        let [greedy, other, modest, loopback] =
            ["10.13.13.2", "127.128.0.1", "fd00::3", "127.0.0.1"].map(|text| text.parse().unwrap());
        let mut taken: Vec<_> = std::iter::from_fn(|| shares.take(greedy)).collect();
        assert_eq!(taken.len(), 8);
        taken.extend(std::iter::from_fn(|| shares.take(other)));
        assert_eq!(taken.len(), 16);
        assert!(shares.take(modest).is_some());
        taken.pop();
        assert!(shares.take(other).is_some(), "room that was given back is there again");
        taken.extend(std::iter::from_fn(|| shares.take(loopback)));
        assert_eq!(taken.len(), 40);
        assert!(shares.take(modest).is_none());
        drop(taken);
        assert!(shares.lock().each.is_empty());
        assert_eq!(shares.lock().all, 0);
    }
}
