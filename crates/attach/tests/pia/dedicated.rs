//! The dedicated IP: a server of its own, for one container at a time.

use attach::provider::{
    Provider as _,
    pia::{DEDICATED_REGION, Pia, Secret},
};
use netlab::serve::pia::DedicatedIp;

use crate::service::{Service, ask_in, refused, server, servers, unavailable};

/// A service that has sold a dedicated IP in `region`, and a provider that knows its token.
fn sold(region: &'static str, token: &str) -> (Service, Pia) {
    let service = Service::new();
    let mut list = servers();
    list.push(server("sold", "sold401", 41));
    service.pia.set_servers(list);
    service.pia.sell(DedicatedIp {
        token: "DIPright".to_owned(),
        cn: "sold401".to_owned(),
        ip: [127, 0, 0, 41].into(),
        region: region.to_owned(),
    });
    let mut config = service.config();
    config.dedicated_ip = Some(Secret::new(token));
    let pia = Pia::open(config).unwrap();
    (service, pia)
}

#[tokio::test]
async fn a_dedicated_ip_is_for_one_container_at_a_time() {
    let (service, pia) = sold("de_berlin", "DIPright");
    let ask = |holder| ask_in(holder, DEDICATED_REGION);
    let offer = pia.connect(&ask("a")).await.unwrap();
    assert_eq!(
        (&*offer.server, offer.region.as_deref()),
        ("sold401", Some(DEDICATED_REGION))
    );
    assert_eq!(
        pia.forward_port("a", &offer, &service.dial()).await.unwrap().port,
        40001
    );
    let text = unavailable(pia.connect(&ask("b")).await);
    assert!(text.contains("one at a time"), "{text}");
    pia.connect(&ask("a")).await.unwrap();
    pia.release("a").await;
    pia.connect(&ask("b")).await.unwrap();
    assert_eq!(service.pia.asked("/api/dedicated_ip"), 1);
    assert_eq!(pia.connect(&ask_in("c", "swiss")).await.unwrap().server, "zurich401");
}

#[tokio::test]
async fn an_account_s_token_that_is_refused_is_renewed() {
    let (service, pia) = sold("de_berlin", "DIPright");
    pia.connect(&ask_in("a", "swiss")).await.unwrap();
    service.pia.expire_tokens();
    pia.connect(&ask_in("b", DEDICATED_REGION)).await.unwrap();
    assert_eq!(service.pia.asked("/api/token"), 2);
}

#[tokio::test]
async fn what_a_dedicated_ip_cannot_do_is_refused() {
    let (service, pia) = sold("us_texas", "DIPright");
    let offer = pia.connect(&ask_in("a", DEDICATED_REGION)).await.unwrap();
    let text = refused(pia.forward_port("a", &offer, &service.dial()).await);
    assert!(text.contains("United States"), "{text}");

    let (_service, pia) = sold("us_texas", "DIPwrong");
    let text = refused(pia.connect(&ask_in("a", DEDICATED_REGION)).await);
    assert!(text.contains("unknown to PIA") && !text.contains("DIPwrong"), "{text}");

    let service = Service::new();
    let text = refused(service.provider().connect(&ask_in("a", DEDICATED_REGION)).await);
    assert!(text.contains("not set up"), "{text}");
}
