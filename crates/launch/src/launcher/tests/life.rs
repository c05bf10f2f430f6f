//! A lease's whole life, and whose it is.

use super::*;
use crate::conf;

#[tokio::test(start_paused = true)]
async fn a_lease_comes_up_and_goes_by_itself() {
    let place = Simulate::new(brisk());
    let launcher = start(memory(), &place);
    let anna = caller("anna");
    let id = create(&launcher).await.id;
    let error = launcher.configuration(&anna, id, "phone").await.unwrap_err();
    assert!(matches!(error, Refusal::NotReady { .. }), "{error:?}");
    let lease = wait_for(&launcher, id, State::Ready).await;
    let took = lease.ready_at.unwrap().since(lease.created_at);
    assert!(
        took >= Duration::from_secs(4) && took < Duration::from_secs(6),
        "{took:?}"
    );
    let configuration = launcher.configuration(&anna, id, "phone").await.unwrap();
    assert!(
        configuration.is_sample && configuration.text.contains("Endpoint = 192.0.2."),
        "{configuration:?}"
    );
    assert!(configuration.text.contains(conf::PRIVATE_KEY));
    assert!(
        configuration.text.lines().all(|line| line.ends_with(conf::SAMPLE)),
        "{}",
        configuration.text
    );
    assert_eq!(place.left(), [id]);
    let lease = wait_for(&launcher, id, State::Removed).await;
    assert_eq!(lease.outcome, Some(End::Expired));
    let lived = lease.removed_at.unwrap().since(lease.ready_at.unwrap());
    assert!(
        lived >= Duration::from_secs(1_800) && lived < Duration::from_secs(1_810),
        "{lived:?}"
    );
    assert!(place.left().is_empty());
    let notices = launcher.notices(&anna, id, 0).await.unwrap();
    let kinds: Vec<&str> = notices.iter().map(|numbered| numbered.notice.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "requested",
            "provisioning",
            "configuring",
            "ready",
            "removing",
            "removed"
        ]
    );
    let numbers: Vec<u64> = notices.iter().map(|numbered| numbered.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    let meters = launcher.meters();
    assert_eq!(meters.ready["simulate"].count, 1);
    assert!(launcher.running().is_empty() && meters.failures.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nobody_sees_or_ends_the_lease_of_another() {
    let place = Simulate::new(brisk());
    let launcher = start(memory(), &place);
    let id = create(&launcher).await.id;
    wait_for(&launcher, id, State::Ready).await;
    let bert = caller("bert");
    let peer = &request("laptop").peers[0];
    let refusals = [
        launcher.read(&bert, id).await.err(),
        launcher.extend(&bert, id, Duration::from_secs(60)).await.err(),
        launcher.end(&bert, id).await.err(),
        launcher.add_peer(&bert, id, peer).await.err(),
        launcher.remove_peer(&bert, id, "phone").await.err(),
        launcher.configuration(&bert, id, "phone").await.err(),
        launcher.hand_over(&bert, id, "phone").await.err(),
        launcher.notices(&bert, id, 0).await.err(),
        launcher.traffic(&bert, id).await.err(),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Some(Refusal::NotFound)), "{refusal:?}");
    }
    assert!(
        launcher
            .list(&bert, &Filter::default())
            .await
            .unwrap()
            .leases
            .is_empty()
    );
    let of_anna = Filter {
        owner: Some("anna".to_owned()),
        ..Filter::default()
    };
    assert!(launcher.list(&bert, &of_anna).await.unwrap().leases.is_empty());
    assert_eq!(launcher.list(&admin(), &of_anna).await.unwrap().leases.len(), 1);
    assert!(launcher.usage(&bert, Some("anna")).await.unwrap().is_empty());
    launcher.end(&admin(), id).await.unwrap();
    assert_eq!(wait_for(&launcher, id, State::Removed).await.outcome, Some(End::Asked));
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_a_lease_that_is_driven() {
    let place = Simulate::new(brisk());
    let database = memory();
    let launcher = start(Arc::clone(&database) as Arc<dyn Store>, &place);
    let asking = {
        let launcher = launcher.clone();
        tokio::spawn(async move { create(&launcher).await })
    };
    tokio::task::yield_now().await;
    asking.abort();
    let settled = async {
        while database.unfinished().unwrap().len() != launcher.running().len() || launcher.running().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), settled).await.unwrap();
}
