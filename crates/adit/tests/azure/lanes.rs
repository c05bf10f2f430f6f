//! Cases side by side: most of their time they wait.

use std::sync::{Mutex, PoisonError};

/// How many at once.
const LANES: usize = 8;

/// Does this for every case, several at a time; each has its own machines.
pub(crate) fn each<T: Send>(cases: impl IntoIterator<Item = T>, work: impl Fn(T) + Sync) {
    let cases = Mutex::new(cases.into_iter().collect::<Vec<_>>().into_iter());
    // A case is taken before it is worked on: nobody waits for it meanwhile.
    let next = || cases.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        let lane = || {
            while let Some(case) = next() {
                work(case);
            }
        };
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        for lane in lanes {
            if let Err(panic) = lane.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}
