//! The page for Prometheus: every metric is in [`METRICS`], and its place in the page is its place there.

use std::{collections::BTreeMap, fmt::Write as _};

use launch::{
    Lease, Moment, State,
    launcher::{Meters, READY_BOUNDS, Traffic},
};

use super::{Metric, requests::BOUNDS};
use crate::App;

const fn metric(name: &'static str, kind: &'static str, help: &'static str) -> Metric {
    Metric { name, kind, help }
}

/// Every metric of the page.
pub const METRICS: [Metric; 18] = [
    metric("adit_build_info", "gauge", "The version of adit; always 1."),
    metric(
        "adit_hub_leases",
        "gauge",
        "Leases that are not removed, by state and place.",
    ),
    metric(
        "adit_hub_connected_peers",
        "gauge",
        "Peers of leases whose latest handshake is younger than 180 seconds, by place.",
    ),
    metric(
        "adit_hub_signed_in_sessions",
        "gauge",
        "Sessions of people who have signed in.",
    ),
    metric(
        "adit_hub_event_streams",
        "gauge",
        "Streams of events that clients have open.",
    ),
    metric(
        "adit_hub_lease_ready_seconds",
        "histogram",
        "Time from the request of a lease until its gateway answered, by place.",
    ),
    metric(
        "adit_hub_lease_failures_total",
        "counter",
        "Leases that could not be set up or were lost, by place and cause.",
    ),
    metric(
        "adit_hub_sweeps_total",
        "counter",
        "Looks at a place for what no lease knows.",
    ),
    metric(
        "adit_hub_failed_sweeps_total",
        "counter",
        "Looks at a place that did not succeed.",
    ),
    metric(
        "adit_hub_orphans_found_total",
        "counter",
        "Gateways found at a place that no lease knows.",
    ),
    metric(
        "adit_hub_orphans_removed_total",
        "counter",
        "Those of them that were removed.",
    ),
    metric(
        "adit_hub_store_failures_total",
        "counter",
        "Writes to the store that failed.",
    ),
    metric(
        "adit_hub_received_bytes_total",
        "counter",
        "Bytes that gateways received from their peers.",
    ),
    metric(
        "adit_hub_sent_bytes_total",
        "counter",
        "Bytes that gateways sent to their peers.",
    ),
    metric(
        "adit_hub_connection_seconds_total",
        "counter",
        "Time that peers of leases were connected, all of them together, by place.",
    ),
    metric(
        "adit_hub_well",
        "gauge",
        "Whether leases can be kept and their doings audited, as /readyz has it.",
    ),
    metric(
        "adit_hub_http_requests_total",
        "counter",
        "Requests that were answered, by method, route and status.",
    ),
    metric(
        "adit_hub_http_request_duration_seconds",
        "histogram",
        "Time until an answer began, by route.",
    ),
];

/// The numbers of a metric.
enum Family {
    /// Labels and value of each.
    Numbers(Vec<(Labels, f64)>),
    /// Labels, and what is at most as long as each bound.
    Histograms(Vec<(Labels, Buckets)>),
}

type Labels = Vec<(&'static str, String)>;

struct Buckets {
    bounds: &'static [f64],
    counts: Vec<u64>,
    count: u64,
    sum: f64,
}

/// The page as it is now.
pub(super) async fn write(app: &App) -> String {
    let mut families = gather(app).await;
    let mut page = String::with_capacity(8 << 10);
    for metric in METRICS {
        let Metric { name, kind, help } = metric;
        let _infallible = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        match families.remove(name) {
            None => {}
            Some(Family::Numbers(numbers)) => {
                for (labels, value) in numbers {
                    line(&mut page, name, "", &labels, value);
                }
            }
            Some(Family::Histograms(histograms)) => {
                for (labels, buckets) in histograms {
                    histogram(&mut page, name, labels, &buckets);
                }
            }
        }
    }
    page
}

async fn gather(app: &App) -> BTreeMap<&'static str, Family> {
    let (meters, requests) = (app.launcher.meters(), app.meters.requests.read());
    let running = app.launcher.running();
    let sessions = app.sign_in.active_sessions().await;
    let is_well = app.launcher.is_well().await.is_ok() && app.audit.is_well().await.is_ok();
    let one = |value: u64| Family::Numbers(vec![(Vec::new(), number(value))]);
    let places = || app.launcher.places().iter().map(|place| place.name.as_str());
    // A place of which nothing was counted has none, not nothing.
    let by_place = |counts: &BTreeMap<String, u64>| {
        let mut all: BTreeMap<String, u64> = places().map(|place| (place.to_owned(), 0)).collect();
        all.extend(counts.clone());
        Family::Numbers(
            all.into_iter()
                .map(|(place, count)| (vec![("place", place)], number(count)))
                .collect(),
        )
    };
    let failures = meters
        .failures
        .iter()
        .map(|((place, code), count)| (vec![("place", place.clone()), ("cause", code.clone())], number(*count)));
    let ready = meters.ready.iter().map(|(place, times)| {
        let buckets = Buckets {
            bounds: &READY_BOUNDS,
            counts: times.counts.to_vec(),
            count: times.count,
            sum: times.sum,
        };
        (vec![("place", place.clone())], buckets)
    });
    let answers = requests.answers.iter().map(|((method, route, status), count)| {
        let labels = vec![
            ("method", (*method).to_owned()),
            ("route", route.clone()),
            ("status", status.to_string()),
        ];
        (labels, number(*count))
    });
    let times = requests.times.iter().map(|(route, times)| {
        let buckets = Buckets {
            bounds: &BOUNDS,
            counts: times.counts.to_vec(),
            count: times.count,
            sum: times.sum,
        };
        (vec![("route", route.clone())], buckets)
    });
    let traffic = meters.traffic.values().copied().fold(Traffic::default(), Traffic::and);
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    BTreeMap::from([
        ("adit_build_info", Family::Numbers(vec![(version, 1.0)])),
        ("adit_hub_leases", leases(places(), &running)),
        (
            "adit_hub_connected_peers",
            by_place(&connected(&running, app.launcher.now())),
        ),
        ("adit_hub_signed_in_sessions", one(sessions.unwrap_or_default())),
        (
            "adit_hub_event_streams",
            one(u64::try_from(app.streams.count()).unwrap_or(u64::MAX)),
        ),
        ("adit_hub_lease_ready_seconds", Family::Histograms(ready.collect())),
        ("adit_hub_lease_failures_total", Family::Numbers(failures.collect())),
        ("adit_hub_sweeps_total", by_place(&meters.sweeps)),
        ("adit_hub_failed_sweeps_total", by_place(&meters.failed_sweeps)),
        ("adit_hub_orphans_found_total", by_place(&meters.orphans)),
        ("adit_hub_orphans_removed_total", by_place(&meters.removed_orphans)),
        ("adit_hub_store_failures_total", one(meters.store_failures)),
        ("adit_hub_received_bytes_total", one(traffic.received_bytes)),
        ("adit_hub_sent_bytes_total", one(traffic.sent_bytes)),
        (
            "adit_hub_connection_seconds_total",
            connection_seconds(places(), &meters),
        ),
        ("adit_hub_well", one(u64::from(is_well))),
        ("adit_hub_http_requests_total", Family::Numbers(answers.collect())),
        (
            "adit_hub_http_request_duration_seconds",
            Family::Histograms(times.collect()),
        ),
    ])
}

/// Every state of every place, so that one that has gone is seen to be 0.
fn leases<'a>(places: impl Iterator<Item = &'a str>, running: &[Lease]) -> Family {
    let states = || State::ALL.into_iter().filter(|state| *state != State::Removed);
    let mut counts: BTreeMap<(String, State), u64> = places
        .flat_map(|place| states().map(|state| ((place.to_owned(), state), 0)))
        .collect();
    for lease in running {
        *counts.entry((lease.order.place.clone(), lease.state)).or_default() += 1;
    }
    let numbers = counts.into_iter().map(|((place, state), count)| {
        (
            vec![("state", state.as_str().to_owned()), ("place", place)],
            number(count),
        )
    });
    Family::Numbers(numbers.collect())
}

fn connected(running: &[Lease], now: Moment) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for lease in running {
        *counts.entry(lease.order.place.clone()).or_default() += lease.connected_peers(now);
    }
    counts
}

fn connection_seconds<'a>(places: impl Iterator<Item = &'a str>, meters: &Meters) -> Family {
    let mut secs: BTreeMap<&str, f64> = places.map(|place| (place, 0.0)).collect();
    secs.extend(
        meters
            .traffic
            .iter()
            .map(|(place, traffic)| (place.as_str(), traffic.connected.as_secs_f64())),
    );
    let numbers = secs
        .into_iter()
        .map(|(place, secs)| (vec![("place", place.to_owned())], secs));
    Family::Numbers(numbers.collect())
}

fn histogram(page: &mut String, name: &str, labels: Labels, buckets: &Buckets) {
    let mut with_bound = |bound: String, count: u64| {
        let mut labels = labels.clone();
        labels.push(("le", bound));
        line(page, name, "_bucket", &labels, number(count));
    };
    for (bound, count) in buckets.bounds.iter().zip(&buckets.counts) {
        with_bound(bound.to_string(), *count);
    }
    with_bound("+Inf".to_owned(), buckets.count);
    line(page, name, "_sum", &labels, buckets.sum);
    line(page, name, "_count", &labels, number(buckets.count));
}

fn line(page: &mut String, name: &str, suffix: &str, labels: &Labels, value: f64) {
    let _infallible = write!(page, "{name}{suffix}");
    for (index, (label, text)) in labels.iter().enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        let _infallible = write!(page, "{before}{label}=\"{}\"", escaped(text));
    }
    let end = if labels.is_empty() { "" } else { "}" };
    let _infallible = writeln!(page, "{end} {value}");
}

/// As the text format wants it in a label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Prometheus counts in 64-bit floating point.
#[expect(clippy::cast_precision_loss, reason = "a count beyond 2^53 is shown rounded")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_and_a_label_are_written_as_the_format_wants_them() {
        let mut page = String::new();
        let buckets = Buckets {
            bounds: &[0.5, 1.0],
            counts: vec![1, 2],
            count: 3,
            sum: 7.25,
        };
        histogram(
            &mut page,
            "x_seconds",
            vec![("place", "a\"b\\c\nd".to_owned())],
            &buckets,
        );
        let place = r#"place="a\"b\\c\nd""#;
        let expected = format!(
            "x_seconds_bucket{{{place},le=\"0.5\"}} 1\nx_seconds_bucket{{{place},le=\"1\"}} 2\n\
             x_seconds_bucket{{{place},le=\"+Inf\"}} 3\nx_seconds_sum{{{place}}} 7.25\nx_seconds_count{{{place}}} 3\n"
        );
        assert_eq!(page, expected);
    }
}
