//! What is wished of a lease while it lives.

use super::*;

#[test]
fn a_wish_reaches_the_gateway_at_once_and_an_older_answer_changes_nothing() {
    let mut lease = lease(None);
    let mut now = START;
    live(&mut lease, &mut now, after(60), |what, _| works(what));
    let due = lease.due().unwrap();
    let Action { attempt, what, .. } = lease.step(due).unwrap();
    let laptop = PeerRequest {
        name: "laptop".to_owned(),
        public_key: Some(key(2)),
    };
    assert_eq!(lease.handle(Event::AddPeer(laptop.clone()), due), Change::Row);
    assert_eq!(lease.handle(Event::AddPeer(laptop), due), Change::Nothing);
    assert_eq!(
        lease.handle(
            Event::Done {
                attempt,
                outcome: works(&what)
            },
            due
        ),
        Change::Nothing
    );
    assert!(lease.is_dirty);
    let Action { attempt, what, .. } = lease.step(due).unwrap();
    let What::Ask(Question::Bring { peers, .. }) = &what else {
        panic!("{what:?}")
    };
    assert_eq!(peers.len(), 2);
    assert_eq!(
        lease.handle(
            Event::Done {
                attempt,
                outcome: works(&what)
            },
            due
        ),
        Change::Row
    );
    assert!(!lease.is_dirty);
    assert_eq!(lease.peers[1].addresses.len(), 1);
    // The same result a second time.
    assert_eq!(
        lease.handle(
            Event::Done {
                attempt,
                outcome: works(&what)
            },
            due
        ),
        Change::Nothing
    );
    assert_eq!(lease.handle(Event::Extend(Duration::from_secs(600)), due), Change::Row);
    assert_eq!((lease.ends_at, lease.granted_secs), (after(2_402), 2_400));
    assert_eq!(lease.handle(Event::RemovePeer("LAPTOP".to_owned()), due), Change::Row);
    assert_eq!(lease.peers.len(), 1);
    lease.handle(Event::End, due);
    for event in [
        Event::Extend(Duration::from_secs(1)),
        Event::End,
        Event::RemovePeer("phone".to_owned()),
    ] {
        assert_eq!(lease.handle(event, due), Change::Nothing);
    }
}
