//! Sends points, one after the other, again while Azure may still take them.

use std::time::{Duration, SystemTime};

use azure::{ArmError, Kind, cloud::Audience};
use launch::Moment;
use tokio::{sync::mpsc, time::sleep};

use super::{Monitor, series::Point};

/// How old a point may be: Azure takes the past 20 minutes.
const OLDEST: Duration = Duration::from_secs(19 * 60);

/// How long it is waited between attempts where Azure names no time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// After what may pass by itself. It doubles with each.
    pub(super) first: Duration,
    /// At most, and after what somebody has to mend.
    pub(super) longest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(2),
            longest: Duration::from_secs(60),
        }
    }
}

/// What to do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Send it again, after this time.
    Again(Duration),
    /// It is never taken.
    Drop,
}

/// What sends points.
#[derive(Debug)]
pub(super) struct Sender {
    monitor: Monitor,
    waiting: mpsc::Receiver<Point>,
    pace: Pace,
    /// What was last said of it; `None` while points are taken.
    said: Option<String>,
    dropped: u64,
}

impl Sender {
    pub(super) fn new(monitor: Monitor, waiting: mpsc::Receiver<Point>, pace: Pace) -> Self {
        Self {
            monitor,
            waiting,
            pace,
            said: None,
            dropped: 0,
        }
    }

    /// Sends until nobody puts points into the queue any more.
    pub(super) async fn run(mut self) {
        while let Some(point) = self.waiting.recv().await {
            if !self.send(&point).await {
                self.dropped += 1;
            }
        }
    }

    /// Sends a point until it is taken, refused for good, or too old. Says whether it was taken. One whose answer was lost is
    /// sent again: it is rather counted twice than never.
    async fn send(&mut self, point: &Point) -> bool {
        let mut failures = 0;
        while age(point.at) < OLDEST {
            let sent = self
                .monitor
                .arm
                .post(Audience::Monitor, &self.monitor.url, &point.body)
                .await;
            let Err(error) = sent else {
                self.taken();
                return true;
            };
            self.complain(&error);
            match next(&error, self.pace, failures) {
                Next::Again(wait) => sleep(wait).await,
                Next::Drop => return false,
            }
            failures += 1;
        }
        false
    }

    fn taken(&mut self) {
        if self.said.take().is_some() {
            let dropped = std::mem::take(&mut self.dropped);
            tracing::info!(dropped, "azure monitor takes the metrics again");
        }
    }

    /// Says what is wrong: once, until it is something else.
    fn complain(&mut self, error: &ArmError) {
        let what = cause(error);
        if self.said.as_ref() != Some(&what) {
            let remedy = remedy(error, &self.monitor.resource);
            tracing::warn!(%error, remedy, "azure monitor does not take the metrics");
            self.said = Some(what);
        }
    }
}

fn age(at: Moment) -> Duration {
    Moment::from_system(SystemTime::now()).since(at)
}

/// What tells one cause from another, and is the same for each request.
fn cause(error: &ArmError) -> String {
    match error.service() {
        Some(error) => format!("{} {}", error.status, error.code),
        None => error.to_string(),
    }
}

fn next(error: &ArmError, pace: Pace, failures: u32) -> Next {
    let asked = error.service().and_then(|error| error.retry_after);
    if let Some(asked) = asked {
        return Next::Again(asked);
    }
    match (error.kind(), error.service().map(|error| error.status)) {
        // It was taken, though what says so cannot be read; or this point is wrong, and the next may be right.
        (_, Some(400 | 413 | 422)) => Next::Drop,
        (Kind::Transient, _) => Next::Again(pace.first.saturating_mul(1 << failures.min(16)).min(pace.longest)),
        // Somebody has to mend it, and may do so while the hub runs.
        (Kind::Denied | Kind::NotFound | Kind::Conflict | Kind::Refused, _) => Next::Again(pace.longest),
    }
}

/// What a person does about it.
fn remedy(error: &ArmError, resource: &str) -> String {
    match (error, error.service().map(|error| error.status)) {
        (ArmError::Credential(_), _) => {
            "give the hub an identity at Azure: a managed identity, a workload identity, or an \
                                         application with a secret"
                .to_owned()
        }
        (_, Some(401 | 403)) => {
            format!(
                "give the hub's identity the role Monitoring Metrics Publisher on {resource}; it may take minutes to count"
            )
        }
        (_, Some(404)) => format!("compare azure_monitor.resource and azure_monitor.region: {resource} is not there"),
        (_, Some(400)) => {
            format!("compare azure_monitor.region with the region of {resource}, and this machine's clock")
        }
        (_, Some(429)) => "nothing: it is sent again when Azure says".to_owned(),
        _ => "nothing, if it passes: it is sent again for 19 minutes".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use azure::ServiceError;

    use super::*;

    #[test]
    fn an_error_says_when_the_point_is_sent_again() {
        let pace = Pace::default();
        let secs = |secs| Next::Again(Duration::from_secs(secs));
        // (status, seconds that Azure asks to wait, failures before, what is done)
        for (status, asked, failures, expected) in [
            (429, Some(17), 0, secs(17)),
            (503, Some(300), 4, secs(300)),
            (429, None, 0, secs(2)),
            (500, None, 1, secs(4)),
            (503, None, 3, secs(16)),
            (503, None, 30, secs(60)),
            (401, None, 0, secs(60)),
            (403, None, 0, secs(60)),
            (404, None, 0, secs(2)),
            (400, None, 0, Next::Drop),
            (413, None, 0, Next::Drop),
        ] {
            let error = ArmError::Service {
                error: Box::new(ServiceError {
                    status,
                    retry_after: asked.map(Duration::from_secs),
                    ..ServiceError::default()
                }),
                maybe_done: false,
            };
            assert_eq!(next(&error, pace, failures), expected, "{status} {asked:?} {failures}");
        }
    }

    #[test]
    fn the_same_cause_is_known_by_the_next_request() {
        let error = |status, request: &str| ArmError::Service {
            error: Box::new(ServiceError {
                status,
                code: "Forbidden".to_owned(),
                request_id: Some(request.to_owned()),
                ..ServiceError::default()
            }),
            maybe_done: false,
        };
        assert_eq!(cause(&error(403, "one")), cause(&error(403, "two")));
        assert_ne!(cause(&error(403, "one")), cause(&error(503, "one")));
        assert!(
            remedy(&error(403, "one"), "/subscriptions/x").contains("Monitoring Metrics Publisher on /subscriptions/x")
        );
    }
}
