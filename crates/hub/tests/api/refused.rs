//! Changes that are refused before they begin, in the audit.

use hub::{
    config::{Typed, TypedRates},
    identity::{Role, Scope},
};
use serde_json::json;

use crate::{
    accounts::{by_proxy, public, token},
    stage::{Hub, KEY, Question},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_refused_before_it_begins_has_a_row_and_reading_has_none() {
    let hub = Hub::with(public());
    let reader = token(&hub, "anna", &[Role::User], &[Scope::Read]).await;
    let lease = "/api/v1/leases/01kb2w0v9hq3k1yv8s4n6t2m5e";
    let request = json!({"peers": [{"name": "phone", "public_key": KEY}]});
    let ask = |method: &str, path: &str| by_proxy(hub.ask(method, path));
    let create = || ask("POST", "/api/v1/leases").json(&request);
    // (question, status, code, who, on; nothing is written of what is only read)
    type Case<'a> = (Question, u16, &'a str, Option<(&'a str, String)>);
    let anna = "token:anna";
    let cases: Vec<Case<'_>> = vec![
        (
            create().without("authorization"),
            401,
            "unauthorized",
            Some(("", "POST /api/v1/leases".to_owned())),
        ),
        (
            create().by(&reader),
            403,
            "scope_missing",
            Some((anna, "POST /api/v1/leases".to_owned())),
        ),
        (
            ask("DELETE", lease).by(&reader),
            403,
            "scope_missing",
            Some((anna, format!("DELETE {lease}"))),
        ),
        (
            ask("POST", "/api/StartVPN").by(&reader),
            403,
            "scope_missing",
            Some((anna, "POST /api/StartVPN".to_owned())),
        ),
        (
            ask("POST", "/api/v1/tokens")
                .json(&json!({"name": "x", "scopes": ["launch"]}))
                .by(&reader),
            403,
            "sign_in_needed",
            Some((anna, "POST /api/v1/tokens".to_owned())),
        ),
        (
            create().by(&reader).with("host", "evil.example"),
            421,
            "wrong_host",
            Some(("", "POST /api/v1/leases".to_owned())),
        ),
        (
            create().by(&reader).from("192.0.2.9:1"),
            403,
            "not_by_proxy",
            Some(("", "POST /api/v1/leases".to_owned())),
        ),
        // What is asked wrongly is no refusal, and reading is no change.
        (create().by(&reader).body("{"), 400, "malformed_json", None),
        (ask("GET", "/api/v1/audit").by(&reader), 403, "scope_missing", None),
        (
            ask("GET", "/api/v1/leases").without("authorization"),
            401,
            "unauthorized",
            None,
        ),
    ];
    for (number, (question, status, code, expected)) in cases.into_iter().enumerate() {
        let before = hub.audit().await.len();
        let id = format!("case-{number}");
        question.with("x-request-id", &id).send().await.problem(status, code);
        let rows = hub.audit().await;
        let Some((who, on)) = expected else {
            assert_eq!(rows.len(), before, "{id}: {:?}", rows[0]);
            continue;
        };
        assert_eq!(rows.len(), before + 1, "{id}");
        let row = &rows[0];
        assert_eq!(
            (row.what.as_str(), row.outcome.as_str()),
            ("request.refused", "refused"),
            "{id}"
        );
        assert_eq!(
            (row.who.as_str(), row.on.as_str(), row.detail.as_str()),
            (who, on.as_str(), code)
        );
        let address = if code == "not_by_proxy" {
            "192.0.2.9"
        } else {
            "198.51.100.7"
        };
        assert_eq!((row.request_id.as_str(), row.address.as_str()), (id.as_str(), address));
    }
    hub.app.audit.verify(&[]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_refused_again_and_again_fills_no_disk() {
    let hub = Hub::with(Typed {
        rates: TypedRates {
            per_user: Some(2),
            per_address: Some(1_000),
        },
        ..Typed::default()
    });
    let request = json!({"peers": [{"name": "phone", "public_key": KEY}]});
    let mut refused = 0;
    for _ in 0..40 {
        let answer = hub.post("/api/v1/leases", &request).send().await;
        refused += u32::from(answer.status == 429);
    }
    assert!(refused >= 30, "{refused}");
    let count = async || {
        let rows = hub.audit().await;
        rows.iter().filter(|row| row.what == "request.refused").count()
    };
    assert_eq!(count().await, 10);
    hub.app.audit.settle().await;
    assert_eq!(count().await, 11);
    let rows = hub.audit().await;
    assert_eq!(
        (rows[0].who.as_str(), rows[1].detail.as_str()),
        (
            "local",
            "too_many_requests; more from this address are counted, and become one row within five minutes"
        )
    );
    assert!(
        rows[0].detail.starts_with(&format!("{} more of these", refused - 10)),
        "{:?}",
        rows[0]
    );
}
