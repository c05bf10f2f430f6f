//! One peer: what every packet needs without a lock, and what handshakes need under one.

use std::{
    collections::VecDeque,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use wg::{PublicKey, key::KEY_LEN};
use zeroize::Zeroizing;

use crate::{
    cookie::{Checker, Jar},
    handshake::{Initiation, Timestamp},
    message::TIMESTAMP_LEN,
    noise::{KeyPair, Secret},
    session::{Opener, Session},
    time::Time,
    timers::Timers,
};

/// Packets that wait for a handshake; the oldest go when there are more.
pub(crate) const MAX_STAGED_PACKETS: usize = 128;

/// This host's keys, and what follows from them.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) keys: KeyPair,
    pub(crate) checker: Checker,
}

/// Where a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// This host's address that the peer was heard at.
    pub(crate) local: Option<IpAddr>,
}

/// The sessions with a peer, as the kernel's driver keeps them.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Packets are sent with this one.
    pub(crate) current: Option<Session>,
    /// Packets on the way may still have been sealed with this one.
    pub(crate) previous: Option<Arc<Opener>>,
    /// A responder's session, until the initiator's first packet proves that it has the keys.
    pub(crate) next: Option<Session>,
}

/// A peer of an [`Engine`](crate::engine::Engine).
pub struct Peer {
    id: u32,
    public_key: PublicKey,
    removed: AtomicBool,
    endpoint: RwLock<Option<Endpoint>>,
    pub(crate) sessions: RwLock<Sessions>,
    pub(crate) timers: Timers,
    pub(crate) rx_bytes: AtomicU64,
    pub(crate) tx_bytes: AtomicU64,
    /// Nanoseconds; zero is never.
    latest_handshake: AtomicU64,
    /// When an initiation or a response was last sent, in nanoseconds; zero is never.
    last_sent_handshake: AtomicU64,
    /// Whether the current session was already renewed because it is about to end.
    pub(crate) sent_last_minute_handshake: AtomicBool,
    state: Mutex<State>,
}

/// What handshakes read and change.
pub(crate) struct State {
    pub(crate) identity: Option<Arc<Identity>>,
    /// DH of the two static keys. `None` without an identity, or if the peer's key is of low order.
    pub(crate) static_static: Option<Secret>,
    pub(crate) preshared_key: Zeroizing<[u8; KEY_LEN]>,
    pub(crate) initiation: Option<Box<Initiation>>,
    pub(crate) jar: Jar,
    /// The newest initiation of the peer's, which an accepted one must be after.
    pub(crate) latest_timestamp: Timestamp,
    pub(crate) last_initiation_consumed: Option<Time>,
    pub(crate) handshake_attempts: u64,
    /// Packets that wait for a session; an empty one is a keepalive.
    pub(crate) staged: VecDeque<Box<[u8]>>,
}

impl Peer {
    pub(crate) fn new(id: u32, public_key: PublicKey) -> Self {
        Self {
            id,
            public_key,
            removed: AtomicBool::new(false),
            endpoint: RwLock::new(None),
            sessions: RwLock::new(Sessions::default()),
            timers: Timers::new(),
            rx_bytes: AtomicU64::new(0),
            tx_bytes: AtomicU64::new(0),
            latest_handshake: AtomicU64::new(0),
            last_sent_handshake: AtomicU64::new(0),
            sent_last_minute_handshake: AtomicBool::new(false),
            state: Mutex::new(State {
                identity: None,
                static_static: None,
                preshared_key: Zeroizing::new([0; KEY_LEN]),
                initiation: None,
                jar: Jar::new(&public_key),
                latest_timestamp: [0; TIMESTAMP_LEN],
                last_initiation_consumed: None,
                handshake_attempts: 0,
                staged: VecDeque::new(),
            }),
        }
    }

    /// The peer's name.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// A number that no other peer of the same engine has or will have; small while few peers were made.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Where the peer was configured to be, or was last heard from.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        self.place().map(|place| place.address)
    }

    /// Whether the peer was taken out of the configuration; nothing is sent to it or accepted from it.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    pub(crate) fn mark_removed(&self) {
        self.removed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn place(&self) -> Option<Endpoint> {
        *self.endpoint.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the peer to where it was heard from, or is configured to be.
    pub(crate) fn move_to(&self, endpoint: Endpoint) {
        if self.place() != Some(endpoint) {
            *self.endpoint.write().unwrap_or_else(PoisonError::into_inner) = Some(endpoint);
        }
    }

    /// Lets the kernel choose the local address again, since the peer does not answer at the last.
    pub(crate) fn forget_local(&self) {
        if let Some(endpoint) = self.endpoint.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            endpoint.local = None;
        }
    }

    /// The session to send with.
    pub(crate) fn current(&self) -> Option<Session> {
        self.sessions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .current
            .clone()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn latest_handshake(&self) -> Option<Time> {
        let nanos = self.latest_handshake.load(Ordering::Relaxed);
        (nanos != 0).then(|| Time::from_nanos(nanos))
    }

    pub(crate) fn set_latest_handshake(&self, now: Time) {
        self.latest_handshake.store(now.as_nanos().max(1), Ordering::Relaxed);
    }

    pub(crate) fn last_sent_handshake(&self) -> Option<Time> {
        let nanos = self.last_sent_handshake.load(Ordering::Relaxed);
        (nanos != 0).then(|| Time::from_nanos(nanos))
    }

    pub(crate) fn set_last_sent_handshake(&self, time: Option<Time>) {
        self.last_sent_handshake
            .store(time.map_or(0, |time| time.as_nanos().max(1)), Ordering::Relaxed);
    }

    /// Changes the sessions, and returns the indices of those that have no place any more.
    pub(crate) fn change_sessions(&self, change: impl FnOnce(&mut Sessions)) -> Vec<u32> {
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        let before = sessions.local_indices();
        change(&mut sessions);
        let after = sessions.local_indices();
        before
            .into_iter()
            .flatten()
            .filter(|index| !after.contains(&Some(*index)))
            .collect()
    }
}

impl Sessions {
    /// Takes in the session of a handshake that this host began: the other end has the keys, so it is used at once.
    pub(crate) fn add_as_initiator(&mut self, session: Session) {
        let before = self.next.take().or_else(|| self.current.take());
        self.previous = before.map(|session| session.opener);
        self.current = Some(session);
    }

    /// Takes in the session of a handshake that the peer began: it waits for the peer's first packet.
    pub(crate) fn add_as_responder(&mut self, session: Session) {
        self.next = Some(session);
        self.previous = None;
    }

    /// The peer used the session for the first time. False if it is not the one that waits.
    pub(crate) fn confirm(&mut self, opener: &Arc<Opener>) -> bool {
        if !self.next.as_ref().is_some_and(|next| Arc::ptr_eq(&next.opener, opener)) {
            return false;
        }
        self.previous = self.current.take().map(|session| session.opener);
        self.current = self.next.take();
        true
    }

    fn local_indices(&self) -> [Option<u32>; 3] {
        let of = |session: &Option<Session>| session.as_ref().map(|session| session.opener.local_index);
        [
            of(&self.current),
            self.previous.as_ref().map(|opener| opener.local_index),
            of(&self.next),
        ]
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.id)
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}
