//! `/metrics`, its judge, and the dashboard that draws it.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use hub::metrics::METRICS;
use serde_json::{Value, json};

use crate::stage::{Hub, KEY};

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted() {
    let hub = Hub::new();
    let lease = hub.ready_lease().await;
    hub.get("/api/v1/nothing").send().await.problem(404, "no_such_route");
    hub.ask("BREW", "/api/v1/leases")
        .send()
        .await
        .problem(405, "method_not_allowed");
    let page = hub.get("/metrics").without("authorization").send().await;
    assert_eq!(page.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "adit_hub_leases{state=\"ready\",place=\"simulate\"} 1",
        "adit_hub_leases{state=\"failed\",place=\"simulate\"} 0",
        "adit_hub_lease_ready_seconds_count{place=\"simulate\"} 1",
        "adit_hub_orphans_found_total{place=\"simulate\"} 0",
        "adit_hub_well 1",
        "adit_hub_http_requests_total{method=\"POST\",route=\"/api/v1/leases\",status=\"202\"} 1",
        "adit_hub_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 1",
        "adit_hub_http_requests_total{method=\"other\",route=\"/api/v1/leases\",status=\"405\"} 1",
        "adit_hub_event_streams 0",
    ] {
        assert!(
            page.text().lines().any(|found| found == line),
            "{line}\n{}",
            page.text()
        );
    }
    let id = lease["id"].as_str().unwrap();
    assert!(!page.text().contains(id) && !page.text().contains(KEY));
    check(page.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_for_this_machine_and_admins() {
    let hub = Hub::new();
    hub.get("/metrics").without("authorization").send().await.expect(200);
    hub.get("/metrics")
        .without("authorization")
        .from("192.0.2.1:4711")
        .send()
        .await
        .problem(403, "not_by_proxy");
}

/// Has Prometheus' own tool judge a page, where it is installed.
fn check(page: &str) {
    netlab::requires!("promtool");
    let mut tool = Command::new(netlab::tool("promtool").expect("asked for before"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}{}\n{page}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_dashboard_draws_every_metric_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/grafana/adit-hub.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut drawn = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let words = query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            drawn.extend(words.filter(|word| word.starts_with("adit_")).map(|word| {
                let histogram = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| word.strip_suffix(end));
                histogram.unwrap_or(word).to_owned()
            }));
        }
    }
    let exported: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(drawn, exported);
    assert_eq!(
        dashboard["schemaVersion"].as_u64().map(|version| version >= 36),
        Some(true)
    );
    let ids: BTreeSet<u64> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), dashboard["panels"].as_array().unwrap().len());
    assert_ne!(dashboard["uid"], json!(null));
}
