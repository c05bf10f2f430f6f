//! Sign-in at a provider, and providers that are not what they should be.

use std::time::Duration;

use hub::config::{Typed, TypedOidc};
use serde_json::json;

use crate::{
    browser::{Browser, Question},
    entry,
    hub::{Hub, public},
    idp::{Idp, Signed, Token, elsewhere, endless},
};

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_in_at_the_provider_and_out_again() {
    let idp = Idp::start().await;
    let hub = Hub::public(&idp.issuer);
    let mut browser = Browser::new(&hub);
    let page = browser.get("/login?next=/history").await;
    assert!(
        page.text().contains("href=\"/login/start?next=%2Fhistory\""),
        "{}",
        page.text()
    );
    let start = browser.get("/login/start?next=/history").await;
    let set = start.header("set-cookie").to_owned();
    assert!(set.starts_with("__Host-adit-sign-in="), "{set}");
    assert!(
        set.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"),
        "{set}"
    );
    let back = idp.authorize(start.header("location"));
    let answer = browser.get(&back.path()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("location")),
        (303, "/history"),
        "{}",
        answer.text()
    );
    assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), ["__Host-adit"]);
    let me = browser.me().await.unwrap();
    assert_eq!(me["subject"], format!("{}|ada", idp.issuer));
    assert_eq!((&me["name"], &me["roles"]), (&"Ada".into(), &json!(["user"])));
    let began = hub.audited("session.begin", "ok").await;
    assert_eq!((began.len(), began[0].address.as_str()), (1, "198.51.100.7"));
    assert!(!hub.kept().contains("the-access-token"));

    let csrf = browser.csrf().await;
    let answer = browser
        .ask(Question::form("/logout", &[("csrf", &csrf)]).on_own_page(&hub))
        .await;
    assert_eq!(
        answer.header("refresh"),
        format!(
            "0; url={}/end?client_id=hub&post_logout_redirect_uri=https%3A%2F%2Fvpn.example.org%2Flogin",
            idp.issuer
        )
    );
    assert!(browser.cookies.is_empty() && browser.me().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_goes_on_to_the_provider_and_what_is_malformed_does_not() {
    let idp = Idp::start().await;
    let hub = Hub::public(&idp.issuer);
    let context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for said in [None, Some(context), Some(&context[1..])] {
        let mut browser = Browser::new(&hub);
        let back = entry::to_provider(&mut browser, &idp, "/history").await;
        let mut question = Question::get(&back.path()).with("tracestate", "vendor=secret");
        if let Some(said) = said {
            question = question.with("traceparent", said);
        }
        let answer = browser.ask(question).await;
        assert!(answer.begins_session(), "{}", answer.text());
        assert_eq!(answer.header("traceparent"), "");
    }
    let traces = idp.plan(|plan| plan.traces.clone());
    assert_eq!(traces, [None, Some(context.to_owned()), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_follow_the_provider_at_each_sign_in_for_sessions_and_tokens_alike() {
    let idp = Idp::start().await;
    let hub = Hub::public(&idp.issuer);
    let admin = entry::as_member(&hub, &idp, "ada", &["vpn-admins"]).await;
    let (_, token) = entry::token(&admin, &["admin"]).await;
    let audit = |browser: &Browser| browser.clone();
    let by_token = Question::api("GET", "/api/v1/audit").by(&token);
    let by_session = Question::api("GET", "/api/v1/audit");
    assert_eq!(admin.peek(by_session.clone()).await.status, 200);
    assert_eq!(admin.peek(by_token.clone()).await.status, 200);
    // Elsewhere, later, with fewer groups.
    let user = entry::as_member(&hub, &idp, "ada", &["vpn-users"]).await;
    for question in [by_session, by_token.clone()] {
        let answer = audit(&admin).peek(question).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "admin_only"));
    }
    assert!(user.me().await.is_some());
    // And with none at all: nothing is left of what was there.
    idp.plan(|plan| plan.claims["groups"] = json!(["others"]));
    let mut browser = Browser::new(&hub);
    let answer = entry::by_provider(&mut browser, &idp).await;
    assert_eq!(answer.status, 403);
    assert!(!answer.begins_session());
    assert!(answer.text().contains("groups"), "{}", answer.text());
    assert!(user.me().await.is_none() && admin.me().await.is_none());
    assert_eq!(admin.peek(by_token).await.code(), "account_blocked");
    let refused = hub.audited("session.refused", "refused").await;
    assert_eq!(refused[0].who, format!("{}|ada", idp.issuer));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_token_does_not_say_is_asked_for() {
    let idp = Idp::start().await;
    let hub = Hub::public(&idp.issuer);
    idp.plan(|plan| {
        plan.claims = json!({"sub": "ada"});
        plan.user_info = json!({"sub": "ada", "name": "Ada", "email": "ada@example.org", "groups": ["vpn-admins"]});
    });
    let mut browser = Browser::new(&hub);
    entry::by_provider(&mut browser, &idp).await;
    let me = browser.me().await.unwrap();
    assert_eq!((&me["name"], &me["roles"]), (&"Ada".into(), &json!(["user", "admin"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_changes_its_keys_is_asked_for_them() {
    let idp = Idp::start().await;
    let hub = Hub::public(&idp.issuer);
    entry::as_member(&hub, &idp, "ada", &["vpn-users"]).await;
    entry::as_member(&hub, &idp, "ada", &["vpn-users"]).await;
    assert_eq!(idp.plan(|plan| plan.keys_read), 1);
    idp.change_key();
    entry::as_member(&hub, &idp, "ada", &["vpn-users"]).await;
    assert_eq!(idp.plan(|plan| plan.keys_read), 2);
    // And from time to time anyway.
    hub.advance(Duration::from_secs(3601));
    let mut browser = Browser::new(&hub);
    entry::to_provider(&mut browser, &idp, "/").await;
    assert_eq!(idp.plan(|plan| plan.keys_read), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_tabs_sign_in_side_by_side() {
    let idp = Idp::start().await;
    let hub = Hub::public(&idp.issuer);
    let mut browser = Browser::new(&hub);
    let one = entry::to_provider(&mut browser, &idp, "/history").await;
    let other = entry::to_provider(&mut browser, &idp, "/tokens").await;
    assert_eq!(browser.clone().get(&one.path()).await.header("location"), "/history");
    assert_eq!(browser.get(&other.path()).await.header("location"), "/tokens");
}

type Harm = fn(&mut Token);

/// What a provider may do to a token, and nobody comes in.
const HARMS: [(&str, Harm); 27] = [
    ("another nonce", |token| token.claims["nonce"] = "x".into()),
    ("no nonce", |token| without(token, "nonce")),
    ("for another client", |token| token.claims["aud"] = "other".into()),
    ("for another client, too", |token| {
        token.claims["aud"] = json!(["hub", "other"])
    }),
    ("for nobody", |token| without(token, "aud")),
    ("made for another party", |token| token.claims["azp"] = "other".into()),
    ("from another issuer", |token| {
        token.claims["iss"] = "https://evil.example".into()
    }),
    ("from the issuer with a slash", |token| {
        token.claims["iss"] = format!("{}/", token.claims["iss"].as_str().unwrap()).into();
    }),
    ("from nobody", |token| without(token, "iss")),
    ("expired", |token| token.claims["exp"] = (now() - 61).into()),
    ("without an end", |token| without(token, "exp")),
    ("of the future", |token| token.claims["iat"] = (now() + 120).into()),
    ("not valid yet", |token| token.claims["nbf"] = (now() + 120).into()),
    ("of nobody", |token| without(token, "sub")),
    ("unsigned", |token| {
        token.header["alg"] = "none".into();
        token.signed = Signed::Not;
    }),
    ("unsigned, in capitals", |token| {
        token.header["alg"] = "NONE".into();
        token.signed = Signed::Not;
    }),
    ("with an empty signature", |token| token.signed = Signed::Not),
    ("signed by somebody else, who says he is the provider's key", |token| {
        token.signed = Signed::ByStranger
    }),
    ("signed by a key that the provider does not have", |token| {
        token.header["kid"] = "three".into()
    }),
    ("signed by the name of the client", |token| {
        token.header["alg"] = "HS256".into();
        token.signed = Signed::BySecret("hub");
    }),
    ("signed by the public key as a secret", |token| {
        token.header["alg"] = "HS256".into();
        token.signed = Signed::ByPublicKey;
    }),
    ("changed after it was signed", |token| {
        token.text = |text| {
            let mut parts: Vec<_> = text.split('.').map(str::to_owned).collect();
            let letter = if parts[1][10..].starts_with('A') { "B" } else { "A" };
            parts[1].replace_range(10..11, letter);
            Some(parts.join("."))
        };
    }),
    ("with a header that we have to understand and do not", |token| {
        token.header["crit"] = json!(["exp"])
    }),
    ("with another's access token", |token| {
        token.claims["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA".into()
    }),
    ("missing", |token| token.text = |_| None),
    ("at another place", |token| token.instead = Some(elsewhere)),
    ("endless", |token| token.instead = Some(endless)),
];

fn without(token: &mut Token, claim: &str) {
    token.claims.as_object_mut().unwrap().remove(claim);
}

fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_what_it_has_to_be_lets_nobody_in() {
    let idp = Idp::start().await;
    let hub = Hub::public(&idp.issuer);
    for (what, harm) in HARMS {
        idp.plan(|plan| plan.harm = harm);
        let mut browser = Browser::new(&hub);
        let answer = entry::by_provider(&mut browser, &idp).await;
        assert!((400..600).contains(&answer.status.as_u16()), "{what}: {answer:?}");
        assert!(!answer.begins_session() && browser.me().await.is_none(), "{what}");
        // It says why, and does not show the token.
        assert!(
            answer.text().contains("Not signed in") && !answer.text().contains("eyJ"),
            "{what}: {}",
            answer.text()
        );
    }
    // What is within the tolerance of clocks comes in, and so does a token that says no more than it has to.
    let fine: [Harm; 4] = [
        |_| (),
        |token| token.claims["exp"] = (now() - 30).into(),
        |token| token.claims["iat"] = (now() + 30).into(),
        |token| {
            token.claims["azp"] = "hub".into();
            token.claims["aud"] = json!(["hub"]);
        },
    ];
    for harm in fine {
        idp.plan(|plan| plan.harm = harm);
        let mut browser = Browser::new(&hub);
        let answer = entry::by_provider(&mut browser, &idp).await;
        assert!(answer.begins_session(), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_somebody_else_is_not_taken() {
    let idp = Idp::start().await;
    let hub = Hub::public(&idp.issuer);
    idp.plan(|plan| {
        plan.claims = json!({"sub": "eve"});
        plan.user_info = json!({"sub": "ada", "name": "Ada", "groups": ["vpn-admins"]});
    });
    let mut browser = Browser::new(&hub);
    let answer = entry::by_provider(&mut browser, &idp).await;
    assert_eq!(answer.status, 502);
    assert!(browser.me().await.is_none());
    // What is signed comes before what is not.
    idp.plan(|plan| {
        plan.claims = json!({"sub": "eve", "groups": ["vpn-users"]});
        plan.user_info = json!({"sub": "eve", "groups": ["vpn-admins"]});
    });
    entry::by_provider(&mut browser, &idp).await;
    assert_eq!(browser.me().await.unwrap()["roles"], json!(["user"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_description_does_not_fit_is_not_asked() {
    let idp = Idp::start().await;
    let whole = idp.plan(|plan| plan.discovery.clone());
    for (what, field, value) in [
        ("another issuer", "issuer", json!("https://evil.example")),
        (
            "tokens in the clear",
            "token_endpoint",
            json!("http://id.example.org/token"),
        ),
        (
            "sign-in in the clear",
            "authorization_endpoint",
            json!("http://id.example.org/authorize"),
        ),
        (
            "a script for a place",
            "authorization_endpoint",
            json!("javascript:alert(1)"),
        ),
        ("keys in the clear", "jwks_uri", json!("http://id.example.org/keys")),
        ("no place for tokens", "token_endpoint", json!(null)),
    ] {
        let hub = Hub::public(&idp.issuer);
        idp.plan(|plan| {
            plan.discovery = whole.clone();
            plan.discovery[field] = value;
        });
        let mut browser = Browser::new(&hub);
        let answer = browser.get("/login/start").await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (503, ""), "{what}");
        // Once it is mended, people come in.
        idp.plan(|plan| plan.discovery = whole.clone());
        hub.advance(Duration::from_secs(6));
        assert!(entry::by_provider(&mut browser, &idp).await.begins_session(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_answer_is_said_to_be_so() {
    let hub = Hub::public("http://127.0.0.1:9");
    let mut browser = Browser::new(&hub);
    let answer = browser.get("/login/start").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("http://127.0.0.1:9"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_at_the_provider_is_told_so() {
    let idp = Idp::start().await;
    let hub = Hub::public(&idp.issuer);
    let mut browser = Browser::new(&hub);
    let back = entry::to_provider(&mut browser, &idp, "/").await;
    let iss: String = openidconnect::url::form_urlencoded::byte_serialize(idp.issuer.as_bytes()).collect();
    let path = format!(
        "/login/callback?error=access_denied&error_description=%3Cb%3Eno%3C%2Fb%3E&state={}&iss={iss}",
        back.state
    );
    let answer = browser.get(&path).await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("access_denied &lt;b&gt;no"), "{}", answer.text());
}

#[test]
fn a_provider_that_would_let_everybody_in_is_refused() {
    let open = |oidc: TypedOidc| {
        let config = hub::Config::new(Typed {
            oidc: Some(oidc),
            ..public("https://id.example.org")
        });
        let config = config.map_err(|error| error.to_string())?;
        let database = std::sync::Arc::new(launch::store::Database::in_memory().unwrap());
        let audit = hub::audit::Audit::open(std::sync::Arc::clone(&database), launch::Clock::system()).unwrap();
        let opened = hub::sign_in::SignIn::open(&config, hub::sign_in::Given::default(), database, audit);
        opened.map(|_| ()).map_err(|error| error.to_string())
    };
    let tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    // (issuer, values that make a user, says)
    for (issuer, users, says) in [
        ("https://accounts.google.com", &["example.org"][..], None),
        (
            "https://accounts.google.com",
            &[],
            Some("everybody can have an account"),
        ),
        (&format!("https://login.microsoftonline.com/{tenant}/v2.0"), &[], None),
        (
            "https://login.microsoftonline.com/common/v2.0",
            &[],
            Some("everybody in"),
        ),
        (
            "https://login.microsoftonline.com/organizations/v2.0",
            &[],
            Some("everybody in"),
        ),
        (
            "https://login.microsoftonline.com/consumers/v2.0",
            &[],
            Some("everybody in"),
        ),
        ("http://id.example.org", &[], Some("https://")),
    ] {
        let found = open(TypedOidc {
            issuer: Some(issuer.to_owned()),
            client_id: Some("hub".to_owned()),
            user_values: users.iter().map(|value| (*value).to_owned()).collect(),
            ..TypedOidc::default()
        });
        match says {
            None => assert_eq!(found, Ok(()), "{issuer}"),
            Some(says) => assert!(
                found.as_ref().is_err_and(|error| error.contains(says)),
                "{issuer}: {found:?}"
            ),
        }
    }
}
