//! Lives of leases in virtual time.

mod ends;
mod life;
mod property;
mod rekeyed;
mod traffic;
mod wishes;

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use wg::{PrivateKey, PublicKey};

use super::*;
use crate::{
    node::{Answer, PeerReport, Question, Report},
    place::{Creation, FaultKind, Reached, Removal},
};

const START: Moment = Moment::from_millis(1_795_000_000_000);

fn key(number: u8) -> PublicKey {
    PrivateKey::from_random([number; 32]).public_key()
}

fn order(idle_end_secs: Option<u64>) -> Order {
    Order {
        idle_end_secs,
        ..Order::plain("simulate", 1_800)
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
