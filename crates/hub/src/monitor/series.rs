//! What is sent: of each metric, the numbers of every place at a minute.
//!
//! Pure. The form is that of *Azure Monitor: ingest custom metrics by the REST API*; its limits are those of *Custom metrics:
//! quotas and limits*.

use std::collections::BTreeMap;

use launch::{
    Lease, Moment, State,
    launcher::{Meters, Traffic},
};
use serde_json::{Value, json};

/// Under which Azure shows them.
const NAMESPACE: &str = "adit";

/// The only dimension: what has few values that stay. Leases and people are none.
const DIMENSION: &str = "Place";

/// Most values of the dimension. Azure advises to stay below 100; places beyond are counted together.
const MOST_PLACES: usize = 100;

/// What the places beyond are called.
const OTHERS: &str = "other";

/// Longest value of a dimension, in characters.
const LONGEST: usize = 256;

/// A metric's name, and its number of a place.
type Metric = (&'static str, fn(&Numbers) -> f64);

/// Every metric.
pub(super) const METRICS: [Metric; 5] = [
    ("ActiveSessions", |numbers| number(numbers.sessions)),
    ("ReadyGateways", |numbers| number(numbers.ready)),
    ("ReceivedBytes", |numbers| number(numbers.traffic.received_bytes)),
    ("SentBytes", |numbers| number(numbers.traffic.sent_bytes)),
    ("ConnectionSeconds", |numbers| numbers.traffic.connected.as_secs_f64()),
];

/// What is counted at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    at: Moment,
    places: BTreeMap<String, Numbers>,
}

/// The numbers of a place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Numbers {
    /// Peers that are connected.
    sessions: u64,
    /// Gateways that answer.
    ready: u64,
    /// What has passed through gateways: in a reading since the hub's start, in a point since the one before.
    traffic: Traffic,
}

/// A metric at a moment, as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    /// When it was measured.
    pub(super) at: Moment,
    /// What is sent.
    pub(super) body: Value,
}

impl Reading {
    /// Reads the meters. Every place that is known is in it, so that one where nothing happens is seen to be 0.
    pub(super) fn new<'a>(
        places: impl Iterator<Item = &'a str>,
        running: &[Lease],
        meters: &Meters,
        at: Moment,
    ) -> Self {
        let mut all: BTreeMap<String, Numbers> = places.map(|place| (place.to_owned(), Numbers::default())).collect();
        for lease in running {
            let numbers = all.entry(lease.order.place.clone()).or_default();
            numbers.sessions += lease.connected_peers(at);
            numbers.ready += u64::from(lease.state == State::Ready);
        }
        for (place, traffic) in &meters.traffic {
            all.entry(place.clone()).or_default().traffic = *traffic;
        }
        Self { at, places: all }
    }
}

/// The points of a minute.
pub(super) fn points(before: &Reading, now: &Reading) -> Vec<Point> {
    let mut named: BTreeMap<String, Numbers> = BTreeMap::new();
    for (place, numbers) in &now.places {
        let known = before
            .places
            .get(place)
            .map(|numbers| numbers.traffic)
            .unwrap_or_default();
        let numbers = Numbers {
            traffic: since(known, numbers.traffic),
            ..*numbers
        };
        let name: String = if named.len() < MOST_PLACES - 1 {
            place.chars().take(LONGEST).collect()
        } else {
            OTHERS.to_owned()
        };
        let sum = named.entry(name).or_default();
        *sum = Numbers {
            sessions: sum.sessions + numbers.sessions,
            ready: sum.ready + numbers.ready,
            traffic: sum.traffic.and(numbers.traffic),
        };
    }
    if named.is_empty() {
        return Vec::new();
    }
    let point = |(metric, value): &Metric| {
        let series: Vec<Value> = named
            .iter()
            .map(|(place, numbers)| {
                let value = value(numbers);
                json!({ "dimValues": [place], "min": value, "max": value, "sum": value, "count": 1 })
            })
            .collect();
        let data = json!({ "metric": metric, "namespace": NAMESPACE, "dimNames": [DIMENSION], "series": series });
        Point {
            at: now.at,
            body: json!({ "time": now.at, "data": { "baseData": data } }),
        }
    };
    METRICS.iter().map(point).collect()
}

fn since(before: Traffic, now: Traffic) -> Traffic {
    Traffic {
        received_bytes: now.received_bytes.saturating_sub(before.received_bytes),
        sent_bytes: now.sent_bytes.saturating_sub(before.sent_bytes),
        connected: now.connected.saturating_sub(before.connected),
    }
}

/// Azure counts in 64-bit floating point.
#[expect(clippy::cast_precision_loss, reason = "a count beyond 2^53 is shown rounded")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reading(at: u64, places: &[(&str, u64, u64, [u64; 3])]) -> Reading {
        let numbers =
            |&(place, sessions, ready, [received_bytes, sent_bytes, connected]): &(&str, u64, u64, [u64; 3])| {
                let traffic = Traffic {
                    received_bytes,
                    sent_bytes,
                    connected: Duration::from_secs(connected),
                };
                (
                    place.to_owned(),
                    Numbers {
                        sessions,
                        ready,
                        traffic,
                    },
                )
            };
        Reading {
            at: Moment::from_millis(1_795_000_000_000 + at * 1_000),
            places: places.iter().map(numbers).collect(),
        }
    }

    /// The sums of a metric, by place.
    fn sums(points: &[Point], metric: &str) -> Vec<(String, f64)> {
        let is_it = |point: &&Point| point.body["data"]["baseData"]["metric"] == metric;
        let point = points.iter().find(is_it).expect("every metric has a point");
        let series = point.body["data"]["baseData"]["series"].as_array().unwrap().iter();
        series
            .map(|series| {
                (
                    series["dimValues"][0].as_str().unwrap().to_owned(),
                    series["sum"].as_f64().unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn what_is_a_state_is_sent_as_it_is_and_what_is_counted_as_what_was_added() {
        let before = reading(0, &[("azure-vm", 2, 1, [1_000, 5_000, 300])]);
        let now = reading(
            60,
            &[("azure-vm", 3, 2, [1_700, 9_000, 450]), ("docker", 0, 0, [5, 0, 0])],
        );
        // (metric, at azure-vm, at docker, which was not known before)
        for (metric, vm, docker) in [
            ("ActiveSessions", 3.0, 0.0),
            ("ReadyGateways", 2.0, 0.0),
            ("ReceivedBytes", 700.0, 5.0),
            ("SentBytes", 4_000.0, 0.0),
            ("ConnectionSeconds", 150.0, 0.0),
        ] {
            let expected = vec![("azure-vm".to_owned(), vm), ("docker".to_owned(), docker)];
            assert_eq!(sums(&points(&before, &now), metric), expected, "{metric}");
        }
        // A counter that begins anew takes nothing away.
        assert_eq!(
            sums(&points(&now, &before), "SentBytes"),
            [("azure-vm".to_owned(), 0.0)]
        );
        assert!(points(&Reading::default(), &Reading::default()).is_empty());
    }

    #[test]
    fn a_point_has_the_form_that_azure_documents() {
        let now = reading(0, &[("azure-vm", 3, 1, [0, 0, 0])]);
        let expected = json!({
            "time": "2026-11-18T11:06:40.000Z",
            "data": { "baseData": {
                "metric": "ActiveSessions",
                "namespace": "adit",
                "dimNames": ["Place"],
                "series": [{ "dimValues": ["azure-vm"], "min": 3.0, "max": 3.0, "sum": 3.0, "count": 1 }],
            } },
        });
        assert_eq!(points(&Reading::default(), &now)[0].body, expected);
    }

    #[test]
    fn places_beyond_a_hundred_are_counted_together_and_names_are_cut() {
        let names: Vec<String> = (0..150).map(|number| format!("place-{number:03}")).collect();
        let places: Vec<_> = names.iter().map(|name| (name.as_str(), 1, 0, [0, 0, 0])).collect();
        let found = sums(&points(&Reading::default(), &reading(0, &places)), "ActiveSessions");
        assert_eq!(found.len(), MOST_PLACES);
        assert_eq!(found.iter().map(|(_, sum)| sum).sum::<f64>(), 150.0);
        assert!(found.contains(&(OTHERS.to_owned(), 51.0)));
        let long = "ä".repeat(300);
        let found = sums(
            &points(&Reading::default(), &reading(0, &[(long.as_str(), 0, 0, [0, 0, 0])])),
            "ActiveSessions",
        );
        assert_eq!(found[0].0.chars().count(), LONGEST);
    }
}
