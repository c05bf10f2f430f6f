//! The token: one login for all, kept until a server refuses it, and never a loop of logins.

use std::fs;

use attach::provider::Provider as _;

use crate::service::{Service, ask, connect, modes, refused, unavailable};

const LOGIN: &str = "/api/token";

#[tokio::test]
async fn one_login_serves_all_containers_and_the_next_start() {
    let service = Service::new();
    let pia = service.provider();
    let asks = ["a", "b", "c"].map(ask);
    let (a, b, c) = tokio::join!(pia.connect(&asks[0]), pia.connect(&asks[1]), pia.connect(&asks[2]));
    let servers = [a, b, c].map(|offer| offer.unwrap().server);
    assert_eq!(service.pia.asked(LOGIN), 1);
    assert!(
        servers[0] != servers[1] && servers[1] != servers[2] && servers[0] != servers[2],
        "{servers:?}"
    );
    for (name, mode) in modes(&service.cache()) {
        assert_eq!(mode, 0o600, "{name}");
    }

    let again = service.provider();
    connect(&again, "d").await;
    assert_eq!(service.pia.asked(LOGIN), 1, "the token is on the disk");
    assert_eq!(service.pia.asked("/servers"), 1, "so is the list");
    assert_eq!(service.pia.asked("/ca.crt"), 1, "and the certificate authority");
}

#[tokio::test]
async fn a_token_that_a_server_refuses_is_renewed_once_for_all() {
    let service = Service::new();
    connect(&service.provider(), "a").await;
    service.pia.expire_tokens();
    let pia = service.provider();
    let asks = ["a", "b", "c"].map(ask);
    let (a, b, c) = tokio::join!(pia.connect(&asks[0]), pia.connect(&asks[1]), pia.connect(&asks[2]));
    for offer in [a, b, c] {
        offer.unwrap();
    }
    assert_eq!(service.pia.asked(LOGIN), 2);
}

#[tokio::test]
async fn a_new_token_that_no_server_takes_leads_to_no_further_login() {
    let service = Service::new();
    let pia = service.provider();
    for _attempt in 0..3 {
        for _request in 0..2 {
            service
                .pia
                .next("/addKey", 200, r#"{"status":"ERROR","message":"Login failed!"}"#);
        }
        let text = unavailable(pia.connect(&ask("a")).await);
        assert!(text.contains("do") && text.contains("not take the token"), "{text}");
    }
    assert_eq!(service.pia.asked(LOGIN), 1);
}

#[tokio::test]
async fn too_many_logins_are_waited_out_also_over_a_restart() {
    for (status, body) in [
        (429, ""),
        (
            200,
            r#"{"status":"error","code":"too_many_attempts","message":"Try again later."}"#,
        ),
    ] {
        let service = Service::new();
        let pia = service.provider();
        service.pia.next(LOGIN, status, body);
        let text = unavailable(pia.connect(&ask("a")).await);
        assert!(
            text.contains("too_many_attempts") && text.contains("the next is tried at 2"),
            "{text}"
        );
        assert_eq!(unavailable(pia.connect(&ask("b")).await), text);
        assert_eq!(unavailable(service.provider().connect(&ask("b")).await), text);
        assert_eq!(service.pia.asked(LOGIN), 1);
    }
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_right_ones_taken_without_a_restart() {
    let service = Service::new();
    let pia = service.provider();
    let file = service.path("credentials");
    let right = fs::read(&file).unwrap();
    fs::write(&file, "p1234567\nwrongpassword\n").unwrap();
    for _attempt in 0..2 {
        let text = refused(pia.connect(&ask("a")).await);
        assert!(
            text.contains(file.to_str().unwrap()) && !text.contains("wrongpassword"),
            "{text}"
        );
    }
    assert_eq!(service.pia.asked(LOGIN), 1);
    fs::remove_file(&file).unwrap();
    assert!(refused(pia.connect(&ask("a")).await).contains("two lines"));
    fs::write(&file, right).unwrap();
    connect(&pia, "a").await;
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_is_told_and_costs_no_second_login() {
    let service = Service::new();
    let pia = service.provider();
    // Root may write everywhere, but not into what is not there.
    fs::remove_dir_all(service.cache()).unwrap();
    for _attempt in 0..2 {
        let text = unavailable(pia.connect(&ask("a")).await);
        assert!(text.contains("token.json") && text.contains("room"), "{text}");
    }
    assert_eq!(
        service.pia.key_of("zurich401"),
        None,
        "no key is registered that is not written down"
    );
    fs::create_dir(service.cache()).unwrap();
    connect(&pia, "a").await;
    assert_eq!(service.pia.asked(LOGIN), 1);
    let kept = fs::read_to_string(service.cache().join("token.json")).unwrap();
    assert!(kept.contains("token/1=="), "{kept}");
}
