//! The tun plane: a TUN device on one side, UDP sockets on the other, the engine between them, in lanes of two threads.
//!
//! ```text
//!                     ┌── outward ─────────────────────────────────┐
//!   TUN ── read ──────► split ─► route ─► lay out ─► seal ──────────► sendmmsg ── UDP
//!                     └────────────────────────────────────────────┘
//!                     ┌── inward ──────────────────────────────────┐
//!   TUN ◄─ writev ─────◄ join ◄─ check source ◄─ open in place ◄─────◄ recvmmsg ── UDP
//!                     │ timers, link events                        │
//!                     └────────────────────────────────────────────┘
//! ```
//!
//! A lane has a queue of the device and a pair of sockets of its own. The kernel deals peers out to the sockets and flows to
//! the queues, so that each flow stays on one lane in each direction, and in order; see `steer.rs`. Lanes share the
//! engine, whose methods take no lock for a packet, and nothing else.
//!
//! Each thread takes what waits, carries it through to the end, and only then looks again: no packet is handed from
//! thread to thread, and none waits for a batch to fill.

pub mod coalesce;
mod counters;
mod device;
pub mod differential;
mod inward;
mod link;
mod outward;
pub mod split;
mod steer;
#[cfg(test)]
mod tests;
mod vnet;

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use rustix::event::{EventfdFlags, epoll, eventfd};

pub use self::{counters::Counters, link::LinkWatch};
use self::{
    counters::Tally,
    device::{Device, Failure},
    inward::Inward,
    outward::Outward,
};
use crate::{alarm::Alarm, engine::Engine, udp::Sockets};

/// How a tun plane is to work.
#[derive(Debug)]
pub struct Options {
    /// The device's MTU.
    pub mtu: usize,
    /// Whether packets carry a `virtio_net_hdr` (`IFF_VNET_HDR`), of 10 bytes in the machine's byte order.
    pub vnet_hdr: bool,
    /// Whether packets of one flow are joined before they are written, which takes `vnet_hdr`. What the kernel
    /// refuses is written one by one.
    pub coalesce: bool,
    /// Where to learn that the device goes down or up, or gets another MTU. While it is down nothing is sent.
    /// `None`: it counts as up.
    pub link: Option<LinkWatch>,
}

/// Why a plane has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Stopped,
    /// The TUN device was removed.
    DeviceGone,
    /// The TUN device or a socket failed for good.
    Failed(String),
}

/// A running tun plane. Dropping it stops it.
#[derive(Debug)]
pub struct Plane {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads and their owner share.
#[derive(Debug)]
struct Shared {
    engine: Arc<Engine>,
    sockets: Arc<Sockets>,
    alarm: Alarm,
    /// Readable once the plane is to end, and ever after.
    stop: OwnedFd,
    stopping: AtomicBool,
    /// Whether the link is up; while it is not nothing is sent.
    up: AtomicBool,
    lanes: usize,
    ended: Mutex<Ended>,
    all_ended: Condvar,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Ended {
    threads: usize,
    /// Of the thread that ended first.
    end: Option<End>,
}

impl Plane {
    /// Starts to carry packets between a TUN device and the peers of an engine. There are as many lanes as the device has
    /// queues, whose descriptors must not block; the sockets must have as many.
    ///
    /// # Errors
    ///
    /// No threads or descriptors are left, or the numbers of queues and lanes differ.
    pub fn start(
        engine: Arc<Engine>,
        sockets: Arc<Sockets>,
        queues: Vec<OwnedFd>,
        mut options: Options,
    ) -> io::Result<Self> {
        let lanes = queues.len();
        if lanes == 0 || lanes != sockets.lanes() {
            let why = format!(
                "{lanes} queues of a TUN device, but {} lanes of sockets",
                sockets.lanes()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        engine.set_mtu(options.mtu);
        let shared = Arc::new(Shared {
            engine,
            sockets,
            alarm: Alarm::new()?,
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            stopping: AtomicBool::new(false),
            up: AtomicBool::new(true),
            lanes,
            ended: Mutex::default(),
            all_ended: Condvar::new(),
            tally: Tally::default(),
        });
        let device = Arc::new(Device::new(queues, options.vnet_hdr));
        let mut threads = Vec::new();
        for lane in 0..lanes {
            let (shared, device) = (|| Arc::clone(&shared), || Arc::clone(&device));
            // Only the first follows the link.
            let link = options.link.take();
            threads.push((
                Outward::new(shared(), device(), lane)?,
                Inward::new(shared(), device(), lane, options.coalesce, link)?,
            ));
        }
        drop(device);
        // Dropped on an error, it stops the thread that runs already.
        let plane = Self {
            shared,
            threads: Mutex::default(),
        };
        for (mut outward, mut inward) in threads {
            plane.spawn("adit-outward", move || outward.run())?;
            plane.spawn("adit-inward", move || inward.run())?;
        }
        Ok(plane)
    }

    /// Looks at the engine's timers again, to be called after a change to it that did not come from this plane.
    pub fn wake(&self) {
        self.shared.alarm.arm(self.shared.engine.poll_timeout());
    }

    /// Follows a change of the device's MTU, if the plane does not watch the link itself.
    pub fn set_mtu(&self, mtu: usize) {
        self.shared.engine.set_mtu(mtu);
    }

    /// What was dropped so far, by cause.
    pub fn counters(&self) -> Counters {
        self.shared.tally.counters()
    }

    /// Whether the plane has ended, and why.
    pub fn ended(&self) -> Option<End> {
        let ended = self.shared.ended();
        ended.end.clone().filter(|_| ended.threads == self.shared.threads())
    }

    /// Waits until the plane has ended, and says why.
    pub fn wait(&self) -> End {
        let mut ended = self.shared.ended();
        loop {
            match &ended.end {
                Some(end) if ended.threads == self.shared.threads() => return end.clone(),
                _ => {
                    ended = self
                        .shared
                        .all_ended
                        .wait(ended)
                        .unwrap_or_else(PoisonError::into_inner)
                }
            }
        }
    }

    /// Ends the plane and closes the device; returns once that is done.
    pub fn stop(&self) {
        self.shared.stop();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }

    fn spawn(&self, name: &str, run: impl FnOnce() -> Result<(), Failure> + Send + 'static) -> io::Result<()> {
        let guard = EndGuard {
            shared: Arc::clone(&self.shared),
            end: End::Failed("a thread panicked".to_owned()),
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut guard = guard;
            guard.end = match run() {
                Ok(()) => End::Stopped,
                Err(Failure::Gone) => End::DeviceGone,
                Err(Failure::Io(error)) => End::Failed(error.to_string()),
            };
        })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Says, when it is dropped, that a thread has ended, and ends the others.
struct EndGuard {
    shared: Arc<Shared>,
    end: End,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let mut ended = self.shared.ended();
        ended.threads += 1;
        ended.end.get_or_insert_with(|| self.end.clone());
        drop(ended);
        self.shared.stop();
        self.shared.all_ended.notify_all();
    }
}

impl Shared {
    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        // It fails only if it is readable already.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
    }

    /// How many threads there are.
    fn threads(&self) -> usize {
        2 * self.lanes
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn ended(&self) -> MutexGuard<'_, Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until something is ready.
fn wait(epoll: &OwnedFd, events: &mut Vec<epoll::Event>) -> Result<(), Failure> {
    events.clear();
    match epoll::wait(epoll, rustix::buffer::spare_capacity(events), None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(Failure::Io(error.into())),
    }
}
