//! What a lease does next, and what is wished of it.

use std::time::Duration;

use wg::PublicKey;

use super::{Bytes, End, Lease, LeasePeer, Notice, State, notice::Kind};
use crate::{
    Moment,
    node::{Question, WantedPeer},
    order::PeerRequest,
    place::{Creation, Fault, FaultKind, Reached, Removal},
};

/// Longest time from the request until the gateway answers.
pub const SETUP_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long a step may take before it is taken again.
const CREATE_LIMIT: Duration = Duration::from_secs(120);
const ASK_LIMIT: Duration = Duration::from_secs(15);
const REMOVE_LIMIT: Duration = Duration::from_secs(120);

/// A step that is to be taken, once the row is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Which of the lease's steps it is.
    pub attempt: u64,
    /// What to do.
    pub what: What,
    /// How long it may take; after that it has failed, whatever comes of it.
    pub limit: Duration,
}

/// What to do at the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Make the gateway, or go on with it.
    Create,
    /// Ask the gateway this.
    Ask(Question),
    /// Remove everything.
    Remove,
}

/// What came of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Of [`What::Create`].
    Created(Result<Creation, Fault>),
    /// Of [`What::Ask`].
    Asked(Result<Reached, Fault>),
    /// Of [`What::Remove`].
    Removed(Result<Removal, Fault>),
}

/// Something that happens to a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An action was carried out.
    Done {
        /// Which.
        attempt: u64,
        /// With this result.
        outcome: Outcome,
    },
    /// It is to live longer.
    Extend(Duration),
    /// It is to end.
    End,
    /// Another peer may connect.
    AddPeer(PeerRequest),
    /// A peer may connect no more.
    RemovePeer(String),
    /// A peer has another key from now on: its client has lost the private one.
    ReplaceKey(String, PublicKey),
    /// The configuration of a peer is about to be handed over, as nobody is told a second time.
    HandOver(String),
    /// It was not: the gateway gave none.
    NotHandedOver(String),
    /// The gateway has made a key for a peer.
    Keyed(String, PublicKey),
}

/// What an event has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing: it came too late, or twice.
    Nothing,
    /// Counters, which need not be kept.
    Counters,
    /// The row, which is to be kept.
    Row,
}

impl Lease {
    /// When [`Lease::step`] is to be called; `None` is never again.
    pub fn due(&self) -> Option<Moment> {
        if self.state == State::Removed {
            return None;
        }
        let ends = [Some(self.ends_at), self.setup_ends_at(), self.idle_ends_at()];
        let ends = ends.into_iter().flatten().filter(|_| self.state.is_running());
        Some(ends.fold(self.next_at, Moment::min))
    }

    /// The next step, if one is due. The row is to be kept before it is taken.
    pub fn step(&mut self, now: Moment) -> Option<Action> {
        if self.due().is_none_or(|due| now < due) {
            return None;
        }
        self.look_at_clock(now);
        let (what, limit) = match self.state {
            State::Requested => {
                self.enter(State::Provisioning, now);
                "the place makes a gateway".clone_into(&mut self.doing);
                self.say(Kind::Provisioning, now, format!("{} makes a gateway", self.order.place));
                (What::Create, CREATE_LIMIT)
            }
            State::Provisioning => (What::Create, CREATE_LIMIT),
            State::Configuring | State::Ready => (What::Ask(self.question(now)), ASK_LIMIT),
            State::Failed | State::Lost => {
                self.remove(now);
                (What::Remove, REMOVE_LIMIT)
            }
            State::Removing => (What::Remove, REMOVE_LIMIT),
            State::Removed => return None,
        };
        self.attempt += 1;
        self.is_awaited = true;
        self.next_at = now + limit + Duration::from_secs(1);
        let attempt = self.attempt;
        Some(Action { attempt, what, limit })
    }

    /// Takes note of an event.
    pub fn handle(&mut self, event: Event, now: Moment) -> Change {
        match event {
            Event::Done { attempt, outcome } if attempt == self.attempt && std::mem::take(&mut self.is_awaited) => {
                self.done(outcome, now)
            }
            Event::Done { .. } => Change::Nothing,
            Event::Extend(by) if self.state.is_running() => {
                self.ends_at = self.ends_at + by;
                self.granted_secs = self.granted_secs.saturating_add(by.as_secs());
                self.say(Kind::Extended, now, format!("ends {}", self.ends_at));
                self.tell_gateway(now);
                Change::Row
            }
            Event::End if self.state.is_running() => {
                self.end(End::Asked, now);
                Change::Row
            }
            Event::AddPeer(request) if self.state.is_running() && self.peer(&request.name).is_none() => {
                self.say(Kind::PeerAdded, now, format!("{} may connect", request.name));
                self.peers.push(LeasePeer::new(&request));
                self.tell_gateway(now);
                Change::Row
            }
            Event::RemovePeer(name) if self.state.is_running() && self.peer(&name).is_some() => {
                let gone = self.peers.extract_if(.., |peer| peer.name.eq_ignore_ascii_case(&name));
                self.gone = gone.fold(self.gone, |sum, peer| Bytes {
                    received: sum.received.saturating_add(peer.received_bytes),
                    sent: sum.sent.saturating_add(peer.sent_bytes),
                });
                self.say(Kind::PeerRemoved, now, format!("{name} may connect no more"));
                self.tell_gateway(now);
                Change::Row
            }
            Event::ReplaceKey(name, key) if self.state.is_running() => {
                let replace = |peer: &mut LeasePeer| {
                    peer.public_key = Some(key);
                    (peer.first_handshake_at, peer.latest_handshake_at, peer.endpoint) = (None, None, None);
                };
                let change = self.change_peer(&name, replace);
                if change == Change::Row {
                    self.say(Kind::PeerAdded, now, format!("{name} may connect with another key"));
                    self.tell_gateway(now);
                }
                change
            }
            Event::HandOver(name) => self
                .change_peer(&name, |peer| peer.handed_over_at = Some(now))
                .then_say(
                    self,
                    Kind::HandedOver,
                    now,
                    format!("the configuration of {name} was handed over"),
                ),
            Event::NotHandedOver(name) => self.change_peer(&name, |peer| peer.handed_over_at = None),
            Event::Keyed(name, key) => self.change_peer(&name, |peer| peer.public_key = Some(key)),
            Event::Extend(_) | Event::End | Event::AddPeer(_) | Event::RemovePeer(_) | Event::ReplaceKey(..) => {
                Change::Nothing
            }
        }
    }

    /// Goes on after the death of whoever carried the last step out: the step is taken again.
    pub fn recover(&mut self, now: Moment) {
        self.attempt += 1;
        self.is_awaited = false;
        self.is_recovering = true;
        self.next_at = now;
        // A clock that was set back meanwhile must not make it live longer than was granted.
        let longest = match self.ready_at {
            Some(_) => Duration::from_secs(self.granted_secs),
            None => SETUP_LIMIT + Duration::from_secs(self.granted_secs),
        };
        self.ends_at = self.ends_at.min(now + longest);
        // Nobody saw who was there meanwhile: the time without a client begins anew.
        self.active_at = self.active_at.map(|_| now);
    }

    /// Lets the next step be due now.
    pub fn hasten(&mut self, now: Moment) {
        self.next_at = self.next_at.min(now);
    }

    /// Who may connect, as the gateway is told.
    pub fn wanted_peers(&self) -> Vec<WantedPeer> {
        let peers = self.peers.iter().map(|peer| WantedPeer {
            name: peer.name.clone(),
            public_key: peer.public_key.filter(|_| !self.makes_keys()),
        });
        peers.collect()
    }

    /// How long the gateway may live from now on.
    pub fn remaining(&self, now: Moment) -> Duration {
        self.ends_at.since(now)
    }

    /// What happened since this was asked last.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Says that it was requested.
    pub fn announce(&mut self, now: Moment) {
        self.say(
            Kind::Requested,
            now,
            format!("a gateway on {} was asked for", self.order.place),
        );
    }

    fn setup_ends_at(&self) -> Option<Moment> {
        let is_setting_up = matches!(self.state, State::Requested | State::Provisioning | State::Configuring);
        is_setting_up.then(|| self.created_at + SETUP_LIMIT)
    }

    /// While the gateway is out of reach nobody can tell whether clients are there.
    fn idle_ends_at(&self) -> Option<Moment> {
        let idle = Duration::from_secs(self.order.idle_end_secs?);
        let is_seen = self.state == State::Ready && self.unreachable_since.is_none();
        Some(self.active_at.filter(|_| is_seen)? + idle)
    }

    fn look_at_clock(&mut self, now: Moment) {
        if !self.state.is_running() {
            return;
        }
        if now >= self.ends_at {
            self.end(End::Expired, now);
        } else if self.setup_ends_at().is_some_and(|due| now >= due) {
            let last = self
                .fault
                .take()
                .map_or_else(String::new, |fault| format!(": {}", fault.message));
            let minutes = SETUP_LIMIT.as_secs() / 60;
            let message = format!("the gateway was not ready after {minutes} minutes{last}");
            let fault = Fault::new(FaultKind::Refused, "setup_timeout", message);
            self.fail(fault.with_remedy("try again, or choose another place"), now);
        } else if self.idle_ends_at().is_some_and(|due| now >= due) {
            self.end(End::Idle, now);
        }
    }

    fn question(&self, now: Moment) -> Question {
        let remaining = match self.ready_at {
            Some(_) => self.remaining(now).as_secs(),
            None => self.granted_secs,
        };
        Question::Bring {
            peers: self.wanted_peers(),
            remaining_secs: remaining.max(1),
        }
    }

    pub(super) fn enter(&mut self, state: State, now: Moment) {
        self.state = state;
        self.failures = 0;
        self.next_at = now;
    }

    pub(super) fn end(&mut self, reason: End, now: Moment) {
        self.outcome = Some(reason);
        self.fault = None;
        self.remove(now);
    }

    pub(super) fn remove(&mut self, now: Moment) {
        let reason = self.outcome.map_or("it ends", |end| match end {
            End::Expired => "its time is over",
            End::Asked => "it was ended",
            End::Idle => "no client was there",
            End::Failed => "it could not be set up",
            End::Lost => "its gateway has gone",
        });
        self.enter(State::Removing, now);
        self.attempt += 1;
        "the gateway is removed".clone_into(&mut self.doing);
        self.say(Kind::Removing, now, format!("the gateway is removed: {reason}"));
    }

    pub(super) fn fail(&mut self, fault: Fault, now: Moment) {
        self.say(Kind::Failed, now, fault.message.clone());
        self.enter(State::Failed, now);
        "failed".clone_into(&mut self.doing);
        (self.outcome, self.fault) = (Some(End::Failed), Some(fault));
    }

    /// The gateway is asked at once, with what is wanted by then; an answer that is under way is of before.
    fn tell_gateway(&mut self, now: Moment) {
        if matches!(self.state, State::Configuring | State::Ready) {
            self.is_dirty = true;
            self.attempt += 1;
            self.next_at = now;
        }
    }

    fn change_peer(&mut self, name: &str, change: impl FnOnce(&mut LeasePeer)) -> Change {
        let peer = self.peers.iter_mut().find(|peer| peer.name.eq_ignore_ascii_case(name));
        peer.map_or(Change::Nothing, |peer| {
            change(peer);
            Change::Row
        })
    }

    pub(super) fn say(&mut self, kind: Kind, at: Moment, message: String) {
        let state = self.state;
        self.notices.push(Notice {
            at,
            kind,
            message,
            state,
        });
    }
}

impl Change {
    fn then_say(self, lease: &mut Lease, kind: Kind, now: Moment, message: String) -> Self {
        if self == Self::Row {
            lease.say(kind, now, message);
        }
        self
    }
}
