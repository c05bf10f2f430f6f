//! The keys of one completed handshake, shared by all who send and receive with them.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    aead::{Key, Sealed},
    handshake::TransportKeys,
    message::{DATA, DATA_HEADER_LEN},
    replay::Window,
    time::Time,
    timers::{
        REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME, REKEY_ON_RECEIVE_AFTER,
    },
};

/// Which end of its handshake this host was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Initiator,
    Responder,
}

/// A session: *WireGuard whitepaper 5.4.5 and 5.4.6*. One that only receives is just its [`Opener`].
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) opener: Arc<Opener>,
}

/// The sending half of a session. Needs no lock.
pub(crate) struct Sealer {
    remote_index: u32,
    role: Role,
    /// Cleared when nothing more is to be sent, though the session may still receive.
    enabled: AtomicBool,
    created: Time,
    key: Key,
    counter: AtomicU64,
}

/// The receiving half of a session. Needs no lock but the replay window's.
pub(crate) struct Opener {
    /// The index by which the other end names this session to us.
    pub(crate) local_index: u32,
    role: Role,
    /// Whether the other end is known to have the keys.
    confirmed: AtomicBool,
    created: Time,
    key: Key,
    window: Mutex<Window>,
}

impl Session {
    pub(crate) fn new(now: Time, role: Role, local_index: u32, keys: &TransportKeys) -> Self {
        let sealer = Sealer {
            remote_index: keys.remote_index,
            role,
            enabled: AtomicBool::new(true),
            created: now,
            key: Key::new(&keys.send),
            counter: AtomicU64::new(0),
        };
        let opener = Opener {
            local_index,
            role,
            confirmed: AtomicBool::new(role == Role::Initiator),
            created: now,
            key: Key::new(&keys.receive),
            window: Mutex::new(Window::new()),
        };
        Self {
            sealer: Arc::new(sealer),
            opener: Arc::new(opener),
        }
    }
}

impl Sealer {
    /// Whether a packet may be sealed.
    pub(crate) fn is_usable(&self, now: Time) -> bool {
        self.enabled.load(Ordering::Relaxed)
            && now < self.created + REJECT_AFTER_TIME
            && self.counter.load(Ordering::Relaxed) < REJECT_AFTER_MESSAGES
    }

    /// Stops sending with this session.
    pub(crate) fn disable(&self) {
        self.enabled.store(false, Ordering::Relaxed);
    }

    /// Whether a sender should renew the session.
    pub(crate) fn is_stale(&self, now: Time) -> bool {
        self.counter.load(Ordering::Relaxed) > REKEY_AFTER_MESSAGES
            || (self.role == Role::Initiator && now >= self.created + REKEY_AFTER_TIME)
    }

    /// Seals the packets in `run`: each `segment` bytes, the last perhaps fewer, are a data message whose header and
    /// tag are still to be written. False: no counters are left, and nothing was sealed.
    pub(crate) fn seal(&self, run: &mut [u8], segment: usize) -> bool {
        let messages = run.len().div_ceil(segment) as u64;
        let reserve = |counter: u64| {
            counter
                .checked_add(messages)
                .filter(|&end| end <= REJECT_AFTER_MESSAGES)
        };
        let Ok(first) = self.counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve) else {
            return false;
        };
        for (counter, message) in (first..).zip(run.chunks_mut(segment)) {
            let header = &mut message[..DATA_HEADER_LEN];
            header[..4].copy_from_slice(&[DATA, 0, 0, 0]);
            header[4..8].copy_from_slice(&self.remote_index.to_le_bytes());
            header[8..].copy_from_slice(&counter.to_le_bytes());
        }
        self.key.seal_run(first, run, segment);
        true
    }

    /// Lets tests come near the end of the counters.
    #[cfg(test)]
    pub(crate) fn set_counter(&self, counter: u64) {
        self.counter.store(counter, Ordering::Relaxed);
    }
}

impl Opener {
    /// Whether a packet may be opened.
    pub(crate) fn is_usable(&self, now: Time) -> bool {
        now < self.created + REJECT_AFTER_TIME
    }

    /// Whether a receiver should renew the session, because it would end before the next packet is sent.
    pub(crate) fn is_stale(&self, now: Time) -> bool {
        self.role == Role::Initiator && now >= self.created + REKEY_ON_RECEIVE_AFTER
    }

    /// Whether the other end is known to have the keys. False only for a responder's session before its first packet.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Relaxed)
    }

    pub(crate) fn confirm(&self) {
        self.confirmed.store(true, Ordering::Relaxed);
    }

    /// Opens messages in place, and says of each whether it is authentic. Their counters are still to be checked against
    /// the window.
    pub(crate) fn open(&self, buffer: &mut [u8], messages: &mut [Sealed]) {
        self.key.open_batch(buffer, messages);
    }

    /// The counters that were received, locked for one batch.
    pub(crate) fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("remote_index", &self.remote_index)
            .field("role", &self.role)
            .field("created", &self.created)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("local_index", &self.local_index)
            .field("role", &self.role)
            .field("created", &self.created)
            .finish_non_exhaustive()
    }
}
