//! Counts for whoever watches the launcher.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Upper bounds of the times to ready that are told apart, in seconds.
pub const READY_BOUNDS: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 180.0, 600.0];

/// What has happened since the launcher started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meters {
    /// Times from request to ready, by place.
    pub ready: BTreeMap<String, Histogram>,
    /// Leases that failed or were lost, by place and code.
    pub failures: BTreeMap<(String, String), u64>,
    /// Looks at a place for what is left, by place.
    pub sweeps: BTreeMap<String, u64>,
    /// Looks that did not succeed, by place.
    pub failed_sweeps: BTreeMap<String, u64>,
    /// Gateways found that no lease knows, by place.
    pub orphans: BTreeMap<String, u64>,
    /// Those of them that were removed, by place.
    pub removed_orphans: BTreeMap<String, u64>,
    /// Writes to the store that failed.
    pub store_failures: u64,
    /// What passed through gateways, those of leases that are over included, by place.
    pub traffic: BTreeMap<String, Traffic>,
}

/// What passed through gateways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that they received from their clients.
    pub received_bytes: u64,
    /// Bytes that they sent.
    pub sent_bytes: u64,
    /// How long clients were connected, all of them together.
    pub connected: Duration,
}

impl Traffic {
    /// The one and the other together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            received_bytes: self.received_bytes.saturating_add(other.received_bytes),
            sent_bytes: self.sent_bytes.saturating_add(other.sent_bytes),
            connected: self.connected.saturating_add(other.connected),
        }
    }
}

/// Times, counted by how long they were.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// How many were at most as long as each of [`READY_BOUNDS`].
    pub counts: [u64; READY_BOUNDS.len()],
    /// How many there were.
    pub count: u64,
    /// How long they were together, in seconds.
    pub sum: f64,
}

impl Histogram {
    fn add(&mut self, time: Duration) {
        let secs = time.as_secs_f64();
        for (count, bound) in self.counts.iter_mut().zip(READY_BOUNDS) {
            *count += u64::from(secs <= bound);
        }
        self.count += 1;
        self.sum += secs;
    }
}

/// The meters as they run.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<Meters>);

impl Running {
    pub(super) fn read(&self) -> Meters {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Meters)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn ready(&self, place: &str, after: Duration) {
        self.count(|meters| meters.ready.entry(place.to_owned()).or_default().add(after));
    }
}
