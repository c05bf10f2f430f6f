//! Where gateways run.
//!
//! A place carries out single steps and decides nothing. Every step may be taken twice: names and tags follow from the
//! lease's id, so that a repeated step is the same step.

pub mod azure;
pub mod docker;
pub mod local;
pub mod simulate;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    LeaseId,
    node::{Answer, Question, WantedPeer},
    order::Order,
};

/// A place.
#[async_trait]
pub trait Place: std::fmt::Debug + Send + Sync + 'static {
    /// What it offers.
    fn describe(&self) -> Description;

    /// Begins or goes on to make a gateway. Finds what a step before has made already.
    async fn create(&self, job: &Job) -> Result<Creation, Fault>;

    /// Asks the gateway.
    async fn ask(&self, job: &Job, question: &Question) -> Result<Reached, Fault>;

    /// Begins or goes on to remove everything of the lease. What is not there is removed.
    async fn remove(&self, job: &Job) -> Result<Removal, Fault>;

    /// Everything at the place that carries the tag of `instance`, whether anybody knows of it or not.
    async fn list(&self, instance: &str) -> Result<Vec<LeaseId>, Fault>;
}

/// What a place offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Its name: `local`, `docker`.
    pub name: String,
    /// What it is, for people, in a line.
    pub title: String,
    /// Regions, the default first; none if there is no choice.
    pub regions: Vec<String>,
    /// Sizes of machines, the default first; none if there is no choice.
    pub sizes: Vec<String>,
    /// How long it takes until a gateway is ready there, in seconds, as people see it.
    pub usual_secs: u64,
    /// Whether clients may bring their public keys.
    pub takes_public_keys: bool,
    /// Whether what it hands out is only a sample.
    pub is_sample: bool,
    /// UDP ports that clients cannot connect to there, first and last of each range.
    pub reserved_ports: Vec<(u16, u16)>,
    /// Whether somebody who gives an SSH key may log in to the machine of the gateway.
    #[serde(default)]
    pub offers_ssh: bool,
}

impl Description {
    pub(crate) fn check_port(&self, port: Option<u16>) -> Result<(), String> {
        let Some(port) = port else { return Ok(()) };
        if port == 0 {
            return Err("must be between 1 and 65535; leave it out for a free one".to_owned());
        }
        match self
            .reserved_ports
            .iter()
            .find(|(first, last)| (*first..=*last).contains(&port))
        {
            None => Ok(()),
            Some((first, last)) => Err(format!(
                "the place `{}` reserves {first} to {last}; choose another",
                self.name
            )),
        }
    }
}

/// What a place is told of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The lease.
    pub id: LeaseId,
    /// Whose launcher it is: the tag by which a sweep finds what is left.
    pub instance: String,
    /// What the lease is to be.
    pub order: Order,
    /// Who may connect, as it is wanted at this moment: some places have to know before the gateway answers.
    pub peers: Vec<WantedPeer>,
    /// How long the gateway may live from this moment on, should nobody say more: its own clock, and the place's limit.
    pub remaining: Duration,
    /// What the place noted in the step before.
    pub refs: Value,
}

/// How far the making of a gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// All is ordered and there; the gateway may still be starting.
    Made {
        /// For the steps that follow.
        refs: Value,
    },
    /// The place works on it.
    Pending {
        /// For the steps that follow.
        refs: Value,
        /// When to ask again.
        after: Duration,
        /// What it does, for people.
        doing: String,
    },
}

/// A gateway's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Where clients connect to, `HOST:PORT`.
    pub endpoint: String,
    /// What it said.
    pub answer: Answer,
}

/// How far a removal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Nothing is left.
    Gone,
    /// The place works on it.
    Pending {
        /// For the steps that follow.
        refs: Value,
        /// When to ask again.
        after: Duration,
    },
}

/// Why a step did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What follows from it.
    pub kind: FaultKind,
    /// A stable word for programs, such as `image_missing`.
    pub code: String,
    /// What went wrong. No secret is in it.
    pub message: String,
    /// What a person can do about it; may be empty.
    pub remedy: String,
    /// When to try again at the earliest; `None` leaves it to the caller.
    #[serde(default)]
    pub after: Option<Duration>,
}

/// What follows from a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Not yet: the gateway is starting.
    NotYet,
    /// Whether it worked, or whether the gateway is there, cannot be told now. Try again.
    Unclear,
    /// The gateway is not there any more, and the place is sure of it.
    Gone,
    /// It will not work however often it is tried.
    Refused,
}

impl Fault {
    /// A fault of a kind.
    pub fn new(kind: FaultKind, code: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.to_owned(),
            message: message.into(),
            remedy: String::new(),
            after: None,
        }
    }

    /// The fault with what a person can do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// The fault with a time before which trying again is of no use.
    #[must_use]
    pub fn with_after(mut self, after: Duration) -> Self {
        self.after = Some(after);
        self
    }
}
