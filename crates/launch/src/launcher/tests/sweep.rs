//! What no lease knows is found and removed; what cannot be told is left.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_sweep_removes_what_no_lease_knows_in_the_second_round() {
    let place = Simulate::new(brisk());
    let stranded = LeaseId::new(Moment::from_millis(1), 1);
    let foreign = LeaseId::new(Moment::from_millis(1), 2);
    place.strand("test", stranded);
    place.strand("another", foreign);
    let launcher = start(memory(), &place);
    let id = create(&launcher).await.id;
    wait_for(&launcher, id, State::Ready).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!((launcher.meters().orphans["simulate"], place.left().len()), (1, 3));
    tokio::time::sleep(Duration::from_secs(120)).await;
    let mut left = place.left();
    left.sort();
    assert_eq!(left, [foreign, id]);
    assert_eq!(launcher.meters().removed_orphans["simulate"], 1);
    assert_eq!(launcher.read(&admin(), id).await.unwrap().state, State::Ready);
}

#[tokio::test(start_paused = true)]
async fn an_empty_store_finds_what_a_lost_one_has_left() {
    let place = Simulate::new(brisk());
    let lost = start(memory(), &place);
    let id = create(&lost).await.id;
    wait_for(&lost, id, State::Ready).await;
    lost.stop().await;
    let launcher = start(memory(), &place);
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert!(place.left().is_empty());
    assert!(matches!(launcher.read(&admin(), id).await, Err(Refusal::NotFound)));
}

/// How the stranded machines of `places` fare after many rounds, each of a minute.
async fn rounds(place: &Arc<Simulate>, minutes: u64) -> (Launcher, LeaseId) {
    let stranded = LeaseId::new(Moment::from_millis(1), 1);
    place.strand("test", stranded);
    let launcher = start(memory(), place);
    tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
    (launcher, stranded)
}

#[tokio::test(start_paused = true)]
async fn a_place_that_cannot_tell_removes_nothing_however_often_it_is_asked() {
    let unclear = || Fault::new(FaultKind::Unclear, "busy", "the place is busy");
    // (what goes wrong with every list, with every removal; whether sweeps fail)
    for (list, removal, is_failed) in [
        (Some(Trouble::Fails(unclear())), None, true),
        (Some(Trouble::LosesAnswer), None, true),
        (Some(Trouble::Hangs(Duration::from_secs(600))), None, true),
        (None, Some(Trouble::Fails(unclear())), false),
    ] {
        let shown = format!("{list:?} {removal:?}");
        let plan = move |call, _, _| match call {
            Call::List => list.clone(),
            Call::Remove => removal.clone(),
            Call::Create | Call::Ask => None,
        };
        let place = Simulate::with_troubles(brisk(), plan);
        // For less than the hour after which a stranded machine ends by itself.
        let (launcher, stranded) = rounds(&place, 50).await;
        assert_eq!(place.left(), [stranded], "{shown}");
        let meters = launcher.meters();
        assert!(meters.removed_orphans.is_empty(), "{shown}");
        assert_eq!(meters.failed_sweeps.contains_key("simulate"), is_failed, "{shown}");
        launcher.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_round_that_could_not_tell_neither_marks_nor_forgets_a_mark() {
    let plan = |call, _, number: u64| {
        let fault = Fault::new(FaultKind::Unclear, "busy", "the place is busy");
        (call == Call::List && (2..20).contains(&number)).then_some(Trouble::Fails(fault))
    };
    let place = Simulate::with_troubles(brisk(), plan);
    let (launcher, stranded) = rounds(&place, 18).await;
    assert_eq!(launcher.meters().failed_sweeps["simulate"], 18 - 1);
    assert_eq!(place.left(), [stranded]);
    // Once more it cannot tell; then it can, and it was marked.
    tokio::time::sleep(Duration::from_secs(4 * 60)).await;
    assert!(place.left().is_empty());
    let meters = launcher.meters();
    assert_eq!((meters.orphans["simulate"], meters.removed_orphans["simulate"]), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_says_gone_has_removed_it() {
    let plan = |call, _, _| {
        let fault = Fault::new(FaultKind::Gone, "gateway_gone", "there is no such machine");
        (call == Call::Remove).then_some(Trouble::Fails(fault))
    };
    let place = Simulate::with_troubles(brisk(), plan);
    let (launcher, _) = rounds(&place, 2).await;
    assert_eq!(launcher.meters().removed_orphans["simulate"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_of_which_nobody_can_tell_is_not_taken_for_one_that_is_gone() {
    for (kind, expected) in [(FaultKind::Unclear, State::Ready), (FaultKind::Gone, State::Removed)] {
        let plan = move |call, _, number: u64| {
            let fault = Fault::new(kind, "test", "the place says so");
            (call == Call::Ask && number > 20).then_some(Trouble::Fails(fault))
        };
        let place = Simulate::with_troubles(brisk(), plan);
        let launcher = start(memory(), &place);
        let id = create(&launcher).await.id;
        tokio::time::sleep(Duration::from_secs(25 * 60)).await;
        let lease = launcher.read(&admin(), id).await.unwrap();
        assert_eq!(lease.state, expected, "{lease:?}");
        assert_eq!(place.left().contains(&id), kind == FaultKind::Unclear);
        assert_eq!(lease.unreachable_since.is_some(), kind == FaultKind::Unclear);
        launcher.stop().await;
    }
}
