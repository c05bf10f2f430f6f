//! Forwarded ports: asked for through the tunnel, kept, and given up in time.

use std::{fs, time::Duration};

use attach::provider::Provider as _;

use crate::service::{Service, ask, ask_in, connect, refused, unavailable};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn a_port_is_kept_over_servers_restarts_and_containers_that_are_made_again() {
    let service = Service::new();
    let (pia, dial) = (service.provider(), service.dial());
    let offer = connect(&pia, "a").await;
    for _quarter in 0..2 {
        assert_eq!(pia.forward_port("a", &offer, &dial).await.unwrap().port, 40001);
    }
    assert_eq!(service.pia.asked("/getSignature"), 1);

    // The daemon starts anew: the server's address in the tunnel is known still.
    let pia = service.provider();
    pia.adopt("a", &offer.server);
    assert_eq!(pia.forward_port("a", &offer, &dial).await.unwrap().port, 40001);

    // Another container of the same name, on another server.
    pia.release("a").await;
    let mut other = ask("b");
    other.name = ask("a").name;
    other.avoid.insert(offer.server.clone());
    let moved = pia.connect(&other).await.unwrap();
    assert_eq!(pia.forward_port("b", &moved, &dial).await.unwrap().port, 40001);
    let bound = service.pia.bound();
    assert_eq!(bound.last().unwrap(), "Server-12706-0a 40001", "{bound:?}");
    assert_eq!(service.pia.asked("/getSignature"), 1);
    assert!(!service.cache().join("holder-a.json").exists());
}

#[tokio::test]
async fn a_port_that_is_busy_or_near_its_end_is_given_up_for_another() {
    let service = Service::new();
    let (pia, dial) = (service.provider(), service.dial());
    let offer = connect(&pia, "a").await;
    let port = async || {
        pia.forward_port("a", &offer, &dial)
            .await
            .map(|forwarded| forwarded.port)
    };
    assert_eq!(port().await, Ok(40001));
    service.pia.next("/bindPort", 409, "port 40001 is busy. try later");
    assert_eq!(port().await, Ok(40002));

    // An outage is none of the port's fault.
    service.pia.next("/bindPort", 500, "");
    assert!(unavailable(port().await).contains("500"));
    assert_eq!(port().await, Ok(40002));

    // Both the kept port and the new one: no loop.
    for _port in 0..2 {
        service.pia.next("/bindPort", 409, "busy");
    }
    let asked = service.pia.asked("/getSignature");
    assert!(unavailable(port().await).contains("busy"));
    assert_eq!(service.pia.asked("/getSignature"), asked + 1);

    service.pia.set_port_life(7 * DAY);
    assert_eq!(port().await, Ok(40004));
    service.pia.set_port_life(8 * DAY);
    assert_eq!(port().await, Ok(40005), "less than 7 days are left");
    assert_eq!(port().await, Ok(40005));
}

#[tokio::test]
async fn a_token_that_is_refused_for_a_port_is_renewed_but_not_where_the_client_is_wrong() {
    let service = Service::new();
    let (pia, dial) = (service.provider(), service.dial());
    let offer = connect(&pia, "a").await;
    service.pia.next("/getSignature", 401, "Unauthorized client");
    let text = unavailable(pia.forward_port("a", &offer, &dial).await);
    assert!(text.contains("did not come through its tunnel"), "{text}");
    assert_eq!(service.pia.asked("/api/token"), 1);
    service.pia.expire_tokens();
    pia.forward_port("a", &offer, &dial).await.unwrap();
    assert_eq!(service.pia.asked("/api/token"), 2);
}

#[tokio::test]
async fn where_no_ports_are_forwarded_the_reason_is_told() {
    let service = Service::new();
    let (pia, dial) = (service.provider(), service.dial());
    let offer = pia.connect(&ask_in("a", "us_texas")).await.unwrap();
    let text = refused(pia.forward_port("a", &offer, &dial).await);
    assert!(text.contains("us_texas forwards no ports"), "{text}");
    fs::remove_dir_all(service.cache()).unwrap();
    let text = unavailable(pia.forward_port("a", &offer, &dial).await);
    assert!(text.contains("not in the cache"), "{text}");
}
