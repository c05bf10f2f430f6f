//! Who asks, and what he may.

use hub::{
    config::{Typed, TypedTls},
    identity::{Role, Scope},
    sign_in::NewToken,
};
use serde_json::{Value, json};

use crate::stage::{Hub, KEY, Question};

/// A hub that others reach, behind a proxy, with API tokens.
pub(crate) fn public() -> Typed {
    Typed {
        listen: Some("0.0.0.0:8790".to_owned()),
        public_url: Some("https://vpn.example.org".to_owned()),
        trusted_proxies: vec!["10.0.0.0/24".to_owned()],
        api_tokens: Some(true),
        ..Typed::default()
    }
}

/// A token of somebody with these roles and scopes.
pub(crate) async fn token(hub: &Hub, owner: &str, roles: &[Role], scopes: &[Scope]) -> String {
    let new = NewToken {
        name: "test".to_owned(),
        scopes: scopes.iter().copied().collect(),
        lifetime: None,
    };
    let roles = roles.iter().copied().collect();
    let (_, text) = hub
        .app
        .sign_in
        .create_token_by_command("operator:test", owner, roles, new)
        .await
        .unwrap();
    text.expose().to_owned()
}

pub(crate) fn by_proxy(question: Question) -> Question {
    question
        .from("10.0.0.7:40000")
        .with("host", "vpn.example.org")
        .with("x-forwarded-for", "198.51.100.7")
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_his_own_and_admins_see_all() {
    let hub = Hub::with(public());
    let anna = token(&hub, "anna", &[Role::User], &[Scope::Launch]).await;
    let bob = token(&hub, "bob", &[Role::User], &[Scope::Launch]).await;
    let reader = token(&hub, "anna", &[Role::User], &[Scope::Read]).await;
    let admin = token(&hub, "root", &[Role::User, Role::Admin], &[Scope::Admin]).await;
    let ask = |method: &str, path: &str, token: &str| by_proxy(hub.ask(method, path)).by(token);

    let request = json!({"peers": [{"name": "phone", "public_key": KEY}]});
    let lease = ask("POST", "/api/v1/leases", &anna)
        .json(&request)
        .send()
        .await
        .expect(202);
    assert_eq!(lease["owner"], "token:anna");
    let path = format!("/api/v1/leases/{}", lease["id"].as_str().unwrap());
    ask("POST", "/api/v1/leases", &reader)
        .json(&request)
        .send()
        .await
        .problem(403, "scope_missing");

    // (method, path below the lease, body)
    let all: [(&str, &str, Option<Value>); 9] = [
        ("GET", "", None),
        ("GET", "/events", None),
        ("GET", "/traffic", None),
        ("GET", "/peers", None),
        ("GET", "/peers/phone/configuration", None),
        ("POST", "/peers/phone/hand-over", None),
        ("POST", "/extend", Some(json!({"by_secs": 1}))),
        ("DELETE", "/peers/phone", None),
        ("DELETE", "", None),
    ];
    for (method, below, body) in all {
        let mut question = ask(method, &format!("{path}{below}"), &bob);
        if let Some(body) = body {
            question = question.json(&body);
        }
        question.send().await.problem(404, "not_found");
    }
    ask("GET", &path, &reader).send().await.expect(200);
    ask("DELETE", &path, &reader).send().await.problem(403, "scope_missing");
    ask("GET", &path, &admin).send().await.expect(200);

    let count = |answer: Value| answer["items"].as_array().unwrap().len();
    assert_eq!(count(ask("GET", "/api/v1/leases", &bob).send().await.expect(200)), 0);
    assert_eq!(count(ask("GET", "/api/v1/leases", &admin).send().await.expect(200)), 1);
    assert_eq!(count(ask("GET", "/api/v1/usage", &admin).send().await.expect(200)), 1);
    assert_eq!(count(ask("GET", "/api/v1/usage", &bob).send().await.expect(200)), 0);
    for path in [
        "/api/v1/audit",
        "/metrics",
        "/api/v1/leases?owner=token:anna",
        "/api/v1/usage?owner=token:anna",
    ] {
        let answer = ask("GET", path, &bob).send().await;
        assert_eq!(answer.status, 403, "{path}");
        assert_eq!(ask("GET", path, &admin).send().await.status, 200, "{path}");
    }

    // Who did what, and from where.
    let rows = ask("GET", "/api/v1/audit?limit=200", &admin).send().await.expect(200);
    let rows = rows["items"].as_array().unwrap();
    let created: Vec<_> = rows
        .iter()
        .filter(|row| row["what"] == "lease.create" && row["outcome"] == "ok")
        .collect();
    assert_eq!(created.len(), 1);
    assert_eq!(created[0]["who"], "token:anna");
    assert_eq!(created[0]["on"], lease["id"]);
    assert_eq!(created[0]["address"], "198.51.100.7");
    assert!(
        rows.iter()
            .any(|row| row["what"] == "lease.extend" && row["outcome"] == "refused")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_behind_a_proxy_answers_only_by_it_and_to_its_name() {
    let hub = Hub::with(public());
    let anna = token(&hub, "anna", &[Role::User], &[Scope::Launch]).await;
    let ask = || hub.get("/api/v1/me").by(&anna);
    by_proxy(ask()).send().await.expect(200);
    let https = by_proxy(ask()).send().await;
    assert!(https.header("strict-transport-security").starts_with("max-age="));
    let direct = ask().from("203.0.113.5:40000").with("host", "vpn.example.org");
    direct
        .with("x-forwarded-for", "10.0.0.1")
        .send()
        .await
        .problem(403, "not_by_proxy");
    for host in ["10.0.0.2", "localhost", "evil.example", "vpn.example.org.evil.example"] {
        by_proxy(ask())
            .with("host", host)
            .send()
            .await
            .problem(421, "wrong_host");
    }
    by_proxy(ask())
        .with("host", "VPN.example.org:443")
        .send()
        .await
        .expect(200);
    // The proxy's own health check.
    hub.get("/readyz")
        .from("203.0.113.5:40000")
        .with("host", "10.0.0.2")
        .send()
        .await
        .expect(200);
    // Metrics are not this machine's just because the proxy is.
    by_proxy(hub.get("/metrics"))
        .without("authorization")
        .send()
        .await
        .problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_behind_a_proxy_has_a_rate_of_its_own() {
    let hub = Hub::with(Typed {
        rates: hub::config::TypedRates {
            per_address: Some(2),
            ..Default::default()
        },
        ..public()
    });
    let ask = |client: &str| {
        by_proxy(hub.get("/api/v1/me"))
            .without("authorization")
            .with("x-forwarded-for", client)
    };
    for client in ["198.51.100.1", "198.51.100.2"] {
        ask(client).send().await.problem(401, "unauthorized");
        ask(client).send().await.problem(401, "unauthorized");
        ask(client).send().await.problem(429, "too_many_requests");
        // What the client says of itself is on the left.
        ask(&format!("192.0.2.1, {client}"))
            .send()
            .await
            .problem(429, "too_many_requests");
    }
}

#[test]
fn a_certificate_needs_a_key() {
    let typed = Typed {
        tls: Some(TypedTls {
            certificate: Some("cert.pem".into()),
            key: None,
        }),
        ..Typed::default()
    };
    assert!(hub::Config::new(typed).unwrap_err().to_string().contains("tls.key"));
}
