//! `StartVPN` and `StopVPN`.

use std::time::Duration;

use hub::config::{Typed, TypedLimits};
use launch::place::{
    Fault, FaultKind,
    simulate::{Call, Simulate, Trouble},
};
use serde_json::{Value, json};

use crate::stage::{Hub, KEY, LIMIT, quick};

async fn call(hub: &Hub, what: &str) -> (u16, Value) {
    let answer = hub.ask("POST", &format!("/api/{what}VPN")).send().await;
    let status = answer.status.as_u16();
    (status, answer.expect(status))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_started_once_and_stopped() {
    let hub = Hub::new();
    let (status, started) = call(&hub, "Start").await;
    assert_eq!((status, &started["status"]), (200, &json!("VPN started")));
    let configuration = started["clientConfig"].as_str().unwrap();
    assert!(
        configuration.contains("[Interface]") && configuration.contains("PrivateKey = "),
        "{configuration}"
    );
    assert!(
        configuration
            .lines()
            .all(|line| line.is_empty() || line.contains("SAMPLE")),
        "{configuration}"
    );
    assert_eq!(started.as_object().unwrap().len(), 2);

    assert_eq!(
        call(&hub, "Start").await,
        (200, json!({"status": "VPN already running"}))
    );
    assert_eq!(call(&hub, "Stop").await, (200, json!({"status": "VPN stopped"})));
    assert_eq!(call(&hub, "Stop").await, (200, json!({"status": "VPN stopped"})));
    let (_, again) = call(&hub, "Start").await;
    assert_ne!(again["clientConfig"], started["clientConfig"]);
    hub.ask("POST", "/api/StartVPN")
        .without("authorization")
        .send()
        .await
        .problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_leases_are_not_touched_and_two_calls_at_once_start_one() {
    let hub = Hub::new();
    let own = hub.ready_lease().await;
    let gateway_keys = json!({"keys": "gateway", "peers": [{"name": "router"}]});
    hub.post("/api/v1/leases", &gateway_keys).send().await.expect(202);
    let (one, other) = tokio::join!(call(&hub, "Start"), call(&hub, "Start"));
    let mut words = [one, other].map(|(status, answer)| (status, answer["status"].as_str().unwrap().to_owned()));
    words.sort();
    assert_eq!(
        words,
        [(200, "VPN already running".to_owned()), (200, "VPN started".to_owned())]
    );
    let leases = hub.get("/api/v1/leases").send().await.expect(200);
    assert_eq!(leases["items"].as_array().unwrap().len(), 3);
    call(&hub, "Stop").await;
    let id = own["id"].as_str().unwrap();
    assert_eq!(
        hub.get(&format!("/api/v1/leases/{id}")).send().await.expect(200)["state"],
        "ready"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_said_and_leaves_nothing() {
    let place = Simulate::with_troubles(quick(), |call, _, _| {
        (call == Call::Create)
            .then(|| Trouble::Fails(Fault::new(FaultKind::Refused, "no_quota", "the quota is used up")))
    });
    let hub = Hub::at(Typed::default(), place);
    let (status, answer) = call(&hub, "Start").await;
    assert_eq!((status, &answer["status"]), (500, &json!("Error starting VPN")));
    assert!(
        answer["error"].as_str().unwrap().contains("the quota is used up"),
        "{answer}"
    );
    assert!(answer.get("clientConfig").is_none());

    let limits = TypedLimits {
        leases_per_user: Some(1),
        ..TypedLimits::default()
    };
    let hub = Hub::with(Typed {
        limits,
        ..Typed::default()
    });
    let request = json!({"peers": [{"name": "phone", "public_key": KEY}]});
    hub.post("/api/v1/leases", &request).send().await.expect(202);
    let (status, answer) = call(&hub, "Start").await;
    assert_eq!((status, &answer["status"]), (429, &json!("Error starting VPN")));
    assert!(answer["error"].as_str().unwrap().contains("end one first"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_did_not_wait_gets_its_configuration_by_calling_again() {
    let hub = Hub::new();
    let call_once = hub.ask("POST", "/api/StartVPN").send();
    // Gone before anything is ready.
    tokio::time::timeout(Duration::from_millis(10), call_once)
        .await
        .unwrap_err();
    let started = tokio::time::timeout(LIMIT, call(&hub, "Start")).await.unwrap().1;
    assert_eq!(started["status"], "VPN started");
    let leases = hub.get("/api/v1/leases").send().await.expect(200);
    assert_eq!(leases["items"].as_array().unwrap().len(), 1);
}
