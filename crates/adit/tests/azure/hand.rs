//! A place, its steps taken by hand: without a launcher's waits between them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use launch::node::{Answer, Question, Report, WantedPeer};
use launch::order::Order;
use launch::place::{Creation, Fault, FaultKind, Job, Place, Removal};
use launch::{LeaseId, Moment};
use wg::PrivateKey;

use crate::cloud::{INSTANCE, SOON};

/// The longest that is waited between two steps.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the gateways of these tests live.
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);

/// A place, and a lease there.
#[derive(Debug)]
pub(crate) struct Hand {
    pub(crate) place: Arc<dyn Place>,
    pub(crate) job: Job,
}

impl Hand {
    /// A lease of an instance, with a client; no two have the same number.
    pub(crate) fn of(place: Arc<dyn Place>, instance: &str, number: u8) -> Self {
        let id = LeaseId::new(Moment::from_system(SystemTime::now()), u128::from(number) << 90 | 7);
        let order = Order::plain(place.describe().name, LIFETIME.as_secs());
        let peers = vec![WantedPeer {
            name: "phone".to_owned(),
            public_key: Some(PrivateKey::from_random([7; 32]).public_key()),
        }];
        let job = Job {
            id,
            instance: instance.to_owned(),
            order,
            peers,
            remaining: LIFETIME,
            refs: serde_json::Value::Null,
        };
        Self { place, job }
    }

    pub(crate) fn new(place: Arc<dyn Place>) -> Self {
        Self::of(place, INSTANCE, 1)
    }

    /// Has it made; the first fault that is no delay ends that.
    pub(crate) async fn make(&mut self) -> Result<(), Fault> {
        let begun = Instant::now();
        loop {
            match self.place.create(&self.job).await? {
                Creation::Made { refs } => {
                    self.job.refs = refs;
                    return Ok(());
                }
                Creation::Pending { refs, after, doing } => {
                    assert!(begun.elapsed() < SOON, "it is never made: {doing}: {refs}");
                    self.job.refs = refs;
                    tokio::time::sleep(after.min(PAUSE)).await;
                }
            }
        }
    }

    /// Asks the gateway until it answers.
    pub(crate) async fn ask(&self, question: &Question) -> Result<Report, Fault> {
        let begun = Instant::now();
        loop {
            match self.place.ask(&self.job, question).await {
                Ok(reached) => match reached.answer {
                    Answer::Report(report) => return Ok(report),
                    other @ (Answer::Configuration { .. } | Answer::Ending {} | Answer::Refused { .. }) => {
                        panic!("{question:?}: {other:?}")
                    }
                },
                Err(fault) if fault.kind == FaultKind::NotYet && begun.elapsed() < SOON => {
                    tokio::time::sleep(PAUSE).await
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Tells the gateway what is wanted, as a launcher does.
    pub(crate) async fn bring(&self) -> Result<Report, Fault> {
        let question = Question::Bring {
            peers: self.job.peers.clone(),
            remaining_secs: LIFETIME.as_secs(),
        };
        self.ask(&question).await
    }

    /// Removes it; the first fault ends that.
    pub(crate) async fn remove(&mut self) -> Result<(), Fault> {
        let begun = Instant::now();
        loop {
            match self.place.remove(&self.job).await? {
                Removal::Gone => return Ok(()),
                Removal::Pending { refs, after } => {
                    assert!(begun.elapsed() < SOON, "it is never removed: {refs}");
                    self.job.refs = refs;
                    tokio::time::sleep(after.min(PAUSE)).await;
                }
            }
        }
    }

    /// Removes it however often that fails; how often it did.
    pub(crate) async fn remove_whatever(&mut self) -> usize {
        let mut failed = 0;
        while let Err(fault) = self.remove().await {
            failed += 1;
            assert!(failed < 50, "it cannot be removed: {fault:?}");
        }
        failed
    }
}
