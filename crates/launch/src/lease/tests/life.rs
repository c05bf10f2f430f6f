//! A life from request to removal, and its row.

use super::*;

#[test]
fn a_lease_lives_as_long_as_was_asked_for() {
    let mut lease = lease(None);
    let mut now = START;
    live(&mut lease, &mut now, after(10), |what, _| works(what));
    assert_eq!((lease.state, lease.ready_at), (State::Ready, Some(after(2))));
    assert_eq!(lease.ends_at, after(1_802));
    assert_eq!(lease.peers[0].addresses, [IpAddr::from([10, 13, 13, 2])]);
    live(&mut lease, &mut now, after(1_800), |what, _| works(what));
    assert_eq!(lease.state, State::Ready);
    live(&mut lease, &mut now, after(1_804), |what, _| works(what));
    assert_eq!((lease.state, lease.outcome), (State::Removed, Some(End::Expired)));
    assert_eq!(
        kinds(&mut lease),
        ["provisioning", "configuring", "ready", "removing", "removed"]
    );
    assert_eq!(lease.due(), None);
}

#[test]
fn the_gateway_is_told_what_is_left_and_never_more_than_was_granted() {
    let mut lease = lease(None);
    let mut now = START;
    let mut told = Vec::new();
    live(&mut lease, &mut now, after(600), |what, _| {
        if let What::Ask(Question::Bring { remaining_secs, .. }) = what {
            told.push(*remaining_secs);
        }
        works(what)
    });
    assert!(told.windows(2).all(|pair| pair[0] >= pair[1]), "{told:?}");
    assert_eq!(told[0], 1_800);
    assert!(told.last().unwrap().abs_diff(1_202) <= 6, "{told:?}");
    // The clock was set back by a day while nobody drove it.
    lease.recover(Moment::from_millis(START.as_millis() - 86_400_000));
    let action = lease.step(Moment::from_millis(START.as_millis() - 86_400_000)).unwrap();
    let What::Ask(Question::Bring { remaining_secs, .. }) = action.what else {
        panic!("{action:?}")
    };
    assert_eq!(remaining_secs, 1_800);
}

#[test]
fn the_first_handshake_is_told_once() {
    let mut lease = lease(None);
    let mut now = START;
    live(&mut lease, &mut now, after(200), |what, now| match what {
        What::Ask(question) => Outcome::Asked(Ok(answer(question, Some(after(30)).filter(|at| *at <= now)))),
        What::Create | What::Remove => works(what),
    });
    assert_eq!(lease.peers[0].first_handshake_at, Some(after(30)));
    assert_eq!(kinds(&mut lease).iter().filter(|kind| **kind == "handshake").count(), 1);
}

#[test]
fn a_row_is_read_as_it_was_kept() {
    let mut lease = lease(Some(600));
    let mut now = START;
    live(&mut lease, &mut now, after(60), |what, _| works(what));
    lease.take_notices();
    let text = serde_json::to_string(&lease).unwrap();
    assert_eq!(serde_json::from_str::<Lease>(&text).unwrap(), lease);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["state"], "ready");
}
