//! How a launcher is set up.

use std::{collections::BTreeMap, time::Duration};

use crate::{Clock, LeaseId, order::Profile, policy::Policy};

/// How a launcher is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The tag by which its gateways are known at their places: another launcher has another one.
    pub instance: String,
    /// What may be asked for.
    pub policy: Policy,
    /// Sets of options by name.
    pub profiles: BTreeMap<String, Profile>,
    /// How often places are looked at for what no lease knows; `None` is never.
    pub sweep_every: Option<Duration>,
    /// Which unfinished leases of the store it drives from the start.
    pub adopt: Adopt,
    /// The time.
    pub clock: Clock,
}

impl Config {
    /// A launcher that drives everything in its store.
    pub fn new(instance: impl Into<String>) -> Self {
        Self {
            instance: instance.into(),
            policy: Policy::default(),
            profiles: BTreeMap::new(),
            sweep_every: Some(Duration::from_secs(60)),
            adopt: Adopt::All,
            clock: Clock::system(),
        }
    }
}

/// Which unfinished leases a launcher drives from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adopt {
    /// Every one: the store is its own.
    All,
    /// These.
    Only(Vec<LeaseId>),
}
