//! A whole round with a provider that others wrote, and that is certified: npm's oidc-provider.

use std::collections::BTreeMap;

use hub::config::{Typed, TypedOidc};
use netlab::serve::oidc::{Claims, Client, Provider, Settings, User, oidc};
use openidconnect::url::Url;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    browser::{Browser, Question},
    hub::{Hub, public},
};

/// A browser as the provider sees it.
#[derive(Default)]
struct Visitor {
    cookies: BTreeMap<String, String>,
}

impl Visitor {
    /// Asks, and gives where the answer leads to.
    async fn ask(&mut self, method: &str, url: &Url, form: &str) -> Option<Url> {
        let address = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        let mut connection = TcpStream::connect(&address).await.unwrap();
        let target = &url[openidconnect::url::Position::BeforePath..];
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\nCookie: {}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            cookies.join("; "),
            form.len()
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let head = answer.split("\r\n\r\n").next().unwrap();
        let mut location = None;
        for line in head.lines().skip(1) {
            let (name, value) = line.split_once(": ").unwrap();
            match name.to_ascii_lowercase().as_str() {
                "set-cookie" => {
                    let (name, value) = value.split(';').next().unwrap().split_once('=').unwrap();
                    self.cookies.insert(name.to_owned(), value.to_owned());
                }
                "location" => location = Some(url.join(value).unwrap()),
                _ => {}
            }
        }
        location
    }

    /// Signs in as `sub`, or refuses if it is empty, and gives where the hub's own browser goes back to.
    async fn sign_in(&mut self, provider: &Provider, url: &str, sub: &str) -> String {
        let mut url = Url::parse(url).unwrap();
        while url.as_str().starts_with(provider.issuer()) {
            let form = format!("sub={sub}");
            let is_page = url.path().starts_with("/interaction/");
            let (method, form) = if is_page { ("POST", form.as_str()) } else { ("GET", "") };
            url = self
                .ask(method, &url, form)
                .await
                .unwrap_or_else(|| panic!("{url} leads nowhere"));
        }
        assert_eq!(url.host_str(), Some("vpn.example.org"));
        url[openidconnect::url::Position::BeforePath..].to_owned()
    }
}

fn settings(secret: Option<&str>, claims: Claims) -> Settings {
    let client = Client {
        id: "hub".to_owned(),
        secret: secret.map(str::to_owned),
        redirects: vec!["https://vpn.example.org/login/callback".to_owned()],
        signed_out: vec!["https://vpn.example.org/login".to_owned()],
    };
    let user = |sub: &str, groups: &[&str]| User {
        sub: sub.to_owned(),
        claims: json!({"name": sub.to_uppercase(), "email": format!("{sub}@example.org"), "email_verified": true, "groups": groups}),
    };
    let users = vec![
        user("ada", &["vpn-admins"]),
        user("bob", &["vpn-users"]),
        user("eve", &["others"]),
    ];
    Settings {
        claims,
        ..Settings::new(client, users)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_by_a_provider_that_others_wrote() {
    netlab::requires!("node", "npm:oidc-provider");
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    // What the header of HTTP's basic authentication has to escape.
    std::fs::write(&secret, "a secret+with/signs:%\n").unwrap();
    for (has_secret, claims) in [(true, Claims::InIdToken), (false, Claims::AtUserInfo)] {
        let given = has_secret.then_some("a secret+with/signs:%");
        let provider = tokio::task::spawn_blocking(move || oidc(None, &settings(given, claims)))
            .await
            .unwrap();
        let hub = Hub::with(Typed {
            oidc: Some(TypedOidc {
                client_secret_file: has_secret.then(|| secret.clone()),
                scopes: Some(vec!["profile".to_owned(), "email".to_owned(), "groups".to_owned()]),
                ..crate::hub::oidc(provider.issuer())
            }),
            ..public(provider.issuer())
        });
        // (who, roles; none: he is refused)
        for (sub, roles) in [
            ("ada", Some(json!(["user", "admin"]))),
            ("bob", Some(json!(["user"]))),
            ("eve", None),
            ("", None),
        ] {
            let mut browser = Browser::new(&hub);
            let start = browser.get("/login/start?next=/history").await;
            assert_eq!(start.status, 303, "{}", start.text());
            let back = Visitor::default()
                .sign_in(&provider, start.header("location"), sub)
                .await;
            let answer = browser.get(&back).await;
            let me = browser.me().await;
            assert_eq!(
                me.as_ref().map(|me| me["roles"].clone()),
                roles,
                "{sub}: {}",
                answer.text()
            );
            if let Some(me) = me {
                assert_eq!(answer.header("location"), "/history");
                assert_eq!(me["name"], sub.to_uppercase());
                assert_eq!(me["subject"], format!("{}|{sub}", provider.issuer()));
                let csrf = browser.csrf().await;
                let out = browser
                    .ask(Question::form("/logout", &[("csrf", &csrf)]).on_own_page(&hub))
                    .await;
                let url = out.header("refresh").strip_prefix("0; url=").unwrap().to_owned();
                assert!(url.starts_with(provider.issuer()), "{url}");
            } else {
                assert_eq!(answer.status, 403);
            }
        }
        assert!(
            provider
                .asked()
                .iter()
                .all(|asked| asked["code_challenge_method"] == "S256")
        );
        // The provider refused nobody but him who refused himself.
        let failed = provider.failed();
        assert!(
            failed.iter().all(|failed| failed.to_string().contains("access_denied")),
            "{failed:?}"
        );
        tokio::task::spawn_blocking(move || drop(provider)).await.unwrap();
    }
}
