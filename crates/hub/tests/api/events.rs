//! What happens with a lease, as a stream and as a list.

use std::time::Duration;

use axum::response::Response;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::stage::{Hub, KEY, LIMIT};

/// An event of a stream.
#[derive(Debug)]
struct Event {
    kind: String,
    id: Option<u64>,
    data: Value,
}

/// The events of a stream until it ends, or until `last` has come.
async fn read(response: Response, last: &str) -> Vec<Event> {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    let gather = async {
        while let Some(bytes) = body.next().await {
            text.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap());
            if text.contains(&format!("event: {last}\n")) && text.ends_with("\n\n") {
                break;
            }
        }
    };
    tokio::time::timeout(LIMIT, gather).await.unwrap();
    let events = text.split("\n\n").filter(|event| event.contains("event:"));
    events
        .map(|event| {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let data = field("data:").unwrap();
            Event {
                kind: field("event:").unwrap().to_owned(),
                id: field("id:").map(|id| id.parse().unwrap()),
                data: serde_json::from_str(data).unwrap_or_else(|_| data.into()),
            }
        })
        .collect()
}

async fn follow(hub: &Hub, id: &str, after: Option<u64>) -> Response {
    let mut question = hub
        .get(&format!("/api/v1/leases/{id}/events"))
        .with("accept", "text/event-stream");
    if let Some(after) = after {
        question = question.with("last-event-id", &after.to_string());
    }
    question.begin().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_followed_to_its_end_and_a_client_that_comes_again_misses_nothing() {
    let hub = Hub::new();
    let request = json!({"peers": [{"name": "phone", "public_key": KEY}]});
    let lease = hub.post("/api/v1/leases", &request).send().await.expect(202);
    let id = lease["id"].as_str().unwrap();
    let first = read(follow(&hub, id, None).await, "ready").await;
    let kinds: Vec<&str> = first
        .iter()
        .map(|event| event.kind.as_str())
        .filter(|kind| *kind != "lease")
        .collect();
    assert_eq!(kinds, ["requested", "provisioning", "configuring", "ready"]);
    let numbers: Vec<u64> = first.iter().filter_map(|event| event.id).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert!(
        first
            .iter()
            .filter(|event| event.kind == "lease")
            .all(|event| event.data["id"] == id && event.id.is_none())
    );
    let notice = first.iter().find(|event| event.kind == "ready").unwrap();
    assert_eq!(
        (notice.data["number"].as_u64(), notice.data["state"].as_str()),
        (Some(4), Some("ready"))
    );

    // What happens while nobody looks.
    hub.ask("DELETE", &format!("/api/v1/leases/{id}"))
        .send()
        .await
        .expect(202);
    let rest = read(follow(&hub, id, Some(4)).await, "end").await;
    let last = rest.iter().rposition(|event| event.kind == "lease").unwrap();
    assert_eq!(rest[last].data["state"], "removed");
    assert_eq!(rest.last().unwrap().kind, "end");
    let seen = rest.iter().filter_map(|event| event.id).max().unwrap();
    assert!(rest.iter().filter_map(|event| event.id).eq(5..=seen));

    // There is nothing more: an EventSource stops asking.
    assert_eq!(follow(&hub, id, Some(seen)).await.status(), 204);
    let whole = read(follow(&hub, id, None).await, "end").await;
    assert!(whole.iter().filter_map(|event| event.id).eq(1..=seen));

    let list = hub
        .get(&format!("/api/v1/leases/{id}/events?after=3"))
        .send()
        .await
        .expect(200);
    let numbers: Vec<u64> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|notice| notice["number"].as_u64().unwrap())
        .collect();
    assert!(numbers.into_iter().eq(4..=seen));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_so_many_streams_at_once() {
    let hub = Hub::new();
    let lease = hub.ready_lease().await;
    let id = lease["id"].as_str().unwrap();
    let mut streams = Vec::new();
    for _ in 0..8 {
        let stream = follow(&hub, id, None).await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    let refused = hub
        .get(&format!("/api/v1/leases/{id}/events"))
        .with("accept", "text/event-stream")
        .send()
        .await;
    assert!(!refused.header("retry-after").is_empty());
    refused.problem(429, "too_many_streams");
    streams.pop();
    assert_eq!(follow(&hub, id, None).await.status(), 200);
    // The list is no stream.
    hub.get(&format!("/api/v1/leases/{id}/events")).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_is_sampled_while_a_lease_is_ready() {
    let hub = Hub::new();
    let lease = hub.ready_lease().await;
    let path = format!("/api/v1/leases/{}/traffic", lease["id"].as_str().unwrap());
    let sampled = async {
        loop {
            let traffic = hub.get(&path).send().await.expect(200);
            if let Some(sample) = traffic["samples"].get(0) {
                return sample.clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let sample = tokio::time::timeout(LIMIT, sampled).await.unwrap();
    assert!(sample["at"].is_string() && sample["received_bytes"].is_u64() && sample["sent_bytes"].is_u64());
}
