//! UDP datagrams as fast as one thread sends them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Threads, sys};
use crate::Host;
use crate::namespace::widen_buffers;

/// A flood under way. Dropping it ends it.
#[derive(Debug)]
pub struct Flood {
    counts: Arc<Counts>,
    _threads: Threads,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Flood {
    /// Sends datagrams of `payload` bytes each from `client` to `server`, at `target`: many a call, no offload asked for.
    ///
    /// # Errors
    ///
    /// If a socket cannot be had.
    pub fn start(client: &Host, server: &Host, target: SocketAddr, payload: usize) -> io::Result<Self> {
        let receiver = server.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, target.port())))?;
        let sender = client.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
        sender.connect(target)?;
        widen_buffers(&receiver);
        receiver.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (counts, mut threads) = (Arc::new(Counts::default()), Threads::default());
        let (counted, stopping) = (Arc::clone(&counts), threads.stopping());
        threads.add(std::thread::spawn(move || {
            let mut batch = sys::Batch::new(payload);
            while !stopping() {
                let received = batch.receive(&receiver).unwrap_or(0);
                counted.received.fetch_add(received as u64, Ordering::Relaxed);
            }
        }));
        let (counted, stopping) = (Arc::clone(&counts), threads.stopping());
        threads.add(std::thread::spawn(move || {
            let mut batch = sys::Batch::new(payload);
            while !stopping() {
                // A queue that is full is the load's aim: what it refuses was sent in vain and is not counted.
                let sent = batch.send(&sender).unwrap_or(0);
                counted.sent.fetch_add(sent as u64, Ordering::Relaxed);
            }
        }));
        Ok(Self {
            counts,
            _threads: threads,
        })
    }

    /// How many datagrams the sender's kernel took, and how many the receiver got.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.counts.sent), load(&self.counts.received))
    }
}
