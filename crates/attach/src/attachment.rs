//! The life of one container's tunnel: asked for, placed, watched, mended.
//!
//! Pure: reads no clock and opens no socket. The caller passes `now`, carries out every [`Action`] that
//! [`Attachment::poll_action`] returns, tells how each ended, and calls [`Attachment::handle_timeout`] once
//! [`Attachment::poll_timeout`] falls due. The container is closed before, between and after tunnels: that is the guard's
//! work, which does not depend on anything here.
//!
//! ```text
//!            ┌───────────── retry, backed off ────────────┐
//!            ▼                                            │
//!   new ─▶ Asking ─▶ Placing ─▶ Up ── no answer ─▶ Asking again: another key, then another server
//! ```

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    Offer,
    provider::{Forwarded, ProviderError},
};

/// How long a tunnel that was just placed may be without a handshake. PIA's own client gives it as long.
const FIRST_HANDSHAKE: Duration = Duration::from_secs(10);

/// A session ends at this age: *WireGuard whitepaper 6.1*, REJECT_AFTER_TIME.
const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);

/// How long a tunnel may send without hearing anything, before it is probed. A handshake is tried every 5 seconds.
const SILENCE: Duration = Duration::from_secs(15);

/// How often a tunnel is looked at until it has its first handshake.
const EARLY_INTERVAL: Duration = Duration::from_secs(1);

/// How often a tunnel is looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// How often a forwarded port is bound anew, and how soon after a failure.
const FORWARD_INTERVAL: Duration = Duration::from_secs(15 * 60);
const FORWARD_RETRY: Duration = Duration::from_secs(60);

/// The first wait after a failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How soon a probe that failed is tried again while the handshake says that the tunnel is up.
const PROBE_RETRY: Duration = Duration::from_secs(30);

/// How long it is waited before a refusal is questioned: only a person mends it.
const REFUSAL_WAIT: Duration = Duration::from_secs(30);

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the provider for a tunnel, and call [`Attachment::handle_offer`].
    Ask {
        /// Servers that failed.
        avoid: BTreeSet<String>,
        /// The tunnel that is to get another key, if there is one.
        again: Option<Offer>,
    },
    /// Set this up inside the container, whatever is there, and call [`Attachment::handle_placed`].
    Place(Offer),
    /// Look at the tunnel, and call [`Attachment::handle_sample`].
    Look,
    /// Try whether anything answers through the tunnel, and call [`Attachment::handle_probe`].
    Probe,
    /// Bind the forwarded port, and call [`Attachment::handle_forwarded`].
    Forward,
}

/// A tunnel as it is at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// How long ago the last handshake was; `None` is never.
    pub handshake_age: Option<Duration>,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}

/// How a container's tunnel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The provider is asked.
    Asking,
    /// It is being set up.
    Placing,
    /// It is set up; there was no handshake yet.
    Handshaking,
    /// The other end answers, as far as is known.
    Up,
    /// The other end does not answer, and is being tried.
    Silent,
    /// Something failed; it is tried again later. The container is closed, or has its old tunnel.
    Failed,
}

/// One container's tunnel.
#[derive(Debug)]
pub struct Attachment {
    phase: Phase,
    wants_port: bool,
    /// What is set up, or about to be.
    offer: Option<Offer>,
    /// Since when it is set up.
    placed: Option<Instant>,
    /// Failures since the last time that the tunnel was up.
    failures: u32,
    /// Whether the tunnel got another key since it was up last.
    rekeyed: bool,
    avoid: BTreeSet<String>,
    /// The last that was seen.
    sample: Option<Sample>,
    /// When something was received last, as far as was looked, and when something was sent without an answer.
    unanswered_since: Option<Instant>,
    next_look: Option<Instant>,
    next_probe: Option<Instant>,
    retry: Option<Instant>,
    next_forward: Option<Instant>,
    forwarded: Option<Forwarded>,
    last_error: Option<String>,
    port_error: Option<String>,
    actions: VecDeque<Action>,
}

impl Attachment {
    /// A container without a tunnel: the provider is asked at once.
    pub fn new(wants_port: bool) -> Self {
        let mut attachment = Self {
            phase: Phase::Asking,
            wants_port,
            offer: None,
            placed: None,
            failures: 0,
            rekeyed: false,
            avoid: BTreeSet::new(),
            sample: None,
            unanswered_since: None,
            next_look: None,
            next_probe: None,
            retry: None,
            next_forward: None,
            forwarded: None,
            last_error: None,
            port_error: None,
            actions: VecDeque::new(),
        };
        attachment.ask(None);
        attachment
    }

    /// A container whose provider was asked before it was known: the tunnel is set up at once.
    pub fn offered(offer: Offer, wants_port: bool, now: Instant) -> Self {
        let mut attachment = Self::new(wants_port);
        attachment.actions.clear();
        attachment.handle_offer(Ok(offer), now);
        attachment
    }

    /// A container that has its tunnel from before: it is tried at once, and nothing is changed.
    pub fn adopted(offer: Offer, wants_port: bool, now: Instant) -> Self {
        let mut attachment = Self::new(wants_port);
        attachment.actions.clear();
        attachment.offer = Some(offer);
        attachment.set_up(now);
        attachment.actions.push_back(Action::Probe);
        attachment
    }

    /// How it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the tunnel is set up.
    pub fn is_placed(&self) -> bool {
        self.placed.is_some()
    }

    /// The tunnel that is set up, or about to be.
    pub fn offer(&self) -> Option<&Offer> {
        self.offer.as_ref()
    }

    /// What was seen of it last.
    pub fn sample(&self) -> Option<Sample> {
        self.sample
    }

    /// The port that is forwarded.
    pub fn forwarded(&self) -> Option<Forwarded> {
        self.forwarded
    }

    /// What failed last, if it has not been mended.
    pub fn error(&self) -> Option<&str> {
        self.last_error.as_deref().or(self.port_error.as_deref())
    }

    /// Takes what the provider said.
    pub fn handle_offer(&mut self, result: Result<Offer, ProviderError>, now: Instant) {
        match result {
            Ok(offer) => {
                self.phase = Phase::Placing;
                self.offer = Some(offer.clone());
                self.actions.push_back(Action::Place(offer));
            }
            Err(ProviderError::Refused(error)) => self.fail(error, REFUSAL_WAIT, now),
            Err(ProviderError::Unavailable(error)) => {
                let wait = self.wait();
                self.fail(error, wait, now);
            }
        }
    }

    /// Takes whether the tunnel is set up.
    pub fn handle_placed(&mut self, result: Result<(), String>, now: Instant) {
        match result {
            Ok(()) => {
                self.set_up(now);
                // What goes through it makes the handshake.
                self.actions.push_back(Action::Probe);
            }
            Err(error) => {
                let wait = self.wait();
                self.fail(error, wait, now);
            }
        }
    }

    /// Takes how the tunnel is, or why it is no more.
    pub fn handle_sample(&mut self, result: Result<Sample, String>, now: Instant) {
        let Some(placed) = self.placed else { return };
        let sample = match result {
            Ok(sample) => sample,
            Err(error) => {
                // It is set up anew as it was, key and all.
                self.placed = None;
                self.last_error = Some(error);
                match self.offer.clone() {
                    Some(offer) => self.handle_offer(Ok(offer), now),
                    None => self.ask(None),
                }
                return;
            }
        };
        let before = self.sample.replace(sample).unwrap_or_default();
        let (heard, spoke) = (sample.received > before.received, sample.sent > before.sent);
        if heard {
            self.unanswered_since = None;
        } else if spoke {
            self.unanswered_since.get_or_insert(now);
        }
        let is_fresh = sample.handshake_age.is_some_and(|age| age < REJECT_AFTER_TIME);
        match self.phase {
            Phase::Handshaking if is_fresh => self.up(now),
            Phase::Handshaking if now >= placed + FIRST_HANDSHAKE => {
                self.mend("the server did not answer the handshake within 10 s".to_owned(), now);
            }
            Phase::Up => {
                let silent = self.unanswered_since.is_some_and(|since| now >= since + SILENCE);
                if silent || (!is_fresh && spoke) {
                    self.phase = Phase::Silent;
                    self.actions.push_back(Action::Probe);
                }
            }
            Phase::Silent if heard && is_fresh => self.up(now),
            Phase::Asking | Phase::Placing | Phase::Handshaking | Phase::Silent | Phase::Failed => {}
        }
        if self.placed.is_some() {
            self.next_look = Some(now + self.interval());
        }
    }

    /// Takes whether anything answered.
    pub fn handle_probe(&mut self, result: Result<(), String>, now: Instant) {
        match (self.phase, result) {
            (Phase::Handshaking | Phase::Silent, Ok(())) => self.up(now),
            (Phase::Silent, Err(error)) => {
                let error = format!("the server stopped answering: {error}");
                self.mend(error, now);
            }
            // The first probe may fail by what it asks; the handshake tells.
            (Phase::Handshaking | Phase::Up, Err(error)) => {
                self.last_error = Some(error);
                self.next_probe = Some(now + PROBE_RETRY);
            }
            (Phase::Up, Ok(())) => self.last_error = None,
            (Phase::Asking | Phase::Placing | Phase::Failed, _) => {}
        }
    }

    /// Takes the forwarded port.
    pub fn handle_forwarded(&mut self, result: Result<Forwarded, ProviderError>, now: Instant) {
        let wait = match result {
            Ok(forwarded) => {
                self.forwarded = Some(forwarded);
                self.port_error = None;
                FORWARD_INTERVAL
            }
            Err(error) => {
                self.port_error = Some(format!("port forwarding: {error}"));
                FORWARD_RETRY
            }
        };
        self.next_forward = Some(now + wait);
    }

    /// When [`Self::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.next_look, self.retry, self.next_forward]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let is_due = |due: &mut Option<Instant>| due.take_if(|due| *due <= now).is_some();
        if is_due(&mut self.next_look) {
            self.actions.push_back(Action::Look);
        }
        if is_due(&mut self.next_probe) {
            self.actions.push_back(Action::Probe);
        }
        if is_due(&mut self.next_forward) {
            self.actions.push_back(Action::Forward);
        }
        if is_due(&mut self.retry) {
            self.ask(self.offer.clone());
        }
    }

    /// The next thing to do; `None` if there is nothing.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn ask(&mut self, again: Option<Offer>) {
        self.phase = Phase::Asking;
        self.retry = None;
        let avoid = self.avoid.clone();
        self.actions.push_back(Action::Ask { avoid, again });
    }

    fn set_up(&mut self, now: Instant) {
        self.phase = Phase::Handshaking;
        self.placed = Some(now);
        self.sample = None;
        self.unanswered_since = None;
        self.next_look = Some(now + EARLY_INTERVAL);
    }

    fn up(&mut self, now: Instant) {
        self.phase = Phase::Up;
        self.failures = 0;
        self.rekeyed = false;
        self.avoid.clear();
        self.unanswered_since = None;
        self.last_error = None;
        if self.wants_port && self.next_forward.is_none() {
            self.next_forward = Some(now);
        }
    }

    /// Gives the tunnel another key, and if that was done already, another server. The first is tried at once.
    fn mend(&mut self, error: String, now: Instant) {
        let offer = self.offer.clone();
        if self.rekeyed
            && let Some(offer) = &offer
        {
            self.avoid.insert(offer.server.clone());
        }
        let is_first = !self.rekeyed;
        self.rekeyed = true;
        self.placed = None;
        self.next_look = None;
        self.next_probe = None;
        self.next_forward = None;
        if is_first {
            self.last_error = Some(error);
            self.ask(offer);
        } else {
            let wait = self.wait();
            self.fail(error, wait, now);
        }
    }

    fn fail(&mut self, error: String, wait: Duration, now: Instant) {
        self.phase = Phase::Failed;
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(error);
        self.next_look = None;
        self.retry = Some(now + wait);
    }

    fn wait(&self) -> Duration {
        (FIRST_WAIT * 2_u32.saturating_pow(self.failures.min(16))).min(LONGEST_WAIT)
    }

    fn interval(&self) -> Duration {
        match self.phase {
            Phase::Handshaking | Phase::Silent => EARLY_INTERVAL,
            Phase::Asking | Phase::Placing | Phase::Up | Phase::Failed => INTERVAL,
        }
    }
}

#[cfg(test)]
mod tests;
