//! Clocks that are wrong: Azure's, and those of the machines.

use launch::node::Question;

use crate::cloud::{INSTANCE, Kind, Lit, launcher, life, quick};
use crate::hand::{Hand, LIFETIME};
use crate::lanes;
use crate::needs_machines;

const HOUR: i64 = 3_600;

/// How long a report may be under way, in seconds.
const SLACK: u64 = 20;

#[test]
fn an_hour_more_or_less_on_azure_s_clock_changes_nothing() {
    needs_machines!();
    let cases = Kind::BOTH.map(|kind| [(kind, HOUR), (kind, -HOUR)]);
    lanes::each(cases.into_iter().flatten(), |(kind, skew)| {
        let lit = Lit::new(quick());
        lit.azure.skew(skew);
        let ready = lit.live(async || life(&launcher(INSTANCE, vec![lit.place(kind)])).await);
        assert_eq!(
            ready.remaining(ready.ready_at.expect("it is ready")).as_secs(),
            600,
            "{kind:?} {skew}"
        );
        assert_eq!(lit.left(), [""; 0], "{kind:?} {skew}");
    });
}

#[test]
fn an_hour_more_or_less_on_a_machine_s_clock_gives_its_gateway_the_time_that_was_granted() {
    needs_machines!();
    netlab::requires!("cc");
    // (the machine's clock, the least and the most that its gateway gives itself before anybody says more)
    let skews = [
        (HOUR, 120 - SLACK, 120),
        (-HOUR, LIFETIME.as_secs() - SLACK, LIFETIME.as_secs()),
    ];
    let cases = Kind::BOTH.map(|kind| skews.map(|skew| (kind, skew)));
    lanes::each(cases.into_iter().flatten(), |(kind, (skew, least, most))| {
        let lit = Lit::new(quick());
        let library = lit.hub.folder().join("skew.so");
        lit.hub
            .command("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/azure/skew.c"))
            .run();
        lit.light.set("LD_PRELOAD", &library.display().to_string());
        lit.light.set("SKEW_SECS", &skew.to_string());
        lit.live(async || {
            let mut hand = Hand::new(lit.place(kind));
            hand.make().await.expect("it can be made");
            let first = hand.ask(&Question::Report {}).await.expect("it answers").remaining_secs;
            assert!((least..=most).contains(&first), "{kind:?} {skew}: {first}");
            let granted = hand.bring().await.expect("it answers").remaining_secs;
            assert!(
                (LIFETIME.as_secs() - SLACK..=LIFETIME.as_secs()).contains(&granted),
                "{kind:?} {skew}: {granted}"
            );
            hand.remove().await.expect("it can be removed");
        });
        assert_eq!(lit.left(), [""; 0], "{kind:?} {skew}");
    });
}
