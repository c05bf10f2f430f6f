//! The row of a lease whose gateway lives in the launching process and ends with it.
//!
//! The row is for others to see; it makes nothing that could be left behind. So it is kept when the gateway is there, and not
//! before each step, as those of other places are.

use std::{net::IpAddr, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use gateway::server::PeerState;
use ipnet::IpNet;
use launch::{
    Clock, Lease, LeaseId, Moment,
    lease::{Change, Event, Outcome, What},
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

/// A gateway as others are to see it.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) public_key: wg::PublicKey,
    pub(crate) endpoint: String,
    pub(crate) listen_port: u16,
    pub(crate) plane: String,
    pub(crate) addresses: Vec<IpNet>,
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
    facts: Facts,
    clock: Clock,
    desk: Option<Desk>,
    _hold: Option<Hold>,
}

impl Attended {
    /// Keeps the row of a gateway that is there.
    pub(crate) fn begin(book: Book, lifetime: Duration, facts: Facts) -> anyhow::Result<Self> {
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
            port: Some(facts.listen_port),
            dns: facts.dns.clone(),
            allowed_ips: facts.allowed_ips.clone(),
            mtu: facts.mtu,
        };
        let peers: Vec<PeerRequest> = facts
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
        let desk = Desk::open(&book.socket(id)).ok();
        let mut attended = Self {
            book,
            lease,
            facts,
            clock,
            desk,
            _hold: hold,
        };
        attended.go_on(&[]);
        let notices = attended.lease.take_notices();
        let new = NewLease {
            lease: &attended.lease,
            notices: &notices,
            key: None,
            policy: &Policy::own(),
        };
        attended.book.database.insert(&new, now)?;
        Ok(attended)
    }

    /// The lease as it is.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
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
        let before = (self.lease.clone(), self.facts.peers.clone());
        let now = self.clock.now();
        self.facts.peers = members;
        self.lease.handle(event, now);
        self.go_on(peers);
        self.keep().inspect_err(|_| (self.lease, self.facts.peers) = before)
    }

    /// The peers of the gateway.
    pub(crate) fn members(&self) -> &[Member] {
        &self.facts.peers
    }

    /// Takes note of how the peers are.
    pub(crate) fn learn(&mut self, peers: &[PeerState]) {
        if self.go_on(peers) == Change::Row {
            // The gateway goes on without its row; the next change keeps all of it.
            let _later = self.keep();
        }
    }

    /// The gateway is gone.
    pub(crate) fn finish(mut self) {
        let now = self.clock.now();
        if now < self.lease.ends_at {
            self.lease.handle(Event::End, now);
        }
        self.go_on(&[]);
        let _unseen = self.keep();
    }

    /// Takes the steps that are due, all of which this process is the place of.
    fn go_on(&mut self, peers: &[PeerState]) -> Change {
        let mut change = Change::Nothing;
        loop {
            let now = self.clock.now();
            if !peers.is_empty() {
                self.lease.hasten(now);
            }
            let Some(action) = self.lease.step(now) else {
                return change;
            };
            let outcome = match action.what {
                What::Create => Outcome::Created(Ok(Creation::Made { refs: Value::Null })),
                What::Remove => Outcome::Removed(Ok(Removal::Gone)),
                What::Ask(_) => Outcome::Asked(Ok(Reached {
                    endpoint: self.facts.endpoint.clone(),
                    answer: Answer::Report(self.report(peers)),
                })),
            };
            let is_look = matches!(outcome, Outcome::Asked(_));
            let attempt = action.attempt;
            change = change.max(self.lease.handle(Event::Done { attempt, outcome }, now));
            if is_look {
                return change;
            }
        }
    }

    fn report(&self, peers: &[PeerState]) -> Report {
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
        Report {
            public_key: self.facts.public_key,
            listen_port: self.facts.listen_port,
            plane: self.facts.plane.clone(),
            addresses: self.facts.addresses.clone(),
            remaining_secs: self.lease.remaining(self.clock.now()).as_secs(),
            peers: self.facts.peers.iter().map(report).collect(),
        }
    }

    fn keep(&mut self) -> anyhow::Result<()> {
        let mut lease = self.lease.clone();
        let notices = lease.take_notices();
        self.book.database.update(&mut lease, &notices)?;
        self.lease = lease;
        Ok(())
    }
}

/// The place of gateways whose launching process is gone: they went with it.
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

    async fn create(&self, _job: &Job) -> Result<Creation, Fault> {
        Err(gone())
    }

    async fn ask(&self, _job: &Job, _question: &launch::node::Question) -> Result<Reached, Fault> {
        Err(gone())
    }

    async fn remove(&self, _job: &Job) -> Result<Removal, Fault> {
        Ok(Removal::Gone)
    }

    async fn list(&self, _instance: &str) -> Result<Vec<LeaseId>, Fault> {
        Ok(Vec::new())
    }
}

fn gone() -> Fault {
    Fault::new(
        FaultKind::Gone,
        "launcher_gone",
        "the process that launched it has ended, and its gateway with it",
    )
}
