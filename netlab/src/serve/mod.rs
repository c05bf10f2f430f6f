//! Servers that run inside a host, each on a thread of the test process.
//!
//! All of them listen on every address of the host, of both families; [`oidc`], [`prism`] and [`azurite`] are
//! programs and have one address each, as [`azure`] has.

pub mod azure;
pub mod azurite;
mod dns;
mod http;
pub mod oidc;
pub mod pia;
pub mod prism;
mod query;
mod rsa;
mod site;
mod tcp;
mod udp;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

pub use dns::dns;
pub use http::http;
pub use rsa::{Rsa, rsa};
pub use site::{Page, site};
pub use tcp::{tcp, tcp_discard, tcp_echo};
pub use udp::udp_echo;

/// A running server. Dropping it ends it; connections that are open then end by themselves.
#[derive(Debug)]
pub struct Server {
    port: u16,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What a server's threads share with the test.
#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    served: AtomicUsize,
    open: AtomicUsize,
}

impl Server {
    /// The port that it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// How many connections it accepted, or datagrams it answered.
    #[must_use]
    pub fn served(&self) -> usize {
        self.shared.served.load(Ordering::Acquire)
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Acquire)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
