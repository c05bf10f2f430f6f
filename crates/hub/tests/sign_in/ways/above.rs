//! Somebody is signed in, and asks for what is another's or above him.

use serde_json::json;

use super::{OTHER_KEY, World};
use crate::{browser::Question, entry};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reaches_what_is_anothers_or_above_him() {
    let world = World::new().await;
    let path = format!("/api/v1/leases/{}", world.lease);
    let eve = || world.eve.clone();
    let write = async |method, path: &str| World::write(&world.eve, method, path).await;
    let (_, eve_token) = entry::token(&world.eve, &["launch"]).await;
    let (_, reader) = entry::token(&world.ada, &["read"]).await;
    let (ada_id, _) = entry::token(&world.ada, &["read"]).await;
    let (_, weak_root) = entry::token(&world.root, &["launch"]).await;
    let peer = json!({"name": "mine", "public_key": OTHER_KEY});
    let lease = json!({"peers": [{"name": "x", "public_key": OTHER_KEY}]});
    let api = Question::api;
    let nobody = || world.nobody();
    let subject = format!("{}|ada", world.idp.issuer);

    world
        .refuse(vec![
            ("another's lease", eve(), api("GET", &path), 404, "not_found"),
            (
                "another's lease, by a token",
                nobody(),
                api("GET", &path).by(&eve_token),
                404,
                "not_found",
            ),
            (
                "another's configuration",
                eve(),
                api("GET", &format!("{path}/peers/phone/configuration")),
                404,
                "not_found",
            ),
            (
                "another's key",
                eve(),
                write("POST", &format!("{path}/peers/phone/hand-over")).await,
                404,
                "not_found",
            ),
            (
                "another's events",
                eve(),
                api("GET", &format!("{path}/events")),
                404,
                "not_found",
            ),
            (
                "another's traffic",
                eve(),
                api("GET", &format!("{path}/traffic")),
                404,
                "not_found",
            ),
            (
                "a peer in another's lease",
                eve(),
                write("POST", &format!("{path}/peers")).await.json(&peer),
                404,
                "not_found",
            ),
            (
                "another key for another's peer",
                eve(),
                write("PUT", &format!("{path}/peers/phone"))
                    .await
                    .json(&json!({"public_key": OTHER_KEY})),
                404,
                "not_found",
            ),
            (
                "removing another's peer",
                eve(),
                write("DELETE", &format!("{path}/peers/phone")).await,
                404,
                "not_found",
            ),
            (
                "extending another's lease",
                eve(),
                write("POST", &format!("{path}/extend"))
                    .await
                    .json(&json!({"by_secs": 60})),
                404,
                "not_found",
            ),
            (
                "ending another's lease",
                eve(),
                write("DELETE", &path).await,
                404,
                "not_found",
            ),
            (
                "a lease for another",
                eve(),
                write("POST", "/api/v1/leases")
                    .await
                    .json(&json!({"owner": subject, "peers": [{"name": "x", "public_key": OTHER_KEY}]})),
                422,
                "invalid",
            ),
            (
                "another's leases",
                eve(),
                api("GET", &format!("/api/v1/leases?owner={}", subject.replace('|', "%7C"))),
                403,
                "admin_only",
            ),
            ("the audit", eve(), api("GET", "/api/v1/audit"), 403, "admin_only"),
            (
                "a token above its maker",
                eve(),
                write("POST", "/api/v1/tokens")
                    .await
                    .json(&json!({"name": "x", "scopes": ["admin"]})),
                403,
                "beyond_owner",
            ),
            (
                "a role in a request",
                eve(),
                write("POST", "/api/v1/tokens")
                    .await
                    .json(&json!({"name": "x", "scopes": ["read"], "roles": ["admin"]})),
                422,
                "invalid",
            ),
            (
                "another's token",
                eve(),
                write("DELETE", &format!("/api/v1/tokens/{ada_id}")).await,
                404,
                "not_found",
            ),
            (
                "tokens by a token",
                nobody(),
                api("GET", "/api/v1/tokens").by(&eve_token),
                403,
                "sign_in_needed",
            ),
            (
                "a token by a token",
                nobody(),
                api("POST", "/api/v1/tokens")
                    .by(&eve_token)
                    .json(&json!({"name": "x", "scopes": ["launch"]})),
                403,
                "sign_in_needed",
            ),
            (
                "launching by a token that reads",
                nobody(),
                api("POST", "/api/v1/leases").by(&reader).json(&lease),
                403,
                "scope_missing",
            ),
            (
                "ending by a token that reads",
                nobody(),
                api("DELETE", &path).by(&reader),
                403,
                "scope_missing",
            ),
            (
                "an admin's token without the scope: the audit",
                nobody(),
                api("GET", "/api/v1/audit").by(&weak_root),
                403,
                "scope_missing",
            ),
            (
                "an admin's token without the scope: another's lease",
                nobody(),
                api("GET", &path).by(&weak_root),
                404,
                "not_found",
            ),
        ])
        .await;
    // The admin himself sees it.
    assert_eq!(world.root.peek(api("GET", &path)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_somebody_made_up_shows_him_nothing_of_others() {
    let world = World::new().await;
    let list = async |browser: &crate::browser::Browser, cursor: &str| {
        let question = Question::api("GET", &format!("/api/v1/leases?cursor={cursor}"));
        browser.peek(question).await
    };
    for (cursor, status) in [
        // Another's lease, the latest that could be, the first, and what is none.
        (world.lease.as_str(), 200),
        ("7zzzzzzzzzzzzzzzzzzzzzzzzz", 200),
        ("00000000000000000000000000", 200),
        ("8zzzzzzzzzzzzzzzzzzzzzzzzz", 422),
        ("%00", 422),
        ("' OR 1=1 --", 422),
    ] {
        let cursor = cursor.replace(' ', "%20");
        let answer = list(&world.eve, &cursor).await;
        assert_eq!(answer.status, status, "{cursor}: {}", answer.text());
        assert!(
            !answer.text().contains(&format!("\"id\":\"{}", world.lease)),
            "{cursor}"
        );
        // Its owner goes on from there.
        let own = list(&world.ada, &cursor).await;
        assert_eq!(
            (own.status.as_u16(), own.text().contains("\"id\":")),
            (status, cursor.starts_with("7z"))
        );
    }
}
