//! What somebody shows is not his, or no longer.

use std::time::Duration;

use hub::identity::{Role, Scope};

use super::World;
use crate::{
    browser::{Browser, Question},
    entry,
    hub::{Hub, TOKEN},
};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_without_a_credential_that_is_his() {
    let world = World::new().await;
    let list = || Question::api("GET", "/api/v1/leases");
    let session = World::session(&world.ada);
    let (id, revoked) = entry::token(&world.ada, &["launch"]).await;
    let (_, valid) = entry::token(&world.ada, &["launch"]).await;
    let revoke = World::write(&world.ada, "DELETE", &format!("/api/v1/tokens/{id}")).await;
    assert_eq!(world.ada.peek(revoke).await.status, 204);
    let mut typo = valid.clone();
    let last = if typo.pop() == Some('0') { '1' } else { '0' };
    typo.push(last);
    // A well-formed token that nobody was given: one of another hub.
    let other = Hub::local();
    let (_, foreign) = entry::token(&entry::local(&other).await, &["admin"]).await;
    let mut signed_out = entry::as_member(&world.hub, &world.idp, "ada", &["vpn-users"]).await;
    let before = signed_out.clone();
    let csrf = signed_out.csrf().await;
    signed_out
        .ask(Question::form("/logout", &[("csrf", &csrf)]).on_own_page(&world.hub))
        .await;
    // What somebody finds who has read the database.
    let kept = world.hub.kept();
    let blob = kept.split("Blob([").nth(1).unwrap().split(']').next().unwrap();
    let hash: String = blob
        .split(", ")
        .map(|byte| format!("{:02x}", byte.parse::<u8>().unwrap()))
        .collect();

    world
        .refuse(vec![
            ("with nothing", world.nobody(), list(), 401, "unauthorized"),
            (
                "with a made-up session",
                world.with_cookie("__Host-adit", &"A".repeat(43)),
                list(),
                401,
                "unauthorized",
            ),
            (
                "with SQL",
                world.with_cookie("__Host-adit", "' OR 1=1 --"),
                list(),
                401,
                "unauthorized",
            ),
            (
                "with a session's hash",
                world.with_cookie("__Host-adit", &hash),
                list(),
                401,
                "unauthorized",
            ),
            (
                "with a session in a cookie that a neighbour could set",
                world.with_cookie("adit", &session),
                list(),
                401,
                "unauthorized",
            ),
            (
                "with a session as a token",
                world.nobody(),
                list().by(&session),
                401,
                "token_invalid",
            ),
            (
                "with a token as a session",
                world.with_cookie("__Host-adit", &valid),
                list(),
                401,
                "unauthorized",
            ),
            (
                "with a session that has signed out",
                before,
                list(),
                401,
                "unauthorized",
            ),
            (
                "with a revoked token",
                world.nobody(),
                list().by(&revoked),
                401,
                "token_invalid",
            ),
            (
                "with a mistyped token",
                world.nobody(),
                list().by(&typo),
                401,
                "token_invalid",
            ),
            (
                "with another hub's token",
                world.nobody(),
                list().by(&foreign),
                401,
                "token_invalid",
            ),
            (
                "with a printed token where none is printed",
                world.nobody(),
                list().by(TOKEN),
                401,
                "token_invalid",
            ),
            (
                "with two tokens",
                world.nobody(),
                list().by(&valid).by(&revoked),
                401,
                "token_invalid",
            ),
            (
                "with a token by another scheme",
                world.nobody(),
                list().with("authorization", &format!("Basic {valid}")),
                401,
                "unauthorized",
            ),
            (
                "with a wrong token beside a session",
                world.ada.clone(),
                list().by(&typo),
                401,
                "token_invalid",
            ),
            (
                "with a token in the address",
                world.nobody(),
                Question::api("GET", &format!("/api/v1/leases?access_token={valid}")),
                401,
                "unauthorized",
            ),
            (
                "with a name that a proxy would give",
                world.nobody(),
                list().with("x-remote-user", "ada").with("x-forwarded-user", "ada"),
                401,
                "unauthorized",
            ),
            (
                "with a path that leads around",
                world.nobody(),
                Question::api("GET", "/login/../api/v1/leases"),
                404,
                "no_such_route",
            ),
            (
                "with a second slash",
                world.nobody(),
                Question::api("GET", "//api/v1/leases"),
                404,
                "no_such_route",
            ),
        ])
        .await;

    // The same credentials, while they last, and after their time.
    assert_eq!(world.nobody().peek(list().by(&valid)).await.status, 200);
    world.hub.advance(Duration::from_secs(2 * 3600 + 1));
    world
        .refuse(vec![(
            "with a session that was idle for too long",
            world.ada.clone(),
            list(),
            401,
            "unauthorized",
        )])
        .await;
    world.hub.advance(Duration::from_secs(90 * 86_400));
    world
        .refuse(vec![(
            "with an expired token",
            world.nobody(),
            list().by(&valid),
            401,
            "token_expired",
        )])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_with_tokens_alone_has_no_other_way_in() {
    let typed = hub::config::Typed {
        oidc: None,
        api_tokens: Some(true),
        ..crate::hub::public("https://id.example.org")
    };
    let hub = Hub::with(typed);
    let mut browser = Browser::new(&hub);
    let page = browser.get("/login").await;
    assert!(page.text().contains("API token"), "{}", page.text());
    for path in ["/login/start", "/login/callback?code=x&state=y"] {
        assert_eq!(browser.get(path).await.header("location"), "/login", "{path}");
    }
    assert!(!browser.get(&format!("/login?token={TOKEN}")).await.begins_session());
    let user = entry::token_by_command(&hub, "anna", &[Role::User], &[Scope::Launch]).await;
    let admin = entry::token_by_command(&hub, "root", &[Role::User, Role::Admin], &[Scope::Admin]).await;
    let audit = || Question::api("GET", "/api/v1/audit");
    assert_eq!(browser.peek(audit().by(&user)).await.status, 403);
    assert_eq!(browser.peek(audit().by(&admin)).await.status, 200);
}
