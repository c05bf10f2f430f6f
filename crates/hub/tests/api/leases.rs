//! Leases and their peers.

use serde_json::{Value, json};

use crate::stage::{Hub, KEY, OTHER_KEY, THIRD_KEY};

fn request() -> Value {
    json!({"peers": [{"name": "phone", "public_key": KEY}], "lifetime_secs": 600})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_asked_for_read_extended_and_ended() {
    let hub = Hub::new();
    let answer = hub.post("/api/v1/leases", &request()).send().await;
    let location = answer.header("location").to_owned();
    let lease = answer.expect(202);
    let id = lease["id"].as_str().unwrap();
    assert_eq!(location, format!("/api/v1/leases/{id}"));
    assert_eq!(lease["owner"], "local");
    assert_eq!(lease["place"], "simulate");
    assert_eq!(lease["is_sample"], true);
    assert_eq!(lease["gateway"], Value::Null);

    let ready = hub.wait(id, "ready").await;
    assert!(
        ready["gateway"]["endpoint"].as_str().unwrap().starts_with("192.0.2."),
        "{ready}"
    );
    assert!(ready["ready_at"].as_str().unwrap() < ready["ends_at"].as_str().unwrap());
    assert_eq!(ready["peers"][0]["public_key"], KEY);

    let extended = hub
        .post(&format!("{location}/extend"), &json!({"by_secs": 60}))
        .send()
        .await
        .expect(200);
    assert_eq!(extended["granted_secs"], 660);
    let problem = hub
        .post(&format!("{location}/extend"), &json!({"by_secs": 86_400}))
        .send()
        .await;
    assert_eq!(problem.problem(422, "invalid")["field"], "by_secs");

    let ending = hub.ask("DELETE", &location).send().await.expect(202);
    assert_eq!(ending["id"], lease["id"]);
    let removed = hub.wait(id, "removed").await;
    assert_eq!(removed["outcome"], "asked");
    let again = hub.ask("DELETE", &location).send().await.expect(202);
    assert_eq!(again["state"], "removed");
    hub.post(&format!("{location}/extend"), &json!({"by_secs": 60}))
        .send()
        .await
        .problem(409, "lease_over");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_with_the_same_key_is_one_lease() {
    let hub = Hub::new();
    let ask = |body: &Value, key: &str| hub.post("/api/v1/leases", body).with("idempotency-key", key);
    let first = ask(&request(), "a").send().await;
    let again = ask(&request(), "a").send().await;
    assert_eq!(first.status, again.status);
    assert_eq!(first.header("location"), again.header("location"));
    let first = first.expect(202);
    assert_eq!(first["id"], again.expect(202)["id"]);

    // The same, written otherwise.
    let spaced = hub
        .ask("POST", "/api/v1/leases")
        .with("content-type", "application/json")
        .with("idempotency-key", "a");
    let text = format!(
        "{{ \"lifetime_secs\":600,\n\"peers\" : [{{\"public_key\":\"{KEY}\", \"name\":\"phone\"}}], \"mtu\":null }}"
    );
    assert_eq!(spaced.body(text).send().await.expect(202)["id"], first["id"]);

    let other = json!({"peers": [{"name": "laptop", "public_key": KEY}]});
    let problem = ask(&other, "a").send().await.problem(422, "idempotency_key_reused");
    assert_eq!(problem["field"], "Idempotency-Key");
    assert_ne!(ask(&other, "b").send().await.expect(202)["id"], first["id"]);
    assert_eq!(
        hub.get("/api/v1/leases").send().await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    for wrong in ["", " ", "two words", &"x".repeat(256)] {
        let problem = ask(&request(), wrong).send().await.problem(422, "invalid");
        assert_eq!(problem["field"], "Idempotency-Key", "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_with_one_key_are_one_lease() {
    let hub = Hub::new();
    let asked = (0..20).map(|_| {
        hub.post("/api/v1/leases", &request())
            .with("idempotency-key", "k")
            .send()
    });
    let mut ids = Vec::new();
    for answer in futures_util::future::join_all(asked).await {
        ids.push(answer.expect(202)["id"].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_walked_page_by_page_and_filtered() {
    let hub = Hub::with(hub::config::Typed {
        limits: hub::config::TypedLimits {
            leases_per_user: Some(20),
            ..Default::default()
        },
        ..Default::default()
    });
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(hub.post("/api/v1/leases", &request()).send().await.expect(202)["id"].clone());
    }
    made.sort_by_key(|id| std::cmp::Reverse(id.as_str().unwrap().to_owned()));
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = hub
            .get(&format!("/api/v1/leases?limit=3{cursor}"))
            .send()
            .await
            .expect(200);
        found.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|lease| lease["id"].clone()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(found, made);

    let id = made[0].as_str().unwrap();
    hub.wait(id, "ready").await;
    hub.ask("DELETE", &format!("/api/v1/leases/{id}"))
        .send()
        .await
        .expect(202);
    hub.wait(id, "removed").await;
    for (query, expected) in [
        ("running=true", 6),
        ("running=false", 1),
        ("state=removed", 1),
        ("state=removed&state=lost&state=failed", 1),
        ("owner=local", 7),
        ("owner=somebody", 0),
    ] {
        let page = hub.get(&format!("/api/v1/leases?{query}")).send().await.expect(200);
        assert_eq!(page["items"].as_array().unwrap().len(), expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_come_and_go_and_get_their_configurations() {
    let hub = Hub::new();
    let lease = hub.ready_lease().await;
    let lease = format!("/api/v1/leases/{}", lease["id"].as_str().unwrap());
    let peers = format!("{lease}/peers");

    let configuration = hub
        .get(&format!("{peers}/phone/configuration"))
        .send()
        .await
        .expect(200);
    let text = configuration["text"].as_str().unwrap();
    assert!(text.contains("PrivateKey = {{PRIVATE_KEY}}"), "{text}");
    assert!(
        text.lines().all(|line| line.is_empty() || line.contains("SAMPLE")),
        "{text}"
    );
    assert_eq!(configuration["public_key"], KEY);

    let laptop = json!({"name": "laptop", "public_key": OTHER_KEY});
    assert_eq!(hub.post(&peers, &laptop).send().await.expect(202)["name"], "laptop");
    assert_eq!(hub.post(&peers, &laptop).send().await.expect(202)["name"], "laptop");
    for (wrong, field) in [
        (json!({"name": "tablet", "public_key": KEY}), "public_key"),
        (json!({"name": "tablet"}), "public_key"),
        (json!({"name": "PHONE", "public_key": OTHER_KEY}), "name"),
        (json!({"name": "a b", "public_key": OTHER_KEY}), "name"),
    ] {
        let problem = hub.post(&peers, &wrong).send().await.problem(422, "invalid");
        assert_eq!(problem["field"], field, "{wrong}");
        assert!(problem["remedy"].is_string(), "{problem}");
    }
    assert_eq!(
        hub.get(&peers).send().await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    let replacement = json!({"public_key": THIRD_KEY});
    let replaced = hub
        .ask("PUT", &format!("{peers}/phone"))
        .json(&replacement)
        .send()
        .await
        .expect(200);
    assert_eq!(replaced["peers"][0]["public_key"], THIRD_KEY);

    hub.ask("DELETE", &format!("{peers}/laptop")).send().await.expect(204);
    hub.ask("DELETE", &format!("{peers}/laptop"))
        .send()
        .await
        .problem(404, "not_found");
    hub.ask("DELETE", &format!("{peers}/phone"))
        .send()
        .await
        .problem(409, "last_peer");
    hub.ask("POST", &format!("{peers}/phone/hand-over"))
        .send()
        .await
        .problem(409, "keys_at_client");
    hub.get(&format!("{peers}/nobody/configuration"))
        .send()
        .await
        .problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_the_gateway_made_is_handed_over_once() {
    let hub = Hub::new();
    let request = json!({"keys": "gateway", "peers": [{"name": "router"}]});
    let lease = hub.post("/api/v1/leases", &request).send().await.expect(202);
    let id = lease["id"].as_str().unwrap();
    let hand_over = format!("/api/v1/leases/{id}/peers/router/hand-over");
    hub.wait(id, "ready").await;
    let answer = hub.ask("POST", &hand_over).send().await;
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    let text = answer.text().to_owned();
    assert!(text.contains("PrivateKey = ") && !text.contains("{{"), "{text}");
    hub.ask("POST", &hand_over)
        .send()
        .await
        .problem(409, "already_handed_over");
    let configuration = format!("/api/v1/leases/{id}/peers/router/configuration");
    hub.get(&configuration).send().await.problem(409, "keys_on_gateway");
    let lease = hub.get(&format!("/api/v1/leases/{id}")).send().await.expect(200);
    assert!(lease["peers"][0]["handed_over_at"].is_string());

    // Neither the audit nor the history knows the key.
    let key = text
        .lines()
        .find_map(|line| line.strip_prefix("PrivateKey = "))
        .unwrap();
    let key = key.split(' ').next().unwrap();
    let events = hub.get(&format!("/api/v1/leases/{id}/events")).send().await;
    let audit = hub.get("/api/v1/audit?limit=200").send().await;
    assert!(audit.text().contains("peer.hand_over"));
    for answer in [events, audit] {
        assert!(!answer.text().contains(key));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_kept_and_said() {
    let hub = Hub::with(hub::config::Typed {
        limits: hub::config::TypedLimits {
            leases_per_user: Some(2),
            ..Default::default()
        },
        ..Default::default()
    });
    for _ in 0..2 {
        hub.post("/api/v1/leases", &request()).send().await.expect(202);
    }
    hub.post("/api/v1/leases", &request())
        .send()
        .await
        .problem(429, "limit");
    let me = hub.get("/api/v1/me").send().await.expect(200);
    assert_eq!(
        (
            me["limits"]["leases_per_user"].as_u64(),
            me["usage"]["running"].as_u64()
        ),
        (Some(2), Some(2))
    );
}
