//! Bounds the questions that wait for a resolver, in all and of each asker: one that asks much leaves room for others.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Questions that wait at once; more are refused, so that a flood of them costs bounded memory.
const MAX: usize = 1024;

/// Questions of one address that wait at once.
const MAX_EACH: usize = 128;

/// The questions that wait.
#[derive(Debug, Default)]
pub(super) struct Shares(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    all: usize,
    each: HashMap<IpAddr, usize>,
}

/// Room for one question, until it is dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    shares: &'a Shares,
    asker: IpAddr,
}

impl Shares {
    /// Room for a question of this address; `None` if there is none.
    ///
    /// Questions from a loopback address count in all only: on the netstack plane those of every peer come from there.
    pub(super) fn take(&self, asker: IpAddr) -> Option<Share<'_>> {
        let mut waiting = self.lock();
        if waiting.all >= MAX {
            return None;
        }
        if !asker.is_loopback() {
            let own = waiting.each.entry(asker).or_default();
            if *own >= MAX_EACH {
                return None;
            }
            *own += 1;
        }
        waiting.all += 1;
        Some(Share { shares: self, asker })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut waiting = self.shares.lock();
        waiting.all -= 1;
        if let Some(own) = waiting.each.get_mut(&self.asker) {
            *own -= 1;
            if *own == 0 {
                waiting.each.remove(&self.asker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_much_leaves_room_for_others() {
        let shares = Shares::default();
        let [greedy, modest, loopback] = ["10.13.13.2", "fd00::3", "127.0.0.1"].map(|text| text.parse().unwrap());
        let mut taken: Vec<_> = std::iter::from_fn(|| shares.take(greedy)).collect();
        assert_eq!(taken.len(), MAX_EACH);
        assert!(shares.take(modest).is_some());
        taken.pop();
        assert!(shares.take(greedy).is_some(), "room that was given back is there again");
        taken.extend(std::iter::from_fn(|| shares.take(loopback)));
        assert_eq!(taken.len(), MAX);
        assert!(shares.take(modest).is_none());
        drop(taken);
        assert!(shares.lock().each.is_empty() && shares.lock().all == 0);
    }
}
