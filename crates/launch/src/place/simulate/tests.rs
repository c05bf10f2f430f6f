//! The place that is none behaves like a cloud.

use super::*;
use crate::{Moment, order::Order};

fn job(number: u128) -> Job {
    Job {
        id: LeaseId::new(Moment::from_millis(1_795_000_000_000), number),
        instance: "test".to_owned(),
        order: Order::plain("simulate", 1_800),
        peers: Vec::new(),
        remaining: Duration::from_secs(1_800),
        refs: serde_json::Value::Null,
    }
}

/// How long it takes until the machine is there, the gateway answers, and nothing is left.
async fn times(place: &Simulate) -> [Duration; 3] {
    let job = job(1);
    let began = Instant::now();
    while let Creation::Pending { after, .. } = place.create(&job).await.unwrap() {
        sleep(after).await;
    }
    let made = began.elapsed();
    while let Err(fault) = place.ask(&job, &Question::Report {}).await {
        assert_eq!(fault.kind, FaultKind::NotYet, "{fault:?}");
        sleep(Duration::from_millis(100)).await;
    }
    let answers = began.elapsed() - made;
    let began = Instant::now();
    while let Removal::Pending { after, .. } = place.remove(&job).await.unwrap() {
        sleep(after).await;
    }
    assert_eq!(place.list("test").await, Ok(Vec::new()));
    [made, answers, began.elapsed()]
}

#[tokio::test(start_paused = true)]
async fn it_takes_as_long_as_a_cloud_or_is_as_much_faster_as_was_said() {
    for (speed, usual_secs) in [(1.0, 40), (10.0, 4), (400.0, 1)] {
        let place = Simulate::configured(&Config {
            speed,
            ..Config::default()
        });
        assert_eq!(place.describe().usual_secs, usual_secs);
        let taken = times(&place).await;
        for (taken, expected) in taken.into_iter().zip([25.0, 15.0, 15.0]) {
            let taken = taken.as_secs_f64();
            assert!(
                (expected / speed - 0.5..expected / speed + 1.5).contains(&taken),
                "{speed}: {taken} for {expected}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_never_boots_is_there_all_the_same_and_removed() {
    let place = Simulate::with_troubles(Times::default(), |_, _, number| {
        (number == 1).then_some(Trouble::NeverBoots)
    });
    for _minutes in 0..60 {
        let Creation::Pending { .. } = place.create(&job(1)).await.unwrap() else {
            panic!("it has booted");
        };
        sleep(Duration::from_secs(20)).await;
    }
    let fault = place.ask(&job(1), &Question::Report {}).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotYet);
    assert_eq!(place.left(), [job(1).id]);
    place.remove(&job(1)).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(place.remove(&job(1)).await, Ok(Removal::Gone));
    assert!(place.left().is_empty());
}
