//! The provider of sign-ins, asked by curl as a client and its user's browser would.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use netlab::serve::oidc::{Claims, Client, Provider, Settings, SignIn, User, oidc};
use netlab::{Host, Lab};
use serde_json::{Value, json};

/// Where the browser comes back to. Nobody listens there: it is the address that counts.
const BACK: &str = "http://127.0.0.1:8080/callback";

/// What the client keeps to itself, and its SHA-256: *RFC 7636, appendix B*.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn settings() -> Settings {
    let user = |sub: &str, claims: Value| User {
        sub: sub.to_owned(),
        claims,
    };
    let client = Client {
        id: "hub".to_owned(),
        secret: Some("a secret".to_owned()),
        redirects: vec![BACK.to_owned()],
        signed_out: vec!["http://127.0.0.1:8080/".to_owned()],
    };
    let alice = json!({ "name": "Alice <A>", "email": "alice@example.org", "email_verified": true,
        "groups": ["staff", "vpn"], "roles": ["admin"], "department": "R&D" });
    Settings::new(
        client,
        vec![user("alice", alice), user("bob", json!({ "name": "Bob" }))],
    )
}

/// What curl gets on `host`, and where it is sent on to.
fn curl(host: &Host, arguments: &[&str]) -> (String, String) {
    let jar = host.folder().join("cookies");
    let jar = jar.to_str().expect("a path of text");
    let output = host
        .command("curl")
        .args(["-sS", "-b", jar, "-c", jar, "-w", "\n%{redirect_url}"])
        .args(arguments)
        .run();
    let (body, next) = output.rsplit_once('\n').expect("curl ends with a line");
    (body.to_owned(), next.to_owned())
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn discover(host: &Host, provider: &Provider) -> Value {
    read(
        &curl(
            host,
            &[&format!("{}/.well-known/openid-configuration", provider.issuer())],
        )
        .0,
    )
}

/// Where discovery says that one asks for `what`.
fn endpoint(host: &Host, provider: &Provider, what: &str) -> String {
    let found = discover(host, provider);
    let address = found[format!("{what}_endpoint")].as_str();
    address.unwrap_or_else(|| panic!("{found}")).to_owned()
}

/// A request for a sign-in, with more parameters.
fn request(host: &Host, provider: &Provider, more: &str) -> String {
    let endpoint = endpoint(host, provider, "authorization");
    format!("{endpoint}?client_id=hub&response_type=code&redirect_uri={BACK}&state=s1&{more}")
}

/// Signs in, and gives the code.
fn code(host: &Host, provider: &Provider, sub: &str) -> String {
    let more = format!(
        "scope=openid%20profile%20email%20groups%20roles&nonce=n1&code_challenge={CHALLENGE}&code_challenge_method=S256"
    );
    let (_, page) = curl(host, &[&request(host, provider, &more)]);
    let (html, at_once) = curl(host, &[&page]);
    let next = if at_once.is_empty() {
        assert!(
            html.contains("Sign in as Alice &#60;A&#62;") && html.contains("Sign in as Bob"),
            "{html}"
        );
        curl(host, &["-d", &format!("sub={sub}"), &page]).1
    } else {
        at_once
    };
    let (_, back) = curl(host, &[&next]);
    let back = back.strip_prefix(BACK).unwrap_or_else(|| panic!("sent to {back}"));
    assert!(back.contains("state=s1"), "{back}");
    let code = back.strip_prefix("?code=").unwrap_or(back);
    code.split('&').next().unwrap_or_default().to_owned()
}

/// Asks for tokens.
fn redeem(host: &Host, provider: &Provider, code: &str, verifier: &str) -> Value {
    let endpoint = endpoint(host, provider, "token");
    let form = format!("grant_type=authorization_code&redirect_uri={BACK}&code={code}&code_verifier={verifier}");
    read(&curl(host, &["-u", "hub:a%20secret", "-d", &form, &endpoint]).0)
}

/// What a token of `answer` claims.
fn claims(answer: &Value) -> Value {
    let token = answer["id_token"].as_str().unwrap_or_else(|| panic!("{answer}"));
    let body = Base64UrlUnpadded::decode_vec(token.split('.').nth(1).unwrap_or_default());
    serde_json::from_slice(&body.expect("a token is base64")).expect("a token holds JSON")
}

#[test]
fn discovery_names_the_issuer_and_what_it_takes() {
    netlab::requires!("root", "ip", "curl", "node", "npm:oidc-provider");
    let host = Lab::new().host("host");
    let provider = oidc(Some(&host), &settings());
    let found = discover(&host, &provider);
    assert_eq!(found["issuer"], provider.issuer());
    assert!(
        provider.issuer().starts_with("http://127.0.0.1:"),
        "{}",
        provider.issuer()
    );
    assert_eq!(found["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(found["id_token_signing_alg_values_supported"], json!(["RS256"]));
    let keys = read(&curl(&host, &[found["jwks_uri"].as_str().unwrap()]).0);
    assert_eq!(
        (keys["keys"][0]["kty"].as_str(), &keys["keys"][0]["d"]),
        (Some("RSA"), &Value::Null)
    );
    // It was on the host, and on no other.
    assert!(
        Lab::new()
            .host("other")
            .command("curl")
            .args(["-sS", provider.issuer()])
            .output()
            .stdout
            .is_empty()
    );
}

#[test]
fn who_presses_a_button_is_signed_in_with_what_is_known_of_them() {
    netlab::requires!("root", "ip", "curl", "node", "npm:oidc-provider");
    let host = Lab::new().host("host");
    let provider = oidc(Some(&host), &settings());
    let code = code(&host, &provider, "alice");
    let answer = redeem(&host, &provider, &code, VERIFIER);
    let claims = claims(&answer);
    for (claim, value) in [
        ("iss", json!(provider.issuer())),
        ("aud", json!("hub")),
        ("nonce", json!("n1")),
        ("sub", json!("alice")),
        ("name", json!("Alice <A>")),
        ("email", json!("alice@example.org")),
        ("groups", json!(["staff", "vpn"])),
        ("roles", json!(["admin"])),
        ("department", json!("R&D")),
    ] {
        assert_eq!(claims[claim], value, "{claim}");
    }
    let [asked] = &provider.asked()[..] else {
        panic!("{:?}", provider.asked())
    };
    assert_eq!(
        (&asked["nonce"], &asked["code_challenge_method"]),
        (&json!("n1"), &json!("S256"))
    );
    // A code is good for once.
    assert_eq!(redeem(&host, &provider, &code, VERIFIER)["error"], "invalid_grant");
    assert_eq!(provider.failed().len(), 1);
}

#[test]
fn claims_are_at_the_userinfo_endpoint_only_if_the_test_wants_it_so() {
    netlab::requires!("root", "ip", "curl", "node", "npm:oidc-provider");
    let host = Lab::new().host("host");
    let provider = oidc(
        Some(&host),
        &Settings {
            claims: Claims::AtUserInfo,
            sign_in: SignIn::AsFirst,
            ..settings()
        },
    );
    let code = code(&host, &provider, "");
    let answer = redeem(&host, &provider, &code, VERIFIER);
    let claims = claims(&answer);
    assert_eq!((&claims["sub"], &claims["groups"]), (&json!("alice"), &Value::Null));
    let endpoint = endpoint(&host, &provider, "userinfo");
    let bearer = format!("Authorization: Bearer {}", answer["access_token"].as_str().unwrap());
    let known = read(&curl(&host, &["-H", &bearer, &endpoint]).0);
    assert_eq!(
        (&known["sub"], &known["groups"]),
        (&json!("alice"), &json!(["staff", "vpn"]))
    );
}

#[test]
fn what_is_not_as_the_standard_has_it_is_refused() {
    netlab::requires!("root", "ip", "curl", "node", "npm:oidc-provider");
    let host = Lab::new().host("host");
    let provider = oidc(Some(&host), &settings());
    let s256 = format!("code_challenge={CHALLENGE}&code_challenge_method=S256");
    // (the rest of the request, where the answer is, what it says)
    for (more, refused) in [
        ("scope=openid".to_owned(), "error=invalid_request"),
        (
            format!("scope=openid&code_challenge={VERIFIER}&code_challenge_method=plain"),
            "error=invalid_request",
        ),
        (format!("scope=openid&prompt=none&{s256}"), "error=login_required"),
    ] {
        let (_, back) = curl(&host, &[&request(&host, &provider, &more)]);
        assert!(back.starts_with(BACK) && back.contains(refused), "{more}: {back}");
    }
    let elsewhere = request(&host, &provider, &format!("scope=openid&{s256}")).replace("8080", "8081");
    let (page, back) = curl(&host, &["-H", "Accept: text/html", &elsewhere]);
    assert!(back.is_empty() && page.contains("invalid_redirect_uri"), "{page}");
    // The user does not want to.
    assert!(code(&host, &provider, "").contains("error=access_denied"));
    // Another verifier than that of the request.
    let good = code(&host, &provider, "bob");
    assert_eq!(
        redeem(&host, &provider, &good, &VERIFIER.replace('d', "e"))["error"],
        "invalid_grant"
    );
}

#[test]
fn a_provider_needs_no_host_and_leaves_nothing() {
    netlab::requires!("node", "npm:oidc-provider");
    let provider = oidc(None, &settings());
    let address = provider.issuer().trim_start_matches("http://").to_owned();
    std::net::TcpStream::connect(&address).unwrap();
    drop(provider);
    std::net::TcpStream::connect(&address).unwrap_err();
}
