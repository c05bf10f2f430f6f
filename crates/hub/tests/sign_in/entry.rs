//! The ways in that are meant.

use hub::{
    identity::{Role, Scope},
    sign_in::NewToken,
};
use serde_json::json;

use crate::{
    browser::{Answer, Browser, Question},
    hub::{Hub, TOKEN},
    idp::{Back, Idp},
};

/// A browser that has come in by the printed token.
pub(crate) async fn local(hub: &Hub) -> Browser {
    let mut browser = Browser::new(hub);
    let answer = browser.get(&format!("/login?token={TOKEN}")).await;
    assert!(answer.begins_session(), "{answer:?}");
    browser
}

/// Sends a browser to the provider, and gives where it is sent back to.
pub(crate) async fn to_provider(browser: &mut Browser, idp: &Idp, next: &str) -> Back {
    let answer = browser.get(&format!("/login/start?next={next}")).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    idp.authorize(answer.header("location"))
}

/// A whole sign-in at the provider.
pub(crate) async fn by_provider(browser: &mut Browser, idp: &Idp) -> Answer {
    let back = to_provider(browser, idp, "/history").await;
    browser.get(&back.path()).await
}

/// A browser that has come in by the provider, as somebody with these groups.
pub(crate) async fn as_member(hub: &Hub, idp: &Idp, who: &str, groups: &[&str]) -> Browser {
    idp.plan(|plan| plan.claims = json!({"sub": who, "name": who, "email": "x@example.org", "groups": groups}));
    let mut browser = Browser::new(hub);
    let answer = by_provider(&mut browser, idp).await;
    assert!(answer.begins_session(), "{}", answer.text());
    browser
}

/// An API token of the browser's account: its id and its text.
pub(crate) async fn token(browser: &Browser, scopes: &[&str]) -> (String, String) {
    let request = json!({"name": "test", "scopes": scopes});
    let question = Question::api("POST", "/api/v1/tokens")
        .json(&request)
        .on_own_page(&browser.hub);
    let answer = browser.peek(question.with("x-csrf-token", &browser.csrf().await)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    (
        made["token"]["id"].as_str().unwrap().to_owned(),
        made["text"].as_str().unwrap().to_owned(),
    )
}

/// A token that the command line made.
pub(crate) async fn token_by_command(hub: &Hub, owner: &str, roles: &[Role], scopes: &[Scope]) -> String {
    let new = NewToken {
        name: "test".to_owned(),
        scopes: scopes.iter().copied().collect(),
        lifetime: None,
    };
    let made = hub
        .app
        .sign_in
        .create_token_by_command("operator:test", owner, roles.iter().copied().collect(), new)
        .await;
    made.unwrap().1.expose().to_owned()
}
