//! TLS: PIA's certificate authority, and no other for its servers.

use std::fs;

use attach::provider::{Provider as _, pia::Pia};

use crate::service::{Service, ask, connect, refused, unavailable};

#[tokio::test]
async fn the_authority_is_the_right_one_or_none() {
    let service = Service::new();
    let mut config = service.config();
    config.endpoints.ca_sha256 = [7; 32];
    let pia = Pia::open(config.clone()).unwrap();
    let text = unavailable(pia.connect(&ask("a")).await);
    assert!(text.contains("its SHA-256 is") && text.contains("07:07:07"), "{text}");
    assert_eq!(service.pia.asked("/addKey"), 0);

    let path = service.path("ca.pem");
    config.ca = Some(path.clone());
    let pia = Pia::open(config.clone()).unwrap();
    assert!(refused(pia.connect(&ask("a")).await).contains("ca.rsa.4096.crt"));
    fs::write(&path, service.pia.authority_pem()).unwrap();
    assert!(refused(pia.connect(&ask("a")).await).contains("its SHA-256 is"));

    config.endpoints.ca_sha256 = service.pia.authority_sha256();
    let asked = service.pia.asked("/ca.crt");
    connect(&Pia::open(config).unwrap(), "a").await;
    assert_eq!(
        service.pia.asked("/ca.crt"),
        asked,
        "a file is given: nothing is downloaded"
    );
}

#[tokio::test]
async fn a_damaged_copy_of_the_authority_is_downloaded_again() {
    let service = Service::new();
    fs::create_dir(service.cache()).unwrap();
    fs::write(service.cache().join("ca.pem"), service.pia.web_pem()).unwrap();
    connect(&service.provider(), "a").await;
    assert_eq!(service.pia.asked("/ca.crt"), 1);
}

#[tokio::test]
async fn a_server_of_another_authority_hears_no_token() {
    let (service, other) = (Service::new(), Service::new());
    let path = service.path("ca.pem");
    fs::write(&path, other.pia.authority_pem()).unwrap();
    let mut config = service.config();
    config.ca = Some(path);
    config.endpoints.ca_sha256 = other.pia.authority_sha256();
    let text = unavailable(Pia::open(config).unwrap().connect(&ask("a")).await);
    assert!(text.contains("no TLS with zurich401"), "{text}");
    assert_eq!(service.pia.asked("/addKey"), 0);
}

#[tokio::test]
async fn the_api_needs_a_certificate_too_and_leads_nowhere_else() {
    let service = Service::new();
    let mut config = service.config();
    config.endpoints.roots = None;
    let text = unavailable(Pia::open(config).unwrap().connect(&ask("a")).await);
    assert!(text.contains("no TLS with pia.test"), "{text}");

    let pia = service.provider();
    service.pia.next("/servers", 302, "");
    assert!(unavailable(pia.connect(&ask("a")).await).contains("302"));
    let long = "x".repeat((4 << 20) + 1);
    service.pia.next("/servers", 200, &long);
    assert!(unavailable(pia.connect(&ask("a")).await).contains("more than 4194304 bytes"));
}
