//! Lives of leases in virtual time.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use wg::{PrivateKey, PublicKey};

use super::*;
use crate::{
    node::{Answer, PeerReport, Question, Report},
    order::everything,
    place::{Creation, FaultKind, Reached, Removal},
};

const START: Moment = Moment::from_millis(1_795_000_000_000);

fn key(number: u8) -> PublicKey {
    PrivateKey::from_random([number; 32]).public_key()
}

fn order(idle_end_secs: Option<u64>) -> Order {
    Order {
        place: "simulate".to_owned(),
        region: None,
        size: None,
        lifetime_secs: 1_800,
        idle_end_secs,
        keys: Keys::Client,
        port: None,
        dns: None,
        allowed_ips: everything(),
        mtu: None,
    }
}

fn lease(idle_end_secs: Option<u64>) -> Lease {
    let phone = PeerRequest {
        name: "phone".to_owned(),
        public_key: Some(key(1)),
    };
    Lease::new(
        LeaseId::new(START, 1),
        "somebody",
        order(idle_end_secs),
        &[phone],
        false,
        START,
    )
}

fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind, "test", "the place says no")
}

/// A gateway's answer to what is wanted of it.
fn answer(question: &Question, handshake: Option<Moment>) -> Reached {
    let Question::Bring { peers, remaining_secs } = question else {
        panic!("not asked: {question:?}")
    };
    let peers = peers.iter().enumerate().map(|(index, peer)| PeerReport {
        name: peer.name.clone(),
        public_key: peer.public_key,
        addresses: vec![IpAddr::from([10, 13, 13, u8::try_from(index + 2).unwrap()])],
        endpoint: None,
        latest_handshake: handshake,
        received_bytes: 0,
        sent_bytes: 0,
    });
    Reached {
        endpoint: "192.0.2.1:51820".to_owned(),
        answer: Answer::Report(Report {
            public_key: key(9),
            listen_port: 51_820,
            plane: "netstack".to_owned(),
            addresses: vec!["10.13.13.1/24".parse().unwrap()],
            remaining_secs: *remaining_secs,
            peers: peers.collect(),
        }),
    }
}

fn works(what: &What) -> Outcome {
    match what {
        What::Create => Outcome::Created(Ok(Creation::Made { refs: json!(1) })),
        What::Ask(question) => Outcome::Asked(Ok(answer(question, None))),
        What::Remove => Outcome::Removed(Ok(Removal::Gone)),
    }
}

/// Lives until `until`; each step takes a second, and `place` says what comes of it.
fn live(lease: &mut Lease, now: &mut Moment, until: Moment, mut place: impl FnMut(&What, Moment) -> Outcome) {
    while let Some(due) = lease.due().filter(|due| *due <= until) {
        *now = due.max(*now);
        if let Some(Action { attempt, what, .. }) = lease.step(*now) {
            *now = *now + Duration::from_secs(1);
            lease.handle(
                Event::Done {
                    attempt,
                    outcome: place(&what, *now),
                },
                *now,
            );
        }
    }
    *now = until.max(*now);
}

fn kinds(lease: &mut Lease) -> Vec<&'static str> {
    lease.take_notices().iter().map(|notice| notice.kind.as_str()).collect()
}

fn after(secs: u64) -> Moment {
    START + Duration::from_secs(secs)
}

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
fn what_goes_wrong_decides_how_it_ends() {
    /// What the place does: with a creation, with the n-th question, with the n-th removal.
    type Plan = (
        &'static str,
        fn(u32) -> Option<Fault>,
        fn(u32) -> Option<Fault>,
        fn(u32) -> Option<Fault>,
    );
    let never = |_| None;
    let plans: [(Plan, State, Option<End>); 8] = [
        (("works", never, never, never), State::Ready, None),
        (
            ("creation refused", |_| Some(fault(FaultKind::Refused)), never, never),
            State::Removed,
            Some(End::Failed),
        ),
        (
            (
                "creation unclear twice",
                |n| (n < 3).then(|| fault(FaultKind::Unclear)),
                never,
                never,
            ),
            State::Ready,
            None,
        ),
        (
            (
                "starts slowly",
                never,
                |n| (n < 20).then(|| fault(FaultKind::NotYet)),
                never,
            ),
            State::Ready,
            None,
        ),
        (
            ("dies at the start", never, |_| Some(fault(FaultKind::Gone)), never),
            State::Removed,
            Some(End::Failed),
        ),
        (
            ("refuses its peers", never, |_| Some(fault(FaultKind::Refused)), never),
            State::Removed,
            Some(End::Failed),
        ),
        (
            (
                "goes by itself",
                never,
                |n| (n > 5).then(|| fault(FaultKind::Gone)),
                never,
            ),
            State::Removed,
            Some(End::Lost),
        ),
        (
            (
                "is out of reach",
                never,
                |n| (n > 5).then(|| fault(FaultKind::Unclear)),
                never,
            ),
            State::Ready,
            None,
        ),
    ];
    for ((name, create, ask, remove), state, outcome) in plans {
        let mut lease = lease(None);
        let mut now = START;
        let (mut creations, mut questions, mut removals) = (0, 0, 0);
        live(&mut lease, &mut now, after(300), |what, _| {
            let trouble = match what {
                What::Create => {
                    creations += 1;
                    create(creations)
                }
                What::Ask(_) => {
                    questions += 1;
                    ask(questions)
                }
                What::Remove => {
                    removals += 1;
                    remove(removals)
                }
            };
            match (what, trouble) {
                (_, None) => works(what),
                (What::Create, Some(fault)) => Outcome::Created(Err(fault)),
                (What::Ask(_), Some(fault)) => Outcome::Asked(Err(fault)),
                (What::Remove, Some(fault)) => Outcome::Removed(Err(fault)),
            }
        });
        assert_eq!((lease.state, lease.outcome), (state, outcome), "{name}: {lease:?}");
        assert_eq!(lease.unreachable_since.is_some(), name == "is out of reach", "{name}");
        assert_eq!(lease.ready_at.is_none(), outcome == Some(End::Failed), "{name}");
        assert_eq!(
            lease.fault.is_some(),
            outcome.is_some() || name == "is out of reach",
            "{name}: {lease:?}"
        );
    }
}

#[test]
fn a_gateway_that_never_answers_fails_in_time_and_says_why() {
    let mut lease = lease(None);
    let mut now = START;
    live(
        &mut lease,
        &mut now,
        START + SETUP_LIMIT + Duration::from_secs(5),
        |what, _| match what {
            What::Ask(_) => Outcome::Asked(Err(fault(FaultKind::NotYet))),
            What::Create | What::Remove => works(what),
        },
    );
    assert_eq!((lease.state, lease.outcome), (State::Removed, Some(End::Failed)));
    let fault = lease.fault.unwrap();
    assert_eq!(fault.code, "setup_timeout");
    assert!(
        fault.message.contains("the place says no") && !fault.remedy.is_empty(),
        "{fault:?}"
    );
}

#[test]
fn a_removal_is_tried_until_it_succeeds() {
    let mut lease = lease(None);
    let mut now = START;
    live(&mut lease, &mut now, after(60), |what, _| works(what));
    lease.handle(Event::End, now);
    let mut failures = 0;
    live(&mut lease, &mut now, after(3_600), |what, _| match what {
        What::Remove if failures < 9 => {
            failures += 1;
            Outcome::Removed(Err(fault(FaultKind::Unclear)))
        }
        What::Create | What::Ask(_) | What::Remove => works(what),
    });
    assert_eq!(
        (failures, lease.state, lease.outcome),
        (9, State::Removed, Some(End::Asked))
    );
    assert!(kinds(&mut lease).contains(&"retry"));
}

#[test]
fn without_a_client_it_ends_but_not_while_nobody_can_tell() {
    // (latest handshake so many seconds after the start, out of reach from, ended after 1,000 s?)
    for (handshake, unreachable, ends) in [(None, None, true), (Some(900), None, false), (None, Some(100), false)] {
        let mut lease = lease(Some(600));
        let mut now = START;
        live(&mut lease, &mut now, after(1_000), |what, now| match what {
            What::Ask(_) if unreachable.is_some_and(|from| now > after(from)) => {
                Outcome::Asked(Err(fault(FaultKind::Unclear)))
            }
            What::Ask(question) => {
                let seen = handshake.map(after).filter(|at| *at <= now);
                let early = handshake.map(|_| after(5)).filter(|at| *at <= now);
                Outcome::Asked(Ok(answer(question, seen.or(early))))
            }
            What::Create | What::Remove => works(what),
        });
        // A client that was seen at 5 s and not before 900 s is gone at 605 s.
        let expected = ends || handshake.is_some();
        assert_eq!(lease.state == State::Removed, expected, "{handshake:?} {unreachable:?}");
        assert_eq!(lease.outcome == Some(End::Idle), expected);
    }
}

#[test]
fn a_restart_gives_clients_their_time_anew() {
    let mut lease = lease(Some(600));
    let mut now = START;
    live(&mut lease, &mut now, after(60), |what, _| works(what));
    lease.recover(after(1_000));
    assert!(lease.step(after(1_000)).is_some());
    assert_eq!((lease.state, lease.outcome), (State::Ready, None));
}

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

/// What a hostile place and a restless person do in one step.
#[derive(Clone, Debug)]
enum Move {
    Works,
    Fault(FaultKind),
    Pending(u64),
    Never,
    Twice,
    Extend,
    End,
    Restart(i64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let kind = prop_oneof![
        Just(FaultKind::NotYet),
        Just(FaultKind::Unclear),
        Just(FaultKind::Gone),
        Just(FaultKind::Refused)
    ];
    let one = prop_oneof![
        8 => Just(Move::Works),
        4 => kind.prop_map(Move::Fault),
        2 => (0..30_u64).prop_map(Move::Pending),
        1 => Just(Move::Never),
        1 => Just(Move::Twice),
        1 => Just(Move::Extend),
        1 => Just(Move::End),
        1 => (-3_600..3_600_i64).prop_map(Move::Restart),
    ];
    prop::collection::vec(one, 1..60)
}

/// Which states may follow which.
fn may_follow(before: State, after: State) -> bool {
    use State::{Configuring, Failed, Lost, Provisioning, Ready, Removed, Removing, Requested};
    before == after
        || matches!(
            (before, after),
            (Requested, Provisioning | Removing | Failed)
                | (Provisioning, Configuring | Failed | Removing)
                | (Configuring, Ready | Failed | Removing)
                | (Ready, Lost | Removing)
                | (Failed | Lost, Removing)
                | (Removing, Removed)
        )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_ends_removed_and_in_time(moves in moves()) {
        let mut lease = lease(None);
        let mut now = START;
        let mut moves = moves.into_iter();
        let mut is_over = false;
        for _ in 0..5_000 {
            let Some(due) = lease.due() else { is_over = true; break };
            now = due.max(now);
            let before = lease.state;
            let was_ready = lease.ready_at.is_some();
            let Some(Action { attempt, what, limit }) = lease.step(now) else {
                prop_assert!(may_follow(before, lease.state), "{before:?} to {:?}", lease.state);
                continue;
            };
            prop_assert!(lease.due().is_none_or(|due| due > now), "a step is not taken twice at once");
            prop_assert!(what != What::Create || lease.state == State::Provisioning);
            if let What::Ask(Question::Bring { remaining_secs, .. }) = &what {
                prop_assert!(*remaining_secs <= lease.granted_secs);
            }
            let stepped = lease.state;
            let fail = |fault: Fault| match what {
                What::Create => Outcome::Created(Err(fault)),
                What::Ask(_) => Outcome::Asked(Err(fault)),
                What::Remove => Outcome::Removed(Err(fault)),
            };
            now = now + Duration::from_millis(200);
            match moves.next().unwrap_or(Move::Works) {
                Move::Works => { lease.handle(Event::Done { attempt, outcome: works(&what) }, now); }
                Move::Fault(kind) => { lease.handle(Event::Done { attempt, outcome: fail(fault(kind)) }, now); }
                Move::Pending(secs) => {
                    let (refs, after) = (json!(2), Duration::from_secs(secs));
                    let outcome = match &what {
                        What::Create => Outcome::Created(Ok(Creation::Pending { refs, after, doing: String::new() })),
                        What::Remove => Outcome::Removed(Ok(Removal::Pending { refs, after })),
                        What::Ask(_) => works(&what),
                    };
                    lease.handle(Event::Done { attempt, outcome }, now);
                }
                Move::Never => now = now + limit,
                Move::Twice => {
                    lease.handle(Event::Done { attempt, outcome: works(&what) }, now);
                    let once = lease.clone();
                    let again = lease.handle(Event::Done { attempt, outcome: works(&what) }, now);
                    if lease.state != stepped {
                        prop_assert_eq!(again, Change::Nothing);
                        prop_assert_eq!(&lease, &once);
                    }
                }
                Move::Extend => { lease.handle(Event::Extend(Duration::from_secs(60)), now); }
                Move::End => { lease.handle(Event::End, now); }
                Move::Restart(secs) => {
                    let millis = now.as_millis().saturating_add_signed(secs * 1_000);
                    now = Moment::from_millis(millis);
                    lease.recover(now);
                }
            }
            prop_assert!(lease.outcome.is_none() || !lease.state.is_running());
            prop_assert!(!was_ready || lease.ready_at.is_some());
            prop_assert!(lease.state != State::Ready || lease.gateway.is_some());
            if lease.state.is_running() {
                prop_assert!(lease.remaining(now) <= SETUP_LIMIT + Duration::from_secs(lease.granted_secs) + Duration::from_secs(3_600 * 60));
            }
        }
        prop_assert!(is_over, "{lease:?}");
        prop_assert!(lease.outcome.is_some() && lease.removed_at.is_some());
    }
}
