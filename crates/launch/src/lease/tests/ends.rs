//! Why and when a lease ends.

use super::*;

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
fn where_people_were_is_forgotten_once_nothing_is_left() {
    let mut lease = lease(None);
    let mut now = START;
    let device = "198.51.100.7:41523".parse().unwrap();
    let place = |what: &What, _| match what {
        What::Ask(question) => {
            let mut reached = answer(question, Some(START));
            if let Answer::Report(report) = &mut reached.answer {
                report.peers[0].endpoint = Some(device);
            }
            Outcome::Asked(Ok(reached))
        }
        What::Create | What::Remove => works(what),
    };
    live(&mut lease, &mut now, after(60), place);
    assert_eq!((lease.state, lease.peers[0].endpoint), (State::Ready, Some(device)));
    lease.handle(Event::End, now);
    live(&mut lease, &mut now, after(120), place);
    assert_eq!((lease.state, lease.peers[0].endpoint), (State::Removed, None));
}
