//! The place fails, hangs, answers late, twice or never.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_place_that_fails_leaves_no_configuration_and_nothing_else() {
    let refuse = Fault::new(FaultKind::Refused, "quota", "the quota is used up").with_remedy("ask for more");
    let refuse = move |call, _, _| (call == Call::Create).then(|| Trouble::Fails(refuse.clone()));
    let place = Simulate::with_troubles(brisk(), refuse);
    let launcher = start(memory(), &place);
    let id = create(&launcher).await.id;
    let lease = wait_for(&launcher, id, State::Removed).await;
    assert_eq!(
        (lease.outcome, lease.fault.unwrap().code.as_str()),
        (Some(End::Failed), "quota")
    );
    let error = launcher.configuration(&caller("anna"), id, "phone").await.unwrap_err();
    assert!(matches!(error, Refusal::Over), "{error:?}");
    assert!(place.left().is_empty());
    assert_eq!(
        launcher.meters().failures[&("simulate".to_owned(), "quota".to_owned())],
        1
    );
}

#[tokio::test(start_paused = true)]
async fn whatever_a_place_does_with_calls_nothing_is_left_in_the_end() {
    let unclear = || Trouble::Fails(Fault::new(FaultKind::Unclear, "busy", "the place is busy"));
    for call in [Call::Create, Call::Ask, Call::Remove] {
        for trouble in [
            unclear(),
            Trouble::LosesAnswer,
            Trouble::Hangs(Duration::from_secs(300)),
        ] {
            for every in [2, 3] {
                let planned = trouble.clone();
                let plan =
                    move |seen: Call, _, number: u64| (seen == call && number % every == 1).then(|| planned.clone());
                let place = Simulate::with_troubles(brisk(), plan);
                let launcher = start(memory(), &place);
                let id = create(&launcher).await.id;
                let lease = wait_for(&launcher, id, State::Ready).await;
                assert!(lease.fault.is_none(), "{call:?} {trouble:?}: {:?}", lease.fault);
                launcher.end(&caller("anna"), id).await.unwrap();
                wait_for(&launcher, id, State::Removed).await;
                assert!(place.left().is_empty(), "{call:?} {trouble:?}");
                launcher.stop().await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_waits_for_a_creation_that_is_under_way() {
    let slow = |call, _, number| (call == Call::Create && number == 1).then(|| Trouble::Hangs(Duration::from_secs(60)));
    let place = Simulate::with_troubles(brisk(), slow);
    let launcher = start(memory(), &place);
    let id = create(&launcher).await.id;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let lease = launcher.end(&caller("anna"), id).await.unwrap();
    assert_eq!(lease.state, State::Removing);
    let lease = wait_for(&launcher, id, State::Removed).await;
    assert!(lease.removed_at.unwrap().since(lease.created_at) >= Duration::from_secs(60));
    assert!(place.left().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_goes_by_itself_is_said_to_be_lost() {
    let place = Simulate::new(brisk());
    let launcher = start(memory(), &place);
    let id = create(&launcher).await.id;
    wait_for(&launcher, id, State::Ready).await;
    place.crash(id);
    let lease = wait_for(&launcher, id, State::Removed).await;
    assert_eq!(
        (lease.outcome, lease.fault.unwrap().code.as_str()),
        (Some(End::Lost), "gateway_gone")
    );
}
