//! Traffic that is counted while it flows, for measurements.
//!
//! Each load runs on threads of its own, inside the hosts, until it is dropped. Its counters only grow: what counts is
//! the difference between two looks, so that a load can be under way before it is measured.

mod bulk;
mod connections;
mod exchange;
mod flood;
mod ping;
pub(crate) mod sys;

pub use bulk::{Bulk, Direction};
pub use connections::{Connections, hold, keep, reuse_ports};
pub use exchange::Exchange;
pub use flood::Flood;
pub use ping::{Pings, ping};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The threads of one load, and the word that ends them.
#[derive(Debug, Default)]
struct Threads {
    stopping: Arc<AtomicBool>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// A look at the word that ends them.
    fn stopping(&self) -> impl Fn() -> bool + Send + 'static {
        let stopping = Arc::clone(&self.stopping);
        move || stopping.load(Ordering::Acquire)
    }

    fn add(&mut self, handle: JoinHandle<()>) {
        self.handles.push(handle);
    }

    /// Says the word.
    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
        for handle in self.handles.drain(..) {
            // A thread that panicked has said so; its load stands still, which the measurement shows.
            let _ = handle.join();
        }
    }
}
