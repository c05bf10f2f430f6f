//! What is asked wrongly, and what is said then.

use hub::config::{Typed, TypedRates};
use serde_json::{Value, json};

use crate::stage::{Hub, KEY, Question};

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_request_gets_a_problem_that_names_it() {
    let hub = Hub::new();
    let lease = hub.ready_lease().await;
    let lease = format!("/api/v1/leases/{}", lease["id"].as_str().unwrap());
    let unknown = "/api/v1/leases/01kb2w0v9hq3k1yv8s4n6t2m5e";
    let post = |path: &str, body: Value| hub.post(path, &body);
    let raw = |media: &str, body: &str| {
        let question = hub.ask("POST", "/api/v1/leases").body(body);
        if media.is_empty() {
            question
        } else {
            question.with("content-type", media)
        }
    };
    let peers = |peers: Value| post("/api/v1/leases", json!({ "peers": peers }));
    let with = |name: &str, value: Value| {
        let mut body = json!({"peers": [{"name": "a", "public_key": KEY}]});
        body[name] = value;
        post("/api/v1/leases", body)
    };
    let key = |key: &str| json!([{"name": "a", "public_key": key}]);
    // (question, status, code, field)
    let cases: Vec<(Question, u16, &str, Option<&str>)> = vec![
        // Routes and methods.
        (hub.get("/api/v1/nothing"), 404, "no_such_route", None),
        (hub.get("/api"), 404, "no_such_route", None),
        (hub.get("/api/v1/leases/x/y/z/a"), 404, "no_such_route", None),
        (hub.ask("PUT", "/api/v1/leases"), 405, "method_not_allowed", None),
        (hub.ask("PATCH", &lease), 405, "method_not_allowed", None),
        (hub.ask("DELETE", "/api/v1/places"), 405, "method_not_allowed", None),
        (hub.ask("POST", "/healthz"), 405, "method_not_allowed", None),
        (hub.ask("GET", "/api/StartVPN"), 405, "method_not_allowed", None),
        (hub.ask("TRACE", "/api/v1/leases"), 405, "method_not_allowed", None),
        // Nobody, and somebody wrong.
        (
            hub.get("/api/v1/leases").without("authorization"),
            401,
            "unauthorized",
            None,
        ),
        (hub.get("/api/v1/leases").by("wrong"), 401, "token_invalid", None),
        (hub.get(unknown).without("authorization"), 401, "unauthorized", None),
        (
            post("/api/v1/leases", json!({})).without("authorization"),
            401,
            "unauthorized",
            None,
        ),
        // What is not there.
        (hub.get(unknown), 404, "not_found", None),
        (hub.get("/api/v1/leases/x"), 404, "not_found", None),
        (hub.get("/api/v1/leases/%ff"), 404, "not_found", None),
        (hub.get("/api/v1/leases/..%2f..%2fetc"), 404, "not_found", None),
        (hub.ask("DELETE", unknown), 404, "not_found", None),
        (hub.get(&format!("{unknown}/events")), 404, "not_found", None),
        (
            hub.get(&format!("{unknown}/events"))
                .with("accept", "text/event-stream"),
            404,
            "not_found",
            None,
        ),
        (hub.get(&format!("{unknown}/traffic")), 404, "not_found", None),
        (
            hub.get(&format!("{lease}/peers/%ff/configuration")),
            404,
            "not_found",
            None,
        ),
        (hub.ask("DELETE", "/api/v1/tokens/x"), 404, "not_found", None),
        // Bodies.
        (raw("", "{}"), 415, "not_json", None),
        (raw("text/plain", "{}"), 415, "not_json", None),
        (raw("application/x-www-form-urlencoded", "a=b"), 415, "not_json", None),
        (raw("application/json", ""), 400, "malformed_json", None),
        (raw("application/json", "{"), 400, "malformed_json", None),
        (raw("application/json", "{}{}"), 400, "malformed_json", None),
        (
            raw("application/json", &"[".repeat(10_000)),
            400,
            "malformed_json",
            None,
        ),
        (
            raw("application/json", &" ".repeat((64 << 10) + 1)),
            413,
            "too_large",
            None,
        ),
        (raw("application/json", "[]"), 422, "invalid", None),
        (raw("application/json", "{\"port\":1,\"port\":1}"), 422, "invalid", None),
        (post(&format!("{lease}/extend"), json!([60])), 422, "invalid", None),
        // Values.
        (with("private_key", json!("x")), 422, "invalid", Some("private_key")),
        (with("place", json!("moon")), 422, "invalid", Some("place")),
        (with("place", json!(1)), 422, "invalid", Some("place")),
        (with("profile", json!("none")), 422, "invalid", Some("profile")),
        (with("region", json!("moon")), 422, "invalid", Some("region")),
        (with("size", json!("huge")), 422, "invalid", Some("size")),
        (with("lifetime_secs", json!(0)), 422, "invalid", Some("lifetime_secs")),
        (with("lifetime_secs", json!(-1)), 422, "invalid", Some("lifetime_secs")),
        (with("lifetime_secs", json!(1.5)), 422, "invalid", Some("lifetime_secs")),
        (
            with("lifetime_secs", json!(86_401)),
            422,
            "invalid",
            Some("lifetime_secs"),
        ),
        (
            with("lifetime_secs", json!(u64::MAX)),
            422,
            "invalid",
            Some("lifetime_secs"),
        ),
        (with("idle_end_secs", json!(59)), 422, "invalid", Some("idle_end_secs")),
        (with("keys", json!("server")), 422, "invalid", Some("keys")),
        (with("port", json!(0)), 422, "invalid", Some("port")),
        (with("port", json!(65_536)), 422, "invalid", Some("port")),
        (with("mtu", json!(1_279)), 422, "invalid", Some("mtu")),
        (with("dns", json!(["nonsense_"])), 422, "invalid", Some("dns[0]")),
        (with("dns", json!(["9.9.9.9", 1])), 422, "invalid", Some("dns[1]")),
        (with("allowed_ips", json!([])), 422, "invalid", Some("allowed_ips")),
        (
            with("allowed_ips", json!(["10.0.0.0/33"])),
            422,
            "invalid",
            Some("allowed_ips[0]"),
        ),
        (post("/api/v1/leases", json!({})), 422, "invalid", Some("peers")),
        (peers(json!([])), 422, "invalid", Some("peers")),
        (peers(json!({})), 422, "invalid", Some("peers")),
        (peers(json!([{}])), 422, "invalid", Some("peers[0]")),
        (
            peers(json!([{"name": "a"}])),
            422,
            "invalid",
            Some("peers[0].public_key"),
        ),
        (
            peers(json!([{"name": "", "public_key": KEY}])),
            422,
            "invalid",
            Some("peers[0].name"),
        ),
        (
            peers(json!([{"name": "a\n", "public_key": KEY}])),
            422,
            "invalid",
            Some("peers[0].name"),
        ),
        (
            peers(json!([{"name": "a", "key": KEY}])),
            422,
            "invalid",
            Some("peers[0].key"),
        ),
        (peers(key("short")), 422, "invalid", Some("peers[0].public_key")),
        (
            peers(key(&KEY.replace('=', "A"))),
            422,
            "invalid",
            Some("peers[0].public_key"),
        ),
        // The second peer is the one that is wrong.
        (
            peers(json!([{"name": "a", "public_key": KEY}, {"name": "A", "public_key": KEY}])),
            422,
            "invalid",
            Some("peers[1].name"),
        ),
        (
            post(&format!("{lease}/extend"), json!({"by_secs": 0})),
            422,
            "invalid",
            Some("by_secs"),
        ),
        (
            post(&format!("{lease}/extend"), json!({"by": 1})),
            422,
            "invalid",
            Some("by"),
        ),
        (post(&format!("{lease}/extend"), json!({})), 422, "invalid", None),
        (
            post("/api/v1/tokens", json!({"name": "a", "scopes": []})),
            422,
            "invalid",
            Some("scopes"),
        ),
        (
            post("/api/v1/tokens", json!({"name": "a", "scopes": ["root"]})),
            422,
            "invalid",
            Some("scopes[0]"),
        ),
        // Queries.
        (hub.get("/api/v1/leases?limit=0"), 422, "invalid", Some("limit")),
        (hub.get("/api/v1/leases?limit=201"), 422, "invalid", Some("limit")),
        (hub.get("/api/v1/leases?state=asleep"), 422, "invalid", Some("state")),
        (hub.get("/api/v1/leases?running=maybe"), 422, "invalid", Some("running")),
        (hub.get("/api/v1/leases?cursor=x"), 422, "invalid", Some("cursor")),
        (hub.get("/api/v1/leases?offset=1"), 422, "invalid", Some("offset")),
        (
            hub.get(&format!("{lease}/events?after=-1")),
            422,
            "invalid",
            Some("after"),
        ),
        (
            hub.get(&format!("{lease}/events")).with("last-event-id", "x"),
            422,
            "invalid",
            Some("Last-Event-ID"),
        ),
        (hub.get("/api/v1/leases?owner="), 422, "invalid", Some("owner")),
        (hub.get("/api/v1/audit?cursor=0"), 422, "invalid", Some("cursor")),
        (
            hub.get("/api/v1/audit?cursor=9007199254740992"),
            422,
            "invalid",
            Some("cursor"),
        ),
        (hub.get("/api/v1/audit?cursor=x"), 422, "invalid", Some("cursor")),
        // Hosts: a page whose name leads here, and none.
        (
            hub.get("/api/v1/leases").with("host", "evil.example"),
            421,
            "wrong_host",
            None,
        ),
        (
            hub.get("/api/v1/leases").with("host", "127.0.0.1.evil.example:8790"),
            421,
            "wrong_host",
            None,
        ),
        (hub.get("/api/v1/leases").without("host"), 421, "wrong_host", None),
        (
            hub.get("/metrics").with("host", "evil.example"),
            421,
            "wrong_host",
            None,
        ),
        (hub.get("http://evil.example/api/v1/leases"), 421, "wrong_host", None),
    ];
    for (number, (question, status, code, field)) in cases.into_iter().enumerate() {
        let answer = question.send().await;
        let allow = answer.header("allow").to_owned();
        assert_eq!(answer.status.as_u16(), status, "case {number}: {}", answer.text());
        let problem = answer.problem(status, code);
        assert_eq!(problem["field"].as_str(), field, "case {number}: {problem}");
        assert_eq!(allow.is_empty(), status != 405, "case {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_method_is_told_which_ones_are_right() {
    let hub = Hub::new();
    for (path, allow) in [
        ("/api/v1/leases", "GET,HEAD,POST"),
        ("/api/v1/leases/x", "DELETE,GET,HEAD"),
        ("/api/v1/leases/x/peers/y", "DELETE,PUT"),
        ("/api/StartVPN", "POST"),
        ("/healthz", "GET,HEAD"),
    ] {
        let answer = hub.ask("OPTIONS", path).send().await;
        let mut found: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
        found.sort_unstable();
        assert_eq!(found.join(","), allow, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_this_machine_are_ours_by_whatever_port() {
    let hub = Hub::new();
    for host in [
        "127.0.0.1:8790",
        "localhost:8790",
        "LOCALHOST",
        "[::1]:8790",
        "127.0.0.1:9999",
    ] {
        hub.get("/api/v1/me").with("host", host).send().await.expect(200);
    }
    // A probe says whatever host it likes.
    assert_eq!(hub.get("/healthz").with("host", "10.1.2.3").send().await.text(), "ok\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_carries_the_headers_of_safety_and_its_request_id() {
    let hub = Hub::new();
    for path in ["/api/v1/me", "/api/v1/nothing", "/healthz", "/api/v1/openapi.json"] {
        let answer = hub.get(path).with("x-request-id", "mine-1").send().await;
        for (name, part) in [
            ("content-security-policy", "default-src 'none'; script-src 'self'"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("x-request-id", "mine-1"),
        ] {
            assert!(
                answer.header(name).contains(part),
                "{path} {name}: {}",
                answer.header(name)
            );
        }
        assert_eq!(answer.header("strict-transport-security"), "", "{path}");
    }
    for wrong in ["", "a b", "x\u{e9}", &"x".repeat(65), "a\"b"] {
        let mut question = hub.get("/healthz");
        question = if wrong.is_ascii() {
            question.with("x-request-id", wrong)
        } else {
            question
        };
        let answer = question.send().await;
        assert_eq!(answer.header("x-request-id").len(), 26, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let rates = |per_user, per_address| Typed {
        rates: TypedRates {
            per_user: Some(per_user),
            per_address: Some(per_address),
        },
        ..Typed::default()
    };
    for typed in [rates(3, 100), rates(100, 3)] {
        let hub = Hub::with(typed);
        for _ in 0..3 {
            hub.get("/api/v1/me").send().await.expect(200);
        }
        let answer = hub.get("/api/v1/me").send().await;
        let wait: u32 = answer.header("retry-after").parse().unwrap();
        assert!((1..=20).contains(&wait));
        answer.problem(429, "too_many_requests");
        // Probes are always answered.
        hub.get("/healthz").send().await.expect(200);
    }
}
