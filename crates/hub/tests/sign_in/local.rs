//! The printed token, sessions, and signing out.

use std::time::Duration;

use hub::{
    config::{Typed, TypedRates},
    identity::{Role, Scope},
};

use crate::{
    browser::{Browser, Question},
    entry,
    hub::{Hub, TOKEN},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_address_signs_in_and_takes_the_token_out_of_the_address() {
    let hub = Hub::local();
    let mut browser = Browser::new(&hub);
    assert_eq!(browser.me().await, None);
    let answer = browser.get(&format!("/login?token={TOKEN}&next=/history")).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/history"));
    let set = answer.header("set-cookie");
    assert!(set.starts_with("adit="), "{set}");
    assert!(
        set.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax"),
        "{set}"
    );
    assert_eq!(answer.header("referrer-policy"), "same-origin");
    assert_eq!(answer.header("cache-control"), "no-store");
    let me = browser.me().await.unwrap();
    assert_eq!(
        (&me["subject"], &me["roles"]),
        (&"local".into(), &serde_json::json!(["user", "admin"]))
    );
    // Who is in need not sign in.
    assert_eq!(browser.get("/login?next=/history").await.header("location"), "/history");

    let began = hub.audited("session.begin", "ok").await;
    assert_eq!(
        (began.len(), began[0].who.as_str(), began[0].address.as_str()),
        (1, "local", "127.0.0.1")
    );
    let session = browser.cookies["adit"].clone();
    for secret in [TOKEN, &session] {
        assert!(!hub.kept().contains(secret), "a secret is kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_signed_in_comes_back_to_where_he_wanted_to_go() {
    let hub = Hub::local();
    let mut browser = Browser::new(&hub);
    let answer = browser.get("/history?page=2").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("location")),
        (303, "/login?next=%2Fhistory%3Fpage%3D2")
    );
    let page = browser.get(answer.header("location")).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("value=\"/history?page=2\""), "{}", page.text());
    let form = Question::form("/login", &[("token", TOKEN), ("next", "/history?page=2")]).on_own_page(&hub);
    let answer = browser.ask(form).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("location")),
        (303, "/history?page=2")
    );
    assert!(browser.me().await.is_some());
    // A program is told instead.
    let answer = Browser::new(&hub).peek(Question::api("GET", "/api/v1/leases")).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "unauthorized"));
    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"adit\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_does_not_stay_in_the_address_and_is_soon_not_looked_at() {
    let hub = Hub::local();
    let mut browser = Browser::new(&hub);
    let answer = browser
        .get(&format!("/login?token={}&next=/history", &TOKEN[1..]))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("location")),
        (303, "/login?next=%2Fhistory&failed=token")
    );
    let page = browser.get(answer.header("location")).await;
    assert!(page.text().contains("This is not the token"), "{}", page.text());
    let form = |token| Question::form("/login", &[("token", token)]).on_own_page(&hub);
    for _ in 0..8 {
        assert_eq!(browser.ask(form("wrong")).await.status, 403);
    }
    // By whatever way.
    let answer = browser.peek(Question::api("GET", "/api/v1/me").by("wrong")).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "token_invalid"));
    assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
    // From here on, even the right one has to wait.
    assert_eq!(browser.ask(form(TOKEN)).await.status, 429);
    assert_eq!(
        browser.get(&format!("/login?token={TOKEN}")).await.header("location"),
        "/login?failed=wait"
    );
    let answer = browser.peek(Question::api("GET", "/api/v1/me").by(TOKEN)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (429, "too_many_attempts")
    );
    assert!(
        answer
            .header("retry-after")
            .parse::<u32>()
            .is_ok_and(|secs| (1..=300).contains(&secs))
    );
    let refused = hub.audited("session.refused", "refused").await;
    assert_eq!(refused.len(), 10);
    assert!(
        refused[9].detail.contains("more from this address"),
        "{}",
        refused[9].detail
    );
    // Whoever is in, stays.
    hub.advance(Duration::from_secs(301));
    assert_eq!(browser.ask(form(TOKEN)).await.status, 303);
    assert!(browser.me().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_by_time_by_idleness_and_by_signing_out() {
    let hub = Hub::local();
    let hour = Duration::from_secs(3600);
    let idle = entry::local(&hub).await;
    let busy = entry::local(&hub).await;
    hub.advance(hour);
    assert!(busy.me().await.is_some());
    hub.advance(hour + Duration::from_secs(1));
    assert!(idle.me().await.is_none());
    for _ in 0..9 {
        assert!(busy.me().await.is_some());
        hub.advance(hour);
    }
    assert!(busy.me().await.is_some());
    hub.advance(hour);
    assert!(busy.me().await.is_none());

    let mut browser = entry::local(&hub).await;
    let stolen = browser.clone();
    let csrf = browser.csrf().await;
    let answer = browser
        .ask(Question::form("/logout", &[("csrf", &csrf)]).on_own_page(&hub))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("location")),
        (303, "/login?out=")
    );
    assert!(browser.cookies.is_empty());
    assert!(browser.get("/login?out=").await.text().contains("You are signed out"));
    assert!(stolen.me().await.is_none());
    assert_eq!(hub.audited("session.end", "ok").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_again_makes_another_session_and_ends_the_former() {
    let hub = Hub::local();
    let mut browser = entry::local(&hub).await;
    let former = browser.clone();
    browser.get(&format!("/login?token={TOKEN}")).await;
    assert_ne!(browser.cookies["adit"], former.cookies["adit"]);
    assert!(browser.me().await.is_some());
    assert!(former.me().await.is_none());
    assert_eq!(hub.app.sign_in.active_sessions().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sign_in_form_is_taken_on_own_pages_only_be_somebody_signed_in_or_not() {
    let hub = Hub::local();
    let form = || Question::form("/login", &[("token", TOKEN)]);
    for browser in [Browser::new(&hub), entry::local(&hub).await] {
        let answer = browser.peek(form().with("origin", "http://evil.example")).await;
        assert_eq!((answer.status.as_u16(), answer.begins_session()), (403, false));
        assert!(browser.peek(form().on_own_page(&hub)).await.begins_session());
        // This machine has several names.
        assert!(
            browser
                .peek(form().with("origin", "http://localhost:8790"))
                .await
                .begins_session()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_tokens_survive_a_restart_but_not_a_change_of_who_lets_in() {
    let hub = Hub::local();
    let mut browser = entry::local(&hub).await;
    let (_, token) = entry::token(&browser, &["read"]).await;
    let me = Question::api("GET", "/api/v1/me").by(&token);
    browser.hub = hub.restarted(Typed::default());
    assert!(browser.me().await.is_some());
    assert_eq!(browser.peek(me.clone()).await.status, 200);
    // From here on a provider says who comes in.
    browser.hub = hub.restarted(Typed {
        oidc: Some(crate::hub::oidc("http://127.0.0.1:9")),
        ..Typed::default()
    });
    assert!(browser.me().await.is_none());
    let answer = browser.peek(me.clone()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (403, "account_blocked")
    );
    // And from here on nobody has tokens.
    browser.hub = hub.restarted(Typed {
        api_tokens: Some(false),
        ..Typed::default()
    });
    assert_eq!(browser.peek(me).await.code(), "token_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_works_until_it_is_revoked() {
    let hub = Hub::local();
    let browser = entry::local(&hub).await;
    let (id, token) = entry::token(&browser, &["launch"]).await;
    assert!(token.starts_with("adit_") && !hub.kept().contains(&token));
    let program = Browser::new(&hub);
    let me = program.peek(Question::api("GET", "/api/v1/me").by(&token)).await;
    assert!(me.text().contains("\"local\""), "{}", me.text());
    let listed = browser.peek(Question::api("GET", "/api/v1/tokens")).await;
    assert!(listed.text().contains(&id) && !listed.text().contains(&token));
    assert!(!listed.text().contains("\"used_at\":null"), "{}", listed.text());
    // It may revoke itself.
    let answer = program
        .peek(Question::api("DELETE", &format!("/api/v1/tokens/{id}")).by(&token))
        .await;
    assert_eq!(answer.status, 204);
    let answer = program.peek(Question::api("GET", "/api/v1/me").by(&token)).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "token_invalid"));
    let rows: Vec<_> = hub
        .audit()
        .await
        .into_iter()
        .filter(|row| row.what.starts_with("token."))
        .collect();
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.what.as_str(), row.outcome.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("token.create", "begun"),
            ("token.create", "ok"),
            ("token.revoke", "begun"),
            ("token.revoke", "ok"),
            ("token.refused", "refused"),
        ]
    );
    assert!(rows[1..].iter().all(|row| row.on == id));
    hub.app.audit.verify(&[]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_by_a_page_is_looked_up_once_a_request() {
    let hub = Hub::with(Typed {
        rates: TypedRates {
            per_user: Some(5),
            per_address: None,
        },
        ..Typed::default()
    });
    let browser = entry::local(&hub).await;
    let form = || {
        Question::form("/leases/x/end", &[])
            .on_own_page(&hub)
            .with("accept", "text/html")
    };
    for _ in 0..5 {
        let answer = browser.peek(form()).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.header("content-type").starts_with("text/html"));
    }
    assert_eq!(browser.peek(form()).await.status, 429);
    let rows = hub.audited("request.refused", "refused").await;
    let told: Vec<_> = rows.iter().map(|row| (row.who.as_str(), row.detail.as_str())).collect();
    assert_eq!(told[..5], [("local", "wrong_csrf"); 5]);
    assert_eq!(told[5..], [("local", "too_many_requests")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_names_who_made_a_token_by_the_command_line_and_what_roles_that_changed() {
    let hub = Hub::with(Typed::default());
    let (user, admin) = (&[Role::User][..], &[Role::User, Role::Admin][..]);
    entry::token_by_command(&hub, "ci", user, &[Scope::Launch]).await;
    entry::token_by_command(&hub, "ci", user, &[Scope::Read]).await;
    entry::token_by_command(&hub, "ci", admin, &[Scope::Admin]).await;
    let rows = hub.audit().await;
    assert!(
        rows.iter()
            .all(|row| row.who == "operator:test" && row.address.is_empty()),
        "{rows:?}"
    );
    let roles = hub.audited("account.roles", "ok").await;
    let told: Vec<_> = roles.iter().map(|row| (row.on.as_str(), row.detail.as_str())).collect();
    assert_eq!(
        told,
        [("token:ci", "user, new"), ("token:ci", "user admin instead of user")]
    );
    let tokens = hub.audited("token.create", "ok").await;
    assert_eq!(tokens.len(), 3);
    assert!(
        tokens[0].detail.starts_with("token:ci's `test` for launch, until "),
        "{}",
        tokens[0].detail
    );
    hub.app.audit.verify(&[]).unwrap();
}
