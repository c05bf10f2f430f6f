//! A lease that is driven, as others see it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};

use crate::{Lease, Moment, lease::OBSERVE};

/// Samples of a lease's traffic: half an hour of them.
const MAX_SAMPLES: usize = 360;

/// The traffic of a lease at a moment, since its gateway started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: Moment,
    /// Bytes that the gateway received from all its peers.
    pub received_bytes: u64,
    /// Bytes that the gateway sent to all its peers.
    pub sent_bytes: u64,
}

/// What its driver shows of a lease.
#[derive(Clone, Debug)]
pub(super) struct Living {
    view: Arc<RwLock<Lease>>,
    samples: Arc<Mutex<VecDeque<Sample>>>,
}

impl Living {
    pub(super) fn new(lease: Lease) -> Self {
        Self {
            view: Arc::new(RwLock::new(lease)),
            samples: Arc::default(),
        }
    }

    pub(super) fn view(&self) -> Lease {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows this from now on; gives what was shown before.
    pub(super) fn show(&self, lease: Lease) -> Lease {
        std::mem::replace(&mut *self.view.write().unwrap_or_else(PoisonError::into_inner), lease)
    }

    pub(super) fn sample(&self, lease: &Lease, now: Moment) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        // Keen questions come more often than a plot wants them.
        if samples
            .back()
            .is_some_and(|last| now.since(last.at) < OBSERVE.mul_f32(0.9))
        {
            return;
        }
        if samples.len() == MAX_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(Sample {
            at: now,
            received_bytes: lease.received_bytes(),
            sent_bytes: lease.sent_bytes(),
        });
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .copied()
            .collect()
    }
}
