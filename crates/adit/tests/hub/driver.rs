//! The driver itself: that it sees, records and photographs a page, and lets no page do wrong unnoticed.

use netlab::serve::oidc::{Client, Settings, User, oidc};
use netlab::serve::{Page, Server, site};
use netlab::{Host, Lab};
use serde_json::json;

use crate::browser::{browse, failure, visit};

/// A page that sends what is typed, has an image that says nothing to the blind, and makes a mistake on demand.
const PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <title>A page</title>
  <link rel="icon" href="data:,">
  <script src="/page.js" defer></script>
</head>
<body>
  <main>
    <h1>A page</h1>
    <img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">
    <form><label>Words <input name="words"></label> <button>Send</button></form>
    <output></output>
  </main>
</body>
</html>
"#;

const SCRIPT: &str = r#"
document.querySelector('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const response = await fetch('/words', { method: 'POST', body: document.querySelector('input').value });
  document.querySelector('output').textContent = await response.text();
});
switch (location.hash) {
  case '#throw': throw new Error('a page error');
  case '#reject': Promise.reject(new Error('a promise that nobody took')); break;
  case '#console': console.error('a word to the console'); break;
  case '#inline': document.body.append(Object.assign(document.createElement('script'), { text: '1' })); break;
  case '#elsewhere': fetch('http://192.0.2.9/'); break;
  case '#missing': fetch('/missing'); break;
}
"#;

fn serve(host: &Host) -> (Server, String) {
    let html = vec![
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Security-Policy", "default-src 'self'; img-src data:"),
    ];
    let page = |path, headers, body| Page { path, headers, body };
    let pages = vec![
        page("/", html, PAGE),
        page("/page.js", vec![("Content-Type", "text/javascript")], SCRIPT),
        page("/words", vec![("Content-Type", "text/plain")], "Received, with thanks."),
    ];
    let server = site(host, 0, pages);
    let address = format!("http://127.0.0.1:{}/", server.port());
    (server, address)
}

#[test]
fn a_visit_uses_the_page_and_records_what_it_sent_and_got() {
    needs_a_browser!();
    let host = Lab::new().host("host");
    let (_server, address) = serve(&host);
    let visit = visit(&host, "driver.mjs", &json!({ "address": address, "words": "grüße" }));
    assert_eq!(
        visit.said,
        [json!({ "title": "A page", "output": "Received, with thanks." })]
    );

    let exchanges = visit.exchanges();
    // The page may end after its script.
    let of = |path: &str| {
        let url = format!("{address}{path}");
        let found = exchanges.iter().find(|exchange| exchange["url"] == url.as_str());
        found.unwrap_or_else(|| panic!("nothing of {url}: {exchanges:?}"))
    };
    assert_eq!(exchanges.len(), 3, "{exchanges:?}");
    of("page.js");
    let words = of("words");
    assert_eq!(
        (words["method"].as_str(), words["request"]["body"].as_str()),
        (Some("POST"), Some("grüße"))
    );
    assert_eq!(words["request"]["headers"]["sec-fetch-site"], "same-origin");
    assert_eq!(words["response"]["status"], 200);
    assert_eq!(words["response"]["body"], "Received, with thanks.");
    assert_eq!(of("")["response"]["body"], PAGE);

    // Of all bytes that went out: one head for each, and a body.
    let sent = String::from_utf8_lossy(&visit.sent()).into_owned();
    let lines: Vec<_> = sent.lines().filter(|line| line.ends_with(" HTTP/1.1")).collect();
    assert_eq!(
        lines,
        ["GET / HTTP/1.1", "GET /page.js HTTP/1.1", "POST /words HTTP/1.1"]
    );
    assert!(sent.ends_with("grüße"), "{sent}");

    let picture = std::fs::read(visit.screenshot("page")).unwrap();
    assert!(
        picture.starts_with(b"\x89PNG") && picture.len() > 1000,
        "{} bytes",
        picture.len()
    );
}

#[test]
fn a_visit_finds_what_is_not_accessible() {
    needs_a_browser!();
    let host = Lab::new().host("host");
    let (_server, address) = serve(&host);
    let said = browse(&host, "driver.mjs", &json!({ "address": address, "audit": true }));
    let found: Vec<_> = said[0].as_array().unwrap().iter().map(|found| &found["id"]).collect();
    assert_eq!(found, ["image-alt"]);
    assert_eq!(said[0][0]["where"], json!(["img"]));
}

#[test]
fn what_a_page_does_wrong_fails_the_visit() {
    needs_a_browser!();
    let host = Lab::new().host("host");
    let (_server, address) = serve(&host);
    // (what the page is told to do, what is said of it)
    let table = [
        ("throw", "page error: Error: a page error"),
        ("reject", "page error: Error: a promise that nobody took"),
        ("console", "console error: a word to the console"),
        (
            "inline",
            "policy: the Content Security Policy script-src-elem blocks kInlineViolation",
        ),
        (
            "elsewhere",
            "policy: the Content Security Policy connect-src blocks http://192.0.2.9/",
        ),
        (
            "missing",
            "console error: Failed to load resource: the server responded with a status of 404",
        ),
    ];
    let wrong = table.map(|(wrong, _)| wrong);
    let failed = failure(&host, "driver.mjs", &json!({ "address": address, "wrong": wrong }));
    for (wrong, said) in table {
        assert!(failed.contains(said), "{wrong}: {failed}");
    }
    // Whoever expects it may go on, and has to be right.
    let expected = [
        "a page error",
        "nobody took",
        "a word to",
        "Content Security Policy",
        "Failed to fetch",
        "status of 404",
    ];
    let args = json!({ "address": address, "wrong": wrong, "expect": expected });
    assert!(browse(&host, "driver.mjs", &args).is_empty());
    let failed = failure(&host, "driver.mjs", &json!({ "address": address, "expect": ["never"] }));
    assert_eq!(failed, "expected in vain: /never/\n");
}

#[test]
fn a_button_of_the_provider_s_page_leads_back_with_a_code() {
    needs_a_browser!();
    netlab::requires!("npm:oidc-provider");
    let host = Lab::new().host("host");
    let (_server, back) = serve(&host);
    let client = Client {
        id: "hub".to_owned(),
        secret: None,
        redirects: vec![back.clone()],
        signed_out: Vec::new(),
    };
    let user = |sub: &str, name: &str| User {
        sub: sub.to_owned(),
        claims: json!({ "name": name }),
    };
    let users = vec![user("u1", "Alice"), user("u2", "Bob")];
    let provider = oidc(Some(&host), &Settings::new(client, users));
    let address = format!(
        "{}/auth?client_id=hub&response_type=code&scope=openid&redirect_uri={back}&code_challenge={}&\
         code_challenge_method=S256",
        provider.issuer(),
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    );
    let args = json!({ "address": address, "click": "Sign in as Bob", "back": back });
    let said = browse(&host, "driver.mjs", &args);
    let url = said[0].as_str().unwrap();
    assert!(url.starts_with(&format!("{back}?code=")), "{url}");
}

#[test]
fn a_script_that_fails_says_where() {
    needs_a_browser!();
    let host = Lab::new().host("host");
    let (_server, address) = serve(&host);
    let failed = failure(
        &host,
        "driver.mjs",
        &json!({ "address": address, "click": "Nobody", "limit": 1000 }),
    );
    assert!(
        failed.contains("Timeout 1000ms") && failed.contains("driver.mjs:"),
        "{failed}"
    );
}
