//! The protocol: datagrams and packets in, datagrams and packets out, and when to look again.
//!
//! Pure: reads no clock and opens no socket. The caller passes `now`, sends what it finds in the [`Outbox`](crate::buffer::Outbox) after
//! [`Engine::seal`], and calls [`Engine::handle_timeout`] once [`Engine::poll_timeout`] falls due.
//!
//! ```text
//!             datagrams                                    packets
//!   socket ─▶ Inbox ───▶ open ──── deliver(peer, packet) ───▶ plane
//!                          │ answers
//!                          ▼
//!   socket ◀─ Outbox ◀── seal ◀── send(peer, packet) ◀─ route ─ plane
//!                          ▲
//!                          └── handle_timeout, apply
//! ```
//!
//! # Locks
//!
//! All methods take `&self` and may run at once. Sealing and opening hold no lock. Those who take several locks take
//! them in this order: `config`, a peer's state, then one of the rest, which nothing is called under: `identity`,
//! `peers`, the index table, the routes, a peer's sessions, its endpoint, the timer queue, the limiter. `deliver` and
//! `fill` are called with none held.

mod apply;
mod counters;
mod handshakes;
mod index;
mod open;
mod refusals;
mod send;
mod timeouts;
mod traffic;

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use wg::PublicKey;

use self::{apply::Config, counters::Tally, index::IndexTable, refusals::Refusals, traffic::Passed};
pub use self::{
    counters::Counters,
    refusals::{Refusal, RefusalCause},
    send::Sent,
    traffic::Traffic,
};
pub use crate::peer::Peer;
use crate::{
    allowed_ips::AllowedIps,
    limiter::{Limiter, Load},
    peer::Identity,
    time::Time,
    timers::{Queue, REKEY_TIMEOUT_JITTER},
};

/// Largest inner packet until [`Engine::set_mtu`] says otherwise: an outer IPv6 packet of 1,500 bytes holds it.
const DEFAULT_MTU: usize = 1420;

/// WireGuard for one interface and its peers.
pub struct Engine {
    start: Time,
    wall: SystemTime,
    random: fn(&mut [u8]),
    jitter_seed: u64,
    mtu: AtomicUsize,
    config: Mutex<Config>,
    identity: RwLock<Option<Arc<Identity>>>,
    peers: RwLock<HashMap<PublicKey, Arc<Peer>>>,
    /// Replaced, not changed, while a batch holds it.
    routes: RwLock<Arc<AllowedIps<Arc<Peer>>>>,
    index: IndexTable,
    queue: Queue,
    guard: Mutex<Guard>,
    tally: Tally,
    traffic: Passed,
    refusals: Refusals,
}

/// What keeps floods of handshakes off.
#[derive(Debug, Default)]
struct Guard {
    load: Load,
    limiter: Limiter,
}

/// The routes as they were at one moment, for a batch of packets.
#[derive(Clone, Debug)]
pub struct Routes(Arc<AllowedIps<Arc<Peer>>>);

impl Routes {
    /// The peer that packets to this address go to, and packets from it must come from.
    pub fn peer_for(&self, address: IpAddr) -> Option<&Arc<Peer>> {
        self.0.lookup(address)
    }
}

impl Engine {
    /// An engine without key and peers. `wall` is the time of day at `now`; `random` fills a buffer with random bytes
    /// that nobody can foresee.
    pub fn new(now: Time, wall: SystemTime, random: fn(&mut [u8])) -> Self {
        let mut seed = [0; 8];
        random(&mut seed);
        Self {
            start: now,
            wall,
            random,
            jitter_seed: u64::from_le_bytes(seed),
            mtu: AtomicUsize::new(DEFAULT_MTU),
            config: Mutex::new(Config::default()),
            identity: RwLock::new(None),
            peers: RwLock::new(HashMap::new()),
            routes: RwLock::new(Arc::new(AllowedIps::new())),
            index: IndexTable::default(),
            queue: Queue::new(),
            guard: Mutex::new(Guard::default()),
            tally: Tally::default(),
            traffic: Passed::default(),
            refusals: Refusals::default(),
        }
    }

    /// Sets the largest inner packet, up to which packets are padded to multiples of 16 bytes.
    pub fn set_mtu(&self, mtu: usize) {
        self.mtu.store(mtu, Ordering::Relaxed);
    }

    /// The peer that packets to this address go to: the one with the longest allowed network that holds it.
    pub fn peer_for(&self, destination: IpAddr) -> Option<Arc<Peer>> {
        self.routes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .lookup(destination)
            .cloned()
    }

    /// The routes as they are, to look up a batch of packets.
    pub fn routes(&self) -> Routes {
        Routes(Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The peer with this key.
    pub fn peer(&self, public_key: &PublicKey) -> Option<Arc<Peer>> {
        self.peers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(public_key)
            .cloned()
    }

    /// When [`Engine::handle_timeout`] is to be called. Reads one atomic, so ask after each batch; it may be in the past.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.queue.next()
    }

    /// What was dropped, by cause.
    pub fn counters(&self) -> Counters {
        self.tally.counters()
    }

    /// What passed.
    pub fn traffic(&self) -> Traffic {
        self.traffic.traffic()
    }

    /// Who was refused a handshake since this was asked last: the first few, the rest is only counted.
    pub fn take_refusals(&self) -> Vec<Refusal> {
        self.refusals.take()
    }

    fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of day at `time`.
    fn wall(&self, time: Time) -> SystemTime {
        self.wall + time.since(self.start)
    }

    /// A time that differs from peer to peer and from event to event; nothing secret depends on it.
    fn jitter(&self, now: Time, peer: &Peer) -> Duration {
        // SplitMix64's finalizer.
        let mut x = self.jitter_seed ^ now.as_nanos() ^ (u64::from(peer.id()) << 32);
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^= x >> 31;
        Duration::from_millis(x % u64::try_from(REKEY_TIMEOUT_JITTER.as_millis()).unwrap_or(1))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("mtu", &self.mtu)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
