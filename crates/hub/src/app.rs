//! What every handler shares.

use launch::Launcher;
use tokio::sync::{Mutex, watch};

use crate::{
    Config, api::Streams, audit::Audit, metrics::Metrics, monitor::Monitor, rates::Rates, server::UnderWay,
    sign_in::SignIn,
};

/// The parts of a hub. Handlers get it as `State<Arc<App>>`.
#[derive(Debug)]
pub struct App {
    /// How it is set up.
    pub config: Config,
    /// The leases.
    pub launcher: Launcher,
    /// Who may come in.
    pub sign_in: SignIn,
    /// Who did what.
    pub audit: Audit,
    /// What is counted.
    pub meters: Metrics,
    /// Where custom metrics go; `None` is nowhere.
    pub monitor: Option<Monitor>,
    /// How often somebody may ask.
    pub rates: Rates,
    /// Who follows events.
    pub(crate) streams: Streams,
    /// What is carried out.
    pub(crate) under_way: UnderWay,
    /// Held while `StartVPN` looks for a lease or makes one.
    pub(crate) aliases: Mutex<()>,
    /// Becomes true when the hub is about to end.
    pub(crate) stopping: watch::Sender<bool>,
}

impl App {
    /// A hub of these parts.
    pub fn new(config: Config, launcher: Launcher, sign_in: SignIn, audit: Audit) -> Self {
        Self {
            rates: Rates::new(&config.rates),
            streams: Streams::new(config.limits.streams_per_user),
            meters: Metrics::default(),
            monitor: None,
            under_way: UnderWay::default(),
            aliases: Mutex::new(()),
            stopping: watch::Sender::new(false),
            config,
            launcher,
            sign_in,
            audit,
        }
    }

    /// The same, sending custom metrics.
    #[must_use]
    pub fn with_monitor(self, monitor: Option<Monitor>) -> Self {
        Self { monitor, ..self }
    }
}
