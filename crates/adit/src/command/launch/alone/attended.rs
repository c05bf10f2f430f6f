//! The row of a lease whose gateway lives in the launching process and ends with it.
//!
//! It is kept before each step, as those of other places are: before the gateway is opened, and before it is closed.

use std::{net::IpAddr, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use gateway::server::PeerState;
use ipnet::IpNet;
use launch::{
    Clock, Lease, LeaseId, Moment,
    lease::{Action, Change, Event, Outcome, What},
    node::{Answer, PeerReport, Report},
    order::{Keys, Order, PeerRequest},
    place::{Creation, Description, Fault, FaultKind, Job, Place, Reached, Removal},
    policy::Policy,
    store::{NewLease, Store as _},
};
use serde_json::Value;

use super::{Book, Desk, Hold, OWNER};

/// The place of gateways that live in the launching process.
pub(crate) const PLACE: &str = "local";

/// A gateway that is there, as others are to see it.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) public_key: wg::PublicKey,
    pub(crate) endpoint: String,
    pub(crate) listen_port: u16,
    pub(crate) plane: String,
    pub(crate) addresses: Vec<IpNet>,
}

/// A gateway that is to be.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The port that it listens on; `None` is one that is free.
    pub(crate) port: Option<u16>,
    /// What clients are told: `None` is the gateway itself, and its own size of packets.
    pub(crate) dns: Option<Vec<String>>,
    pub(crate) allowed_ips: Vec<IpNet>,
    pub(crate) mtu: Option<u16>,
    pub(crate) peers: Vec<Member>,
}

/// A peer of the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) public_key: wg::PublicKey,
    pub(crate) addresses: Vec<IpAddr>,
}

/// The row of a lease that this process attends to.
#[derive(Debug)]
pub(crate) struct Attended {
    book: Book,
    lease: Lease,
    members: Vec<Member>,
    /// Once the gateway is there.
    facts: Option<Facts>,
    /// The step that is under way: the gateway is opened, or closed.
    under_way: Option<u64>,
    clock: Clock,
    desk: Option<Desk>,
    _hold: Option<Hold>,
}

impl Attended {
    /// Keeps the row of a gateway that is about to be opened.
    pub(crate) fn begin(book: Book, lifetime: Duration, wanted: Wanted) -> anyhow::Result<Self> {
        let clock = Clock::system();
        let now = clock.now();
        let mut random = [0; 16];
        getrandom::fill(&mut random).context("cannot read this system's random source")?;
        let order = Order {
            place: PLACE.to_owned(),
            region: None,
            size: None,
            lifetime_secs: lifetime.as_secs(),
            idle_end_secs: None,
            keys: Keys::Client,
            port: wanted.port,
            dns: wanted.dns,
            allowed_ips: wanted.allowed_ips,
            mtu: wanted.mtu,
            ssh_key: None,
        };
        let peers: Vec<PeerRequest> = wanted
            .peers
            .iter()
            .map(|member| PeerRequest {
                name: member.name.clone(),
                public_key: Some(member.public_key),
            })
            .collect();
        let id = LeaseId::new(now, u128::from_ne_bytes(random));
        let mut lease = Lease::new(id, OWNER, order, &peers, false, now);
        lease.announce(now);
        let hold = book.hold(id)?;
        let notices = lease.take_notices();
        let new = NewLease {
            lease: &lease,
            notices: &notices,
            key: None,
            policy: &Policy::own(),
        };
        book.database.insert(&new, now)?;
        let mut attended = Self {
            book,
            lease,
            members: wanted.peers,
            facts: None,
            under_way: None,
            clock,
            desk: None,
            _hold: hold,
        };
        attended.step(now)?;
        Ok(attended)
    }

    /// The gateway is there.
    pub(crate) fn made(&mut self, facts: Facts) {
        self.lease.order.port = Some(facts.listen_port);
        self.facts = Some(facts);
        self.done(Outcome::Created(Ok(Creation::Made { refs: Value::Null })));
        self.go_on(&[]);
        // The gateway goes on without its row; the next change keeps all of it.
        let _later = self.keep();
        self.desk = Desk::open(&self.book.socket(self.lease.id)).ok();
    }

    /// The gateway cannot be opened.
    pub(crate) fn fail(mut self, error: &anyhow::Error) {
        let fault = Fault::new(FaultKind::Refused, "start_failed", format!("{error:#}"));
        self.done(Outcome::Created(Err(fault)));
        let now = self.clock.now();
        // Nobody could see it: there is nothing to be removed.
        if self.step(now).is_ok() {
            self.finish();
        }
    }

    /// The lease as it is.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Where the row is.
    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    /// Where others ask.
    pub(crate) fn desk(&self) -> Option<&Desk> {
        self.desk.as_ref()
    }

    /// Lets the row live longer.
    pub(crate) fn extend(&mut self, by: Duration) -> anyhow::Result<()> {
        let before = self.lease.clone();
        let now = self.clock.now();
        self.lease.handle(Event::Extend(by), now);
        self.keep().inspect_err(|_| self.lease = before)
    }

    /// Keeps what was changed of the peers at the gateway, which now has these.
    pub(crate) fn change(&mut self, event: Event, members: Vec<Member>, peers: &[PeerState]) -> anyhow::Result<()> {
        let before = (self.lease.clone(), self.members.clone());
        let now = self.clock.now();
        self.members = members;
        self.lease.handle(event, now);
        self.go_on(peers);
        self.keep().inspect_err(|_| (self.lease, self.members) = before)
    }

    /// The peers of the gateway.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Takes note of how the peers are.
    pub(crate) fn learn(&mut self, peers: &[PeerState]) {
        if self.go_on(peers) == Change::Row {
            // The gateway goes on without its row; the next change keeps all of it.
            let _later = self.keep();
        }
    }

    /// The gateway is about to be closed: its time is over, or somebody ends it.
    pub(crate) fn end(&mut self, is_over: bool) {
        let mut now = self.clock.now();
        if is_over {
            // The two clocks are not the same to the millisecond.
            now = now.max(self.lease.ends_at);
        } else {
            self.lease.handle(Event::End, now);
        }
        // It is closed all the same.
        let _unseen = self.step(now);
    }

    /// The gateway is gone.
    pub(crate) fn finish(mut self) {
        self.done(Outcome::Removed(Ok(Removal::Gone)));
        let _unseen = self.keep();
    }

    /// Keeps the step that is due, before it is taken.
    fn step(&mut self, now: Moment) -> anyhow::Result<()> {
        self.under_way = self.lease.step(now).map(|action| action.attempt);
        self.keep()
    }

    /// What came of the step that is under way.
    fn done(&mut self, outcome: Outcome) {
        if let Some(attempt) = self.under_way.take() {
            let now = self.clock.now();
            self.lease.handle(Event::Done { attempt, outcome }, now);
        }
    }

    /// Asks the gateway how it is, if that is due.
    fn go_on(&mut self, peers: &[PeerState]) -> Change {
        let now = self.clock.now();
        if !peers.is_empty() {
            self.lease.hasten(now);
        }
        // What ends it is up to the process, whose gateway it is.
        if now >= self.lease.ends_at {
            return Change::Nothing;
        }
        let Some(report) = self.report(peers) else {
            return Change::Nothing;
        };
        match self.lease.step(now) {
            Some(Action {
                attempt,
                what: What::Ask(_),
                ..
            }) => {
                let outcome = Outcome::Asked(Ok(report));
                self.lease.handle(Event::Done { attempt, outcome }, now)
            }
            Some(_) | None => Change::Nothing,
        }
    }

    /// What the gateway answers, once it is there.
    fn report(&self, peers: &[PeerState]) -> Option<Reached> {
        let facts = self.facts.as_ref()?;
        let report = |member: &Member| {
            let state = peers.iter().find(|peer| peer.name.as_str() == member.name);
            PeerReport {
                name: member.name.clone(),
                public_key: Some(member.public_key),
                addresses: member.addresses.clone(),
                endpoint: state.and_then(|peer| peer.endpoint),
                latest_handshake: state.and_then(|peer| peer.latest_handshake).map(Moment::from_system),
                received_bytes: state.map_or(0, |peer| peer.received_bytes),
                sent_bytes: state.map_or(0, |peer| peer.sent_bytes),
            }
        };
        let report = Report {
            public_key: facts.public_key,
            listen_port: facts.listen_port,
            plane: facts.plane.clone(),
            addresses: facts.addresses.clone(),
            remaining_secs: self.lease.remaining(self.clock.now()).as_secs(),
            peers: self.members.iter().map(report).collect(),
        };
        Some(Reached {
            endpoint: facts.endpoint.clone(),
            answer: Answer::Report(report),
        })
    }

    fn keep(&mut self) -> anyhow::Result<()> {
        let mut lease = self.lease.clone();
        let notices = lease.take_notices();
        self.book.database.update(&mut lease, &notices)?;
        self.lease = lease;
        Ok(())
    }
}

/// The place of gateways whose launching process is gone: they went with it, but for what the kernel goes on with.
#[derive(Debug)]
pub(crate) struct Gone;

#[async_trait]
impl Place for Gone {
    fn describe(&self) -> Description {
        Description {
            name: PLACE.to_owned(),
            title: "this machine, in the launching process".to_owned(),
            usual_secs: 1,
            takes_public_keys: true,
            ..Description::default()
        }
    }

    /// Of a lease whose process was killed before its gateway was there.
    async fn create(&self, _job: &Job) -> Result<Creation, Fault> {
        Err(Fault {
            kind: FaultKind::Refused,
            ..gone()
        })
    }

    async fn ask(&self, _job: &Job, _question: &launch::node::Question) -> Result<Reached, Fault> {
        Err(gone())
    }

    /// A process on the kernel plane that was killed leaves its interface, which serves clients, and its rules.
    async fn remove(&self, _job: &Job) -> Result<Removal, Fault> {
        let cleared = tokio::task::spawn_blocking(clear).await;
        match cleared.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(()) => Ok(Removal::Gone),
            Err(message) => Err(Fault::new(FaultKind::Unclear, "not_cleared", message)),
        }
    }

    async fn list(&self, _instance: &str) -> Result<Vec<LeaseId>, Fault> {
        Ok(Vec::new())
    }
}

/// Removes what killed processes left in this network namespace. What a living one has is left alone: it holds the name of
/// its interface, and rules go only if their interface has gone.
fn clear() -> Result<(), String> {
    // Interfaces first: rules are left only if theirs is gone.
    tunnel::clear_leftovers().map_err(|error| error.to_string())?;
    gateway::firewall::clear().map_err(|error| error.to_string())
}

fn gone() -> Fault {
    Fault::new(
        FaultKind::Gone,
        "launcher_gone",
        "the process that launched it has ended, and its gateway with it",
    )
}
