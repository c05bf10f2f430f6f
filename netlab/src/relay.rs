//! A path that delays, loses, doubles and reorders UDP datagrams.
//!
//! ```text
//!   client ── 192.0.2.1:51820 [ relay ] ── a socket for each client ── gateway
//! ```
//!
//! It stands in for netem, which many machines' kernels lack.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Host;
use crate::namespace::{wait_any_readable, widen_buffers};

/// How bad the path is, the same both ways. Shares are of a million.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path {
    /// How long each datagram travels.
    pub delay: Duration,
    /// How much longer at most, different for each, so that they arrive in another order.
    pub jitter: Duration,
    /// How many of a million are lost.
    pub loss: u32,
    /// How many of a million arrive twice.
    pub doubled: u32,
    /// Where the random numbers start.
    pub seed: u64,
}

/// A running relay. Dropping it ends it.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stopping: AtomicBool,
    passed: AtomicU64,
    lost: AtomicU64,
    path: Mutex<Path>,
}

impl Relay {
    /// Passes datagrams between whoever sends to `listen` on `host`, and `target`.
    ///
    /// # Panics
    ///
    /// If the address is taken.
    #[track_caller]
    #[must_use]
    pub fn start(host: &Host, listen: SocketAddr, target: SocketAddr, path: Path) -> Self {
        let front = host.run(|| UdpSocket::bind(listen)).expect("bind the relay");
        let address = front.local_addr().expect("a socket has an address");
        let shared = Arc::new(Shared {
            stopping: AtomicBool::new(false),
            passed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            path: Mutex::new(path),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            host.spawn(move || Traffic::new(front, target, path.seed).carry(&shared))
        };
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how bad the path is.
    ///
    /// # Panics
    ///
    /// If the relay's thread has panicked.
    pub fn set_path(&self, path: Path) {
        *self.shared.path.lock().expect("the relay runs") = path;
    }

    /// How many datagrams it passed on and how many it lost.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (
            self.shared.passed.load(Ordering::Acquire),
            self.shared.lost.load(Ordering::Acquire),
        )
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is on its way.
struct Traffic {
    front: UdpSocket,
    target: SocketAddr,
    /// One socket for each client, as a NAT has one port for each.
    backs: HashMap<SocketAddr, Arc<UdpSocket>>,
    /// By arrival, then by number, so that datagrams of equal delay keep their order.
    travelling: BinaryHeap<Reverse<(Instant, u64, Datagram)>>,
    number: u64,
    random: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Datagram {
    client: SocketAddr,
    to_client: bool,
    bytes: Vec<u8>,
}

impl Traffic {
    fn new(front: UdpSocket, target: SocketAddr, seed: u64) -> Self {
        front.set_nonblocking(true).expect("make a socket non-blocking");
        widen_buffers(&front);
        let random = seed.wrapping_mul(2) | 1;
        Self {
            front,
            target,
            backs: HashMap::new(),
            travelling: BinaryHeap::new(),
            number: 0,
            random,
        }
    }

    fn carry(mut self, shared: &Shared) {
        let mut buffer = vec![0; 65536];
        while !shared.stopping.load(Ordering::Acquire) {
            let path = *shared.path.lock().expect("the test sets a path");
            self.take(&mut buffer, path, shared);
            self.deliver(shared);
            let now = Instant::now();
            let due = self
                .travelling
                .peek()
                .map(|Reverse((due, ..))| due.saturating_duration_since(now));
            let pause = due.unwrap_or(Duration::MAX).min(Duration::from_millis(20));
            let mut sockets = vec![self.front.as_raw_fd()];
            sockets.extend(self.backs.values().map(|back| back.as_raw_fd()));
            wait_any_readable(&sockets, pause);
        }
    }

    fn take(&mut self, buffer: &mut [u8], path: Path, shared: &Shared) {
        while let Ok((count, client)) = self.front.recv_from(buffer) {
            if !self.backs.contains_key(&client) {
                self.backs.insert(client, Arc::new(self.back()));
            }
            self.depart(
                Datagram {
                    client,
                    to_client: false,
                    bytes: buffer[..count].to_vec(),
                },
                path,
                shared,
            );
        }
        let backs: Vec<_> = self
            .backs
            .iter()
            .map(|(client, back)| (*client, Arc::clone(back)))
            .collect();
        for (client, back) in backs {
            while let Ok(count) = back.recv(buffer) {
                self.depart(
                    Datagram {
                        client,
                        to_client: true,
                        bytes: buffer[..count].to_vec(),
                    },
                    path,
                    shared,
                );
            }
        }
    }

    fn back(&self) -> UdpSocket {
        let any = if self.target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let back = UdpSocket::bind(any).expect("bind a socket to the target");
        back.connect(self.target).expect("connect a socket to the target");
        back.set_nonblocking(true).expect("make a socket non-blocking");
        widen_buffers(&back);
        back
    }

    fn depart(&mut self, datagram: Datagram, path: Path, shared: &Shared) {
        if self.below_a_million() < path.loss {
            shared.lost.fetch_add(1, Ordering::AcqRel);
            return;
        }
        let copies = if self.below_a_million() < path.doubled { 2 } else { 1 };
        for _ in 0..copies {
            let more = path.jitter * self.below_a_million() / 1_000_000;
            let copy = Datagram {
                bytes: datagram.bytes.clone(),
                ..datagram
            };
            self.travelling
                .push(Reverse((Instant::now() + path.delay + more, self.number, copy)));
            self.number += 1;
        }
    }

    fn deliver(&mut self, shared: &Shared) {
        let now = Instant::now();
        while self.travelling.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            let Some(Reverse((_, _, datagram))) = self.travelling.pop() else {
                return;
            };
            let sent = if datagram.to_client {
                self.front.send_to(&datagram.bytes, datagram.client)
            } else {
                self.backs[&datagram.client].send(&datagram.bytes)
            };
            // A target that is restarting refuses; the datagram is lost, as on a real path.
            shared.passed.fetch_add(u64::from(sent.is_ok()), Ordering::AcqRel);
        }
    }

    fn below_a_million(&mut self) -> u32 {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        u32::try_from((self.random >> 20) % 1_000_000).expect("below a million")
    }
}
