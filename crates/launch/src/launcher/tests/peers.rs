//! Peers, keys and time change while a lease runs.

use super::*;
use crate::{conf, order::Keys};

#[tokio::test(start_paused = true)]
async fn peers_and_time_change_while_it_runs() {
    let place = Simulate::new(brisk());
    let launcher = start(memory(), &place);
    let anna = caller("anna");
    let id = create(&launcher).await.id;
    wait_for(&launcher, id, State::Ready).await;
    let mut laptop = request("laptop").peers.remove(0);
    let error = launcher.add_peer(&anna, id, &laptop).await.unwrap_err();
    assert!(
        error.to_string().starts_with("public_key: another peer has this key"),
        "{error}"
    );
    laptop.public_key = Some(PrivateKey::from_random([8; 32]).public_key());
    for _twice in 0..2 {
        assert_eq!(launcher.add_peer(&anna, id, &laptop).await.unwrap().peers.len(), 2);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let text = launcher.configuration(&anna, id, "laptop").await.unwrap().text;
    assert!(text.contains("Address = 10.13.13.3/32"), "{text}");
    let other = PrivateKey::from_random([9; 32]).public_key();
    let phones = launcher.read(&anna, id).await.unwrap().peers[0].public_key.unwrap();
    assert!(launcher.replace_key(&anna, id, "laptop", phones).await.is_err());
    launcher.replace_key(&anna, id, "laptop", other).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let replaced = launcher.configuration(&anna, id, "laptop").await.unwrap();
    assert_eq!((replaced.public_key, replaced.text), (other, text));
    assert!(launcher.remove_peer(&anna, id, "nobody").await.is_err());
    launcher.remove_peer(&anna, id, "phone").await.unwrap();
    let error = launcher.remove_peer(&anna, id, "laptop").await.unwrap_err();
    assert!(
        matches!(error, Refusal::Conflict { code: "last_peer", .. }),
        "{error:?}"
    );
    let before = launcher.read(&anna, id).await.unwrap().ends_at;
    let lease = launcher.extend(&anna, id, Duration::from_secs(600)).await.unwrap();
    assert_eq!(lease.ends_at, before + Duration::from_secs(600));
    assert!(
        launcher
            .extend(&anna, id, Duration::from_secs(40 * 86_400))
            .await
            .is_err()
    );
    assert!(launcher.extend(&anna, id, Duration::ZERO).await.is_err());
    for _twice in 0..2 {
        launcher.end(&anna, id).await.unwrap();
    }
    wait_for(&launcher, id, State::Removed).await;
    launcher.end(&anna, id).await.unwrap();
    let error = launcher.extend(&anna, id, Duration::from_secs(60)).await.unwrap_err();
    assert!(matches!(error, Refusal::Over), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn more_time_counts_against_the_minutes_of_a_day() {
    let place = Simulate::new(brisk());
    let config = Config {
        policy: Policy {
            minutes_a_day: Some(40),
            ..Policy::own()
        },
        ..config()
    };
    let launcher = Launcher::start(config, memory(), vec![place as Arc<dyn Place>]).unwrap();
    let id = create(&launcher).await.id;
    let anna = caller("anna");
    launcher.extend(&anna, id, Duration::from_secs(600)).await.unwrap();
    let error = launcher.extend(&anna, id, Duration::from_secs(60)).await.unwrap_err();
    assert!(matches!(error, Refusal::Limit { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_gateway_made_is_handed_over_once() {
    let fails_once = |call, _, number| {
        // The 5th question is the first hand-over: four reports are before it.
        (call == Call::Ask && number == 5).then_some(Trouble::LosesAnswer)
    };
    let place = Simulate::with_troubles(
        Times {
            start: Duration::ZERO,
            ..brisk()
        },
        fails_once,
    );
    let launcher = start(memory(), &place);
    let anna = caller("anna");
    let wanted = Request {
        keys: Some(Keys::Gateway),
        peers: vec![PeerRequest {
            name: "phone".to_owned(),
            public_key: None,
        }],
        ..Request::default()
    };
    let Created::New(lease) = launcher.create(&anna, &wanted, None).await.unwrap() else {
        panic!("not new")
    };
    wait_for(&launcher, lease.id, State::Ready).await;
    assert!(matches!(
        launcher.configuration(&anna, lease.id, "phone").await,
        Err(Refusal::Conflict { .. })
    ));
    let mut texts = Vec::new();
    for _attempt in 0..10 {
        match launcher.hand_over(&anna, lease.id, "phone").await {
            Ok(secret) => texts.push(secret),
            Err(Refusal::AlreadyHandedOver) => assert_eq!(texts.len(), 1),
            Err(Refusal::Place(_)) => assert!(texts.is_empty()),
            Err(error) => panic!("{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    assert_eq!(texts.len(), 1);
    let text = texts[0].danger_text();
    assert!(text.lines().all(|line| line.ends_with(conf::SAMPLE)), "{text}");
    let kept = serde_json::to_string(&launcher.read(&anna, lease.id).await.unwrap()).unwrap();
    assert!(
        !kept.contains("PrivateKey") && kept.contains("handed_over_at"),
        "{kept}"
    );
}

#[tokio::test(start_paused = true)]
async fn traffic_of_peers_that_are_gone_stays_in_the_lease_s() {
    let place = Simulate::new(quick());
    let database = memory();
    let launcher = start(Arc::clone(&database) as Arc<dyn Store>, &place);
    let anna = caller("anna");
    let id = create(&launcher).await.id;
    wait_for(&launcher, id, State::Ready).await;
    let mut laptop = request("laptop").peers.remove(0);
    laptop.public_key = Some(PrivateKey::from_random([8; 32]).public_key());
    launcher.add_peer(&anna, id, &laptop).await.unwrap();
    let brought = async || tokio::time::sleep(Duration::from_secs(1)).await;
    brought().await;
    let total = async |launcher: &Launcher| {
        tokio::time::sleep(Duration::from_secs(11)).await;
        let lease = launcher.read(&anna, id).await.unwrap();
        (lease.received_bytes(), lease.sent_bytes())
    };
    place.pass(id, "phone", 1_000, 50);
    place.pass(id, "laptop", 300, 7);
    assert_eq!(total(&launcher).await, (1_300, 57));
    launcher.remove_peer(&anna, id, "phone").await.unwrap();
    assert_eq!(total(&launcher).await, (1_300, 57));
    // Who comes back is counted anew by the gateway.
    launcher.add_peer(&anna, id, &request("phone").peers[0]).await.unwrap();
    brought().await;
    place.pass(id, "phone", 20, 1);
    assert_eq!(total(&launcher).await, (1_320, 58));
    // A restart has the totals from the row.
    launcher.extend(&anna, id, Duration::from_secs(60)).await.unwrap();
    launcher.stop().await;
    let launcher = start(database, &place);
    place.pass(id, "laptop", 1, 0);
    assert_eq!(total(&launcher).await, (1_321, 58));
    let samples = launcher.traffic(&anna, id).await.unwrap();
    assert!(
        samples
            .windows(2)
            .all(|pair| pair[0].received_bytes <= pair[1].received_bytes)
    );
    // What passes the meters goes on from the row, and is counted once.
    assert_eq!(launcher.meters().traffic["simulate"].received_bytes, 1);
    launcher.end(&anna, id).await.unwrap();
    let lease = wait_for(&launcher, id, State::Removed).await;
    assert_eq!((lease.received_bytes(), lease.sent_bytes()), (1_321, 58));
}
