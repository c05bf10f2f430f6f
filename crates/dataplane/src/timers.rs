//! When a peer has to act: *WireGuard whitepaper 6, "Timers & Stateless UX"*.
//!
//! Each alarm is an atomic, so that packets set and clear them without a lock. What is due first is armed in the
//! engine's [`Queue`], at most once a peer; clearing an alarm leaves the queue as it is, and the peer is then woken
//! once for nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::{peer::Peer, time::Time};

/// Messages after which a session is renewed (6.1).
pub(crate) const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// Messages after which a session is not used (6.1).
pub(crate) const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// Age at which the initiator renews a session when it sends (6.1).
pub(crate) const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// Age at which a session is not used (6.1).
pub(crate) const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// How long attempts at a handshake go on (6.1).
pub(crate) const REKEY_ATTEMPT_TIME: Duration = Duration::from_secs(90);
/// Time between attempts at a handshake (6.1).
pub(crate) const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that receives but has nothing to send answers after this time (6.1).
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest random time that is added to [`REKEY_TIMEOUT`], so that two peers do not call each other in step (6.1).
pub(crate) const REKEY_TIMEOUT_JITTER: Duration = Duration::from_millis(333);
/// Age at which all keys are wiped (6.3).
pub(crate) const ZERO_KEYS_AFTER: Duration = Duration::from_secs(3 * REJECT_AFTER_TIME.as_secs());
/// Age at which the initiator renews a session when it receives, since the other end cannot (6.2).
pub(crate) const REKEY_ON_RECEIVE_AFTER: Duration =
    Duration::from_secs(REJECT_AFTER_TIME.as_secs() - KEEPALIVE_TIMEOUT.as_secs() - REKEY_TIMEOUT.as_secs());
/// Repetitions of an initiation before it is given up.
pub(crate) const MAX_HANDSHAKE_ATTEMPTS: u64 = REKEY_ATTEMPT_TIME.as_secs() / REKEY_TIMEOUT.as_secs();
/// Initiations that are accepted from one peer each second (5.1).
pub(crate) const INITIATIONS_PER_SECOND: u32 = 50;

/// A time at which something is to be done, or never.
#[derive(Debug)]
pub(crate) struct Alarm(AtomicU64);

const NEVER: u64 = u64::MAX;

impl Alarm {
    const fn new() -> Self {
        Self(AtomicU64::new(NEVER))
    }

    pub(crate) fn set(&self, due: Time) {
        self.0.store(due.as_nanos(), SeqCst);
    }

    /// Sets the alarm unless it is set.
    fn set_if_clear(&self, due: impl FnOnce() -> Time) {
        if self.0.load(SeqCst) == NEVER {
            // Whoever set it meanwhile meant the same.
            let _set = self.0.compare_exchange(NEVER, due().as_nanos(), SeqCst, SeqCst);
        }
    }

    pub(crate) fn clear(&self) {
        // Most packets find it clear; a load leaves the cache line shared.
        if self.0.load(SeqCst) != NEVER {
            self.0.store(NEVER, SeqCst);
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(SeqCst) != NEVER
    }

    /// Clears the alarm if it is due, and says whether it was.
    pub(crate) fn take_due(&self, now: Time) -> bool {
        let due = self.0.load(SeqCst);
        due != NEVER && due <= now.as_nanos() && self.0.compare_exchange(due, NEVER, SeqCst, SeqCst).is_ok()
    }
}

/// The alarms of one peer, and the events that set them.
#[derive(Debug)]
pub(crate) struct Timers {
    /// An initiation was not answered.
    pub(crate) retransmit_handshake: Alarm,
    /// Something was received and nothing was sent since.
    pub(crate) send_keepalive: Alarm,
    /// Something was sent and nothing was received since.
    pub(crate) new_handshake: Alarm,
    /// The keys are old.
    pub(crate) zero_keys: Alarm,
    /// The configured keepalive.
    pub(crate) persistent_keepalive: Alarm,
    /// Seconds; zero is off.
    persistent_interval_secs: AtomicU16,
    /// What the queue holds for this peer.
    armed: Alarm,
}

impl Timers {
    pub(crate) const fn new() -> Self {
        Self {
            retransmit_handshake: Alarm::new(),
            send_keepalive: Alarm::new(),
            new_handshake: Alarm::new(),
            zero_keys: Alarm::new(),
            persistent_keepalive: Alarm::new(),
            persistent_interval_secs: AtomicU16::new(0),
            armed: Alarm::new(),
        }
    }

    /// When the first alarm is due, in nanoseconds; [`NEVER`] if none is set.
    fn first_due(&self) -> u64 {
        [
            &self.retransmit_handshake,
            &self.send_keepalive,
            &self.new_handshake,
            &self.zero_keys,
            &self.persistent_keepalive,
        ]
        .iter()
        .map(|alarm| alarm.0.load(SeqCst))
        .min()
        .unwrap_or(NEVER)
    }

    pub(crate) fn persistent_interval_secs(&self) -> u16 {
        self.persistent_interval_secs.load(SeqCst)
    }

    pub(crate) fn set_persistent_interval_secs(&self, secs: u16) {
        self.persistent_interval_secs.store(secs, SeqCst);
    }

    /// A packet with content was sent.
    pub(crate) fn data_sent(&self, now: Time, jitter: impl FnOnce() -> Duration) {
        self.new_handshake
            .set_if_clear(|| now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + jitter());
    }

    /// Packets with content were received.
    ///
    /// The kernel's driver also notes that more came while the alarm was set, and then sets it again when it fires;
    /// but the keepalive that it sends at that moment clears it, as it should: it is for all that came before.
    pub(crate) fn data_received(&self, now: Time) {
        self.send_keepalive.set_if_clear(|| now + KEEPALIVE_TIMEOUT);
    }

    /// Anything was sent that the peer can authenticate.
    pub(crate) fn any_sent(&self, now: Time) {
        self.send_keepalive.clear();
        self.any_traversal(now);
    }

    /// Anything authentic was received.
    pub(crate) fn any_received(&self, now: Time) {
        self.new_handshake.clear();
        self.any_traversal(now);
    }

    fn any_traversal(&self, now: Time) {
        let secs = self.persistent_interval_secs();
        if secs != 0 {
            self.persistent_keepalive.set(now + Duration::from_secs(secs.into()));
        }
    }

    /// Clears all alarms, for a peer that is removed.
    pub(crate) fn clear(&self) {
        self.set_persistent_interval_secs(0);
        for alarm in [
            &self.retransmit_handshake,
            &self.send_keepalive,
            &self.new_handshake,
            &self.zero_keys,
            &self.persistent_keepalive,
        ] {
            alarm.clear();
        }
    }
}

/// The peers that wait for an alarm, by when it is due.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// When the first is due, to be read without the lock.
    next: Alarm,
}

type Waiting = BTreeMap<(u64, u32), Arc<Peer>>;

impl Queue {
    pub(crate) const fn new() -> Self {
        Self {
            waiting: Mutex::new(BTreeMap::new()),
            next: Alarm::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the first peer waits to be woken.
    pub(crate) fn next(&self) -> Option<Time> {
        let next = self.next.0.load(SeqCst);
        (next != NEVER).then(|| Time::from_nanos(next))
    }

    /// Sees to it that the peer is woken when its first alarm is due. Takes the lock only if that is earlier than
    /// what is armed.
    ///
    /// The caller has stored its alarm before it looks at `armed`; [`Queue::pop_due`] clears `armed` before its caller
    /// looks at the alarms. With one order for all (`SeqCst`), one of the two sees the other.
    pub(crate) fn schedule(&self, peer: &Arc<Peer>) {
        let timers = &peer.timers;
        if timers.first_due() >= timers.armed.0.load(SeqCst) {
            return;
        }
        let mut waiting = self.lock();
        let (due, armed) = (timers.first_due(), timers.armed.0.load(SeqCst));
        if due >= armed {
            return;
        }
        waiting.remove(&(armed, peer.id()));
        waiting.insert((due, peer.id()), Arc::clone(peer));
        timers.armed.0.store(due, SeqCst);
        self.publish(&waiting);
    }

    /// Takes one peer whose time has come out of the queue. The caller handles its alarms and schedules it again.
    pub(crate) fn pop_due(&self, now: Time) -> Option<Arc<Peer>> {
        if self.next().is_none_or(|next| next > now) {
            return None;
        }
        let mut waiting = self.lock();
        let first = waiting.first_entry()?;
        if first.key().0 > now.as_nanos() {
            return None;
        }
        let peer = first.remove();
        peer.timers.armed.clear();
        self.publish(&waiting);
        Some(peer)
    }

    /// Forgets a peer that was removed.
    pub(crate) fn remove(&self, peer: &Peer) {
        let mut waiting = self.lock();
        waiting.remove(&(peer.timers.armed.0.swap(NEVER, SeqCst), peer.id()));
        self.publish(&waiting);
    }

    fn publish(&self, waiting: &Waiting) {
        let next = waiting.first_key_value().map_or(NEVER, |(&(due, _), _)| due);
        self.next.0.store(next, SeqCst);
    }
}
