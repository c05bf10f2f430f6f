//! Whatever the place and people do, a lease ends, in time.

use super::*;

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
