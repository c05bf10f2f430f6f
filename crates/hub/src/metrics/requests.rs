//! Counts requests by route and status, and how long they took.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::{Method, StatusCode};

/// Upper bounds of the times that are told apart, in seconds.
pub(super) const BOUNDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Requests(Mutex<Counts>);

/// The counts as they are read.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// By method, route and status.
    pub(super) answers: BTreeMap<(&'static str, String, u16), u64>,
    /// By route.
    pub(super) times: BTreeMap<String, Times>,
}

/// How long answers took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// How many took at most each of [`BOUNDS`].
    pub(super) counts: [u64; BOUNDS.len()],
    pub(super) count: u64,
    pub(super) sum: f64,
}

impl Requests {
    pub(super) fn add(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let secs = took.as_secs_f64();
        let mut counts = self.lock();
        *counts
            .answers
            .entry((name(method), route.to_owned(), status.as_u16()))
            .or_default() += 1;
        let times = counts.times.entry(route.to_owned()).or_default();
        for (count, bound) in times.counts.iter_mut().zip(BOUNDS) {
            *count += u64::from(secs <= bound);
        }
        times.count += 1;
        times.sum += secs;
    }

    pub(super) fn read(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client may send any word for a method; it fills no memory by that.
fn name(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_counted_by_route_and_in_every_bound_that_it_keeps() {
        let requests = Requests::default();
        for (method, millis) in [("GET", 1), ("GET", 30), ("BREW", 30_000)] {
            requests.add(
                &method.parse().unwrap(),
                "/x",
                StatusCode::OK,
                Duration::from_millis(millis),
            );
        }
        let counts = requests.read();
        assert_eq!(counts.answers[&("GET", "/x".to_owned(), 200)], 2);
        assert_eq!(counts.answers[&("other", "/x".to_owned(), 200)], 1);
        let times = counts.times["/x"];
        assert_eq!((times.counts, times.count), ([1, 1, 1, 1, 1, 2, 2, 2, 2], 3));
        assert!((times.sum - 30.031).abs() < 1e-9);
    }
}
