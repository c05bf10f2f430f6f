//! Custom metrics for Azure Monitor, once a minute.
//!
//! ```text
//!   meters ──every minute──▶ points (pure) ──bounded queue──▶ one at a time to Azure
//! ```
//!
//! Nothing waits for Azure: what it does not take while the queue has room, or within the time for which it takes the past, is
//! counted and dropped.

mod send;
mod series;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use azure::Arm;
use reqwest::Url;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use self::{
    send::{Pace, Sender},
    series::{METRICS, Point, Reading},
};
use crate::{App, config::AzureMonitor};

/// How often metrics are sent: Azure keeps them by the minute.
const EVERY: Duration = Duration::from_secs(60);

/// Points that wait to be sent: what is not too old for Azure.
const WAITING: usize = METRICS.len() * 20;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Where a hub's custom metrics go.
#[derive(Clone, Debug)]
pub struct Monitor {
    arm: Arm,
    url: Url,
    resource: String,
}

/// Why there is nowhere to send them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("azure_monitor: {0} is no address that metrics could be sent to")]
pub struct MonitorError(String);

impl Monitor {
    /// Sends by this client's credential, to its cloud.
    ///
    /// # Errors
    ///
    /// If the region's address cannot be made.
    pub fn new(config: &AzureMonitor, arm: &Arm) -> Result<Self, MonitorError> {
        let mut url = match &config.endpoint {
            Some(endpoint) => Url::parse(endpoint).map_err(|_| MonitorError(endpoint.clone()))?,
            None => arm
                .cloud()
                .metrics(&config.region)
                .ok_or_else(|| MonitorError(config.region.clone()))?,
        };
        url.set_path(&format!("{}/metrics", config.resource.path().as_str()));
        Ok(Self {
            // What to do after an answer is decided here, point by point.
            arm: arm.clone().with_patience(Duration::ZERO).with_limit(LIMIT),
            url,
            resource: config.resource.to_string(),
        })
    }
}

/// Reads and sends for ever. Returns at once if nothing is to be sent.
pub(crate) async fn keep(app: Arc<App>) {
    keep_at(app, EVERY, Pace::default()).await;
}

async fn keep_at(app: Arc<App>, every: Duration, pace: Pace) {
    let Some(monitor) = app.monitor.clone() else { return };
    let (queue, waiting) = mpsc::channel(WAITING);
    let sender = Sender::new(monitor, waiting, pace);
    tokio::join!(read(app, queue, every), sender.run());
}

/// Puts what has happened into the queue, first at once: whether Azure takes it shows when the hub starts.
async fn read(app: Arc<App>, queue: mpsc::Sender<Point>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut before = Reading::default();
    loop {
        ticks.tick().await;
        let now = Reading::new(
            app.launcher.places().iter().map(|place| place.name.as_str()),
            &app.launcher.running(),
            &app.launcher.meters(),
            app.launcher.now(),
        );
        for point in series::points(&before, &now) {
            if let Err(mpsc::error::TrySendError::Closed(_)) = queue.try_send(point) {
                return;
            }
        }
        before = now;
    }
}
