//! What passed through a gateway in all.

use super::*;

/// What happens between two looks.
#[derive(Clone, Debug)]
enum Move {
    /// So many bytes pass for a peer.
    Pass(u8, u32),
    /// The gateway counts a peer anew from here on.
    Reset(u8),
    /// A peer may connect no more.
    Remove(u8),
    /// A peer may connect, and is counted anew.
    Add(u8),
    /// The launcher starts again with the row.
    Restart,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let peer = 0..3_u8;
    let one = prop_oneof![
        5 => (peer.clone(), 0..1_000_000_u32).prop_map(|(peer, bytes)| Move::Pass(peer, bytes)),
        1 => peer.clone().prop_map(Move::Reset),
        1 => peer.clone().prop_map(Move::Remove),
        2 => peer.prop_map(Move::Add),
        1 => Just(Move::Restart),
    ];
    prop::collection::vec(one, 1..40)
}

fn name(peer: u8) -> String {
    format!("peer{peer}")
}

/// The gateway tells what its counters show.
fn look(lease: &mut Lease, counters: &[u64; 3], now: &mut Moment) {
    lease.hasten(*now);
    let Some(Action { attempt, what, .. }) = lease.step(*now) else {
        panic!("a look is due")
    };
    let What::Ask(question) = what else { panic!("{what:?}") };
    let mut reached = answer(&question, None);
    let Answer::Report(report) = &mut reached.answer else {
        panic!("{reached:?}")
    };
    for seen in &mut report.peers {
        let counter = (0..3).find(|peer| name(*peer) == seen.name).map(usize::from);
        let counter = counter.map_or(0, |peer| counters[peer]);
        (seen.received_bytes, seen.sent_bytes) = (counter, 2 * counter);
    }
    *now = *now + Duration::from_secs(1);
    let outcome = Outcome::Asked(Ok(reached));
    lease.handle(Event::Done { attempt, outcome }, *now);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn totals_are_the_sum_of_all_that_passed_and_never_go_down(moves in moves()) {
        let mut lease = lease(None);
        let mut now = START;
        live(&mut lease, &mut now, after(10), |what, _| works(what));
        let (mut counters, mut passed) = ([0_u64; 3], 0_u64);
        for one in moves {
            match one {
                Move::Pass(peer, bytes) if lease.peer(&name(peer)).is_some() => {
                    counters[usize::from(peer)] += u64::from(bytes);
                    passed += u64::from(bytes);
                }
                Move::Reset(peer) => counters[usize::from(peer)] = 0,
                Move::Remove(peer) => {
                    lease.handle(Event::RemovePeer(name(peer)), now);
                }
                Move::Add(peer) if lease.peer(&name(peer)).is_none() => {
                    counters[usize::from(peer)] = 0;
                    let request = PeerRequest { name: name(peer), public_key: Some(key(peer + 20)) };
                    lease.handle(Event::AddPeer(request), now);
                }
                Move::Restart => {
                    let row = serde_json::to_string(&lease).unwrap();
                    lease = serde_json::from_str(&row).unwrap();
                    lease.recover(now);
                }
                Move::Pass(..) | Move::Add(_) => {}
            }
            look(&mut lease, &counters, &mut now);
            prop_assert_eq!((lease.received_bytes(), lease.sent_bytes()), (passed, 2 * passed));
        }
    }
}
