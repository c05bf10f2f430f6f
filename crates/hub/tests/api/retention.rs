//! What is older than it is to be kept goes by itself.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use hub::config::{Typed, TypedRetention};
use launch::{Clock, place::simulate::Simulate};

use crate::{
    listener::listen,
    stage::{Hub, LIMIT, memory, quick},
};

#[tokio::test(flavor = "multi_thread")]
async fn old_leases_and_old_rows_of_the_audit_go_and_the_audit_is_whole() {
    let database = memory();
    let config = |typed| hub::Config::new(typed).unwrap();
    let hub = Hub::of(
        config(Typed::default()),
        Simulate::new(quick()),
        Arc::clone(&database),
        Clock::system(),
    );
    let lease = hub.ready_lease().await;
    let path = format!("/api/v1/leases/{}", lease["id"].as_str().unwrap());
    hub.ask("DELETE", &path).send().await.expect(202);
    hub.wait(lease["id"].as_str().unwrap(), "removed").await;
    let whole = hub.app.audit.verify(&[]).unwrap();
    assert_eq!((whole.from.count, whole.rows()), (0, 4));
    hub.app.launcher.stop().await;

    // A year and a half later.
    let later = Duration::from_secs(500 * 86_400);
    let begun = Instant::now();
    let clock = Clock::of(move || SystemTime::now() + later, move || begun.elapsed());
    let typed = Typed {
        retention: TypedRetention {
            leases_days: None,
            audit_days: Some(30),
        },
        ..Typed::default()
    };
    let hub = Hub::of(config(typed), Simulate::new(quick()), database, clock);
    hub.get(&path).send().await.expect(200);
    let listening = listen(hub).await;
    let hub = &listening.hub;
    let gone = async {
        while hub.app.audit.verify(&[]).unwrap().from.count == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.unwrap();
    hub.get(&path).send().await.problem(404, "not_found");
    // What an earlier export noted is still on the chain.
    let now = hub.app.audit.verify(&[whole.head]).unwrap();
    assert_eq!((now.from.count, now.head.count), (3, 5));
    let page = hub.get("/api/v1/audit").send().await.expect(200);
    assert_eq!(page["items"][0]["what"], "audit.prune");
    assert_eq!(page["items"][0]["on"], now.from.to_string());
}
