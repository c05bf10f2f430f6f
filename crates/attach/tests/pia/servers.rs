//! The server list, and keys: a server of its own for each container.

use std::fs;

use attach::provider::{Ask, Provider as _};

use crate::service::{
    SERVER_KEY, SERVER_PORT, Service, ask, ask_in, ask_without, connect, refused, server, servers, unavailable,
};

#[tokio::test]
async fn a_tunnel_is_what_the_server_says() {
    let service = Service::new();
    let offer = connect(&service.provider(), "a").await;
    assert_eq!((&*offer.server, offer.region.as_deref()), ("zurich401", Some("swiss")));
    assert_eq!(offer.addresses, ["10.2.0.1/32".parse().unwrap()]);
    assert_eq!(
        offer.dns.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.243", "10.0.0.242"]
    );
    let [peer] = &offer.peers[..] else {
        panic!("{offer:?}");
    };
    assert_eq!(peer.public_key, SERVER_KEY.parse().unwrap());
    assert_eq!(peer.endpoint.to_string(), format!("127.0.0.11:{SERVER_PORT}"));
    assert_eq!(peer.allowed_ips, ["0.0.0.0/0".parse().unwrap()]);
    assert_eq!(peer.persistent_keepalive, Some(25));
    let key = offer.private_key.public_key().to_string();
    assert_eq!(service.pia.key_of("zurich401"), Some(key));
}

#[tokio::test]
async fn each_container_has_a_server_of_its_own() {
    let service = Service::new();
    let pia = service.provider();
    pia.adopt("old", "zurich401");
    let (a, b) = (connect(&pia, "a").await, connect(&pia, "b").await);
    assert_eq!((&*a.server, &*b.server), ("Server-12706-0a", "zurich403"));
    let lists = service.pia.asked("/servers");
    for _attempt in 0..2 {
        let text = unavailable(pia.connect(&ask("c")).await);
        assert!(text.contains("taken by other containers"), "{text}");
    }
    assert_eq!(
        service.pia.asked("/servers"),
        lists,
        "a young list is not asked for again"
    );
    assert_eq!(
        connect(&pia, "a").await.server,
        "Server-12706-0a",
        "its own is not taken"
    );
    pia.release("old").await;
    assert_eq!(connect(&pia, "c").await.server, "zurich401");
    assert_eq!(
        pia.connect(&ask_in("d", "the us_texas")).await.unwrap().server,
        "texas401"
    );
}

#[tokio::test]
async fn a_new_key_goes_to_the_same_server_and_a_failed_server_comes_last() {
    let service = Service::new();
    let pia = service.provider();
    let first = pia.connect(&ask_without("a", &["zurich401"])).await.unwrap();
    assert_eq!(first.server, "Server-12706-0a");
    service.pia.forget_keys();
    // The list of another day does not name it.
    service
        .pia
        .set_servers(servers().into_iter().filter(|server| server.cn != first.server));
    let _removed = fs::remove_file(service.cache().join("servers.json"));
    let pia = service.provider();
    pia.adopt("a", &first.server);
    service.pia.set_servers(servers());
    let again = Ask {
        again: Some(first.clone()),
        ..ask("a")
    };
    let second = pia.connect(&again).await.unwrap();
    assert_eq!(second.server, first.server);
    assert_ne!(second.private_key, first.private_key);
    assert_eq!(
        service.pia.key_of(&second.server),
        Some(second.private_key.public_key().to_string())
    );
    // What it had is free once it has another.
    let elsewhere = Ask {
        again: Some(second.clone()),
        ..ask_without("a", &[&second.server])
    };
    assert_eq!(pia.connect(&elsewhere).await.unwrap().server, "zurich401");
    assert_eq!(
        pia.connect(&ask_without("b", &["zurich403"])).await.unwrap().server,
        second.server
    );
    let all = ["zurich403"];
    assert_eq!(
        pia.connect(&ask_without("c", &all)).await.unwrap().server,
        "zurich403",
        "last, not never"
    );
}

#[tokio::test]
async fn a_server_that_calls_itself_otherwise_makes_the_list_old() {
    let service = Service::new();
    let pia = service.provider();
    service.pia.rename("zurich401", "zurich499");
    // The other list has its new name at the same address; it is tried like any other.
    service.pia.next("/servers", 500, "");
    let text = unavailable(pia.connect(&ask("a")).await);
    assert!(text.contains("500"), "{text}");
    assert_eq!(connect(&pia, "a").await.server, "Server-12706-0a");
    assert_eq!(service.pia.asked("/servers"), 3, "the list is asked for again");
    assert_eq!(connect(&pia, "b").await.server, "zurich403");
    assert_eq!(service.pia.asked("/servers"), 3, "once");

    let text = unavailable(pia.connect(&ask("c")).await);
    assert!(text.contains("taken"), "{text}");
}

#[tokio::test]
async fn a_server_that_fails_is_passed_over() {
    for (status, body, said) in [
        (200, r#"{"status":"ERROR","message":"no room"}"#, "no room"),
        (503, "", "503"),
        (302, "", "302"),
        (200, "<html>", "JSON"),
        (200, r#"{"status":"OK","peer_pubkey":"x"}"#, "another key"),
    ] {
        let service = Service::new();
        let pia = service.provider();
        service.pia.next("/addKey", status, body);
        assert_eq!(connect(&pia, "a").await.server, "Server-12706-0a", "{body}");
        assert_eq!(connect(&pia, "b").await.server, "zurich401", "it is free for others");
        for _server in 0..3 {
            service.pia.next("/addKey", status, body);
        }
        pia.release("a").await;
        pia.release("b").await;
        let text = unavailable(pia.connect(&ask("c")).await);
        assert!(text.contains("zurich403: ") && text.contains(said), "{text}");
        assert!(!text.contains("token/"), "{text}");
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_remedy() {
    let service = Service::new();
    let pia = service.provider();
    assert!(refused(pia.connect(&ask_in("a", "swis")).await).contains("did you mean swiss?"));
    assert!(unavailable(pia.connect(&ask_in("a", "offline")).await).contains("offline"));
    let conf = Ask {
        conf: Some("home".to_owned()),
        ..ask("a")
    };
    assert!(refused(pia.connect(&conf).await).contains("adit.conf=home"));
    assert_eq!(service.pia.asked("/api/token"), 0, "nobody logs in for that");
}

#[tokio::test]
async fn the_list_must_be_signed_where_the_key_is_known() {
    let service = Service::new();
    let key = service.path("list.pem");
    let mut config = service.config();
    config.list_key = Some(key.clone());
    let open = || attach::provider::pia::Pia::open(config.clone()).unwrap();
    assert!(refused(open().connect(&ask("a")).await).contains("list.pem"));
    fs::write(&key, "nonsense").unwrap();
    assert!(refused(open().connect(&ask("a")).await).contains("no RSA public key"));
    fs::write(&key, service.pia.list_key_pem()).unwrap();
    service.pia.tamper(true);
    assert!(unavailable(open().connect(&ask("a")).await).contains("signature"));
    service.pia.tamper(false);
    connect(&open(), "a").await;
    // What was changed on the disk is not believed either.
    let file = service.cache().join("servers.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("127.0.0.11", "127.0.0.99")).unwrap();
    let asked = service.pia.asked("/servers");
    assert_eq!(connect(&open(), "a").await.server, "zurich401");
    assert_eq!(service.pia.asked("/servers"), asked + 1);
}

#[tokio::test]
async fn an_old_list_is_better_than_none() {
    let service = Service::new();
    connect(&service.provider(), "a").await;
    let file = fs::File::options()
        .write(true)
        .open(service.cache().join("servers.json"))
        .unwrap();
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    file.set_modified(std::time::SystemTime::now() - day).unwrap();
    service.pia.next("/servers", 500, "");
    let pia = service.provider();
    connect(&pia, "a").await;
    assert_eq!(service.pia.asked("/servers"), 2, "another was asked for");
    // Other lists name other servers: those of all are known.
    service.pia.set_servers([server("swiss", "geneva401", 14)]);
    let again = service.provider();
    assert_eq!(connect(&again, "a").await.server, "geneva401");
    assert_eq!(connect(&again, "b").await.server, "zurich401");
}
