//! The system's clock is set while leases run, and while nobody drives them.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;

const DAY: i64 = 86_400_000;

/// A clock that people set, as far as tokio lets time pass.
#[derive(Clone, Debug, Default)]
struct Wall(Arc<AtomicI64>);

impl Wall {
    fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::Relaxed);
    }

    /// The launcher's clock on it, as a launcher that starts at this moment has it.
    fn clock(&self, start: Instant) -> Clock {
        let wall = self.clone();
        let shows = move || {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000) + start.elapsed();
            let set = wall.0.load(Ordering::Relaxed);
            if set < 0 {
                time - Duration::from_millis(set.unsigned_abs())
            } else {
                time + Duration::from_millis(set.unsigned_abs())
            }
        };
        Clock::of(shows, move || start.elapsed())
    }
}

fn start_by(clock: Clock, database: &Arc<Database>, place: &Arc<Simulate>) -> Launcher {
    let config = Config { clock, ..config() };
    let store = Arc::clone(database) as Arc<dyn Store>;
    Launcher::start(config, store, vec![Arc::clone(place) as Arc<dyn Place>]).unwrap()
}

/// Seconds of tokio's time until nothing is left at the place.
async fn until_gone(place: &Simulate, since: Instant) -> u64 {
    while !place.left().is_empty() {
        assert!(since.elapsed() < Duration::from_secs(86_400), "it lives for ever");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    since.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_while_a_lease_runs_changes_nothing() {
    for steps in [
        &[-DAY][..],
        &[DAY],
        &[-400 * DAY, DAY],
        &[3_600_000, -3_600_000, 0],
        &[700, -700],
    ] {
        let (wall, began) = (Wall::default(), Instant::now());
        let place = Simulate::new(quick());
        let launcher = start_by(wall.clock(began), &memory(), &place);
        let id = create(&launcher).await.id;
        // Once before it is ready, too.
        wall.set(steps[0] / 2);
        wait_for(&launcher, id, State::Ready).await;
        let ready = Instant::now();
        for step in steps {
            tokio::time::sleep(Duration::from_secs(300)).await;
            wall.set(*step);
            assert_eq!(
                launcher.read(&admin(), id).await.unwrap().state,
                State::Ready,
                "{steps:?}"
            );
        }
        let lived = until_gone(&place, ready).await;
        assert!((1_799..1_805).contains(&lived), "{steps:?}: {lived} s");
        let lease = wait_for(&launcher, id, State::Removed).await;
        assert_eq!(lease.outcome, Some(End::Expired), "{steps:?}");
        launcher.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_while_nobody_drives_grants_no_more_than_the_time_once_more() {
    // (what the clock is set by, seconds from ready until it is gone)
    for (step, expected) in [
        (0, 1_799..1_805),
        // All of its time again, from when it is driven again.
        (-DAY, 2_399..2_405),
        (-400 * DAY, 2_399..2_405),
        (-300_000, 2_099..2_105),
        // By the clock its time is over.
        (DAY, 600..605),
        (600_000, 1_199..1_205),
    ] {
        let (wall, began) = (Wall::default(), Instant::now());
        let (place, database) = (Simulate::new(quick()), memory());
        let launcher = start_by(wall.clock(began), &database, &place);
        let id = create(&launcher).await.id;
        wait_for(&launcher, id, State::Ready).await;
        let ready = Instant::now();
        launcher.stop().await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        wall.set(step);
        let launcher = start_by(wall.clock(began), &database, &place);
        let lived = until_gone(&place, ready).await;
        assert!(expected.contains(&lived), "{step}: {lived} s");
        let lease = wait_for(&launcher, id, State::Removed).await;
        assert_eq!(lease.outcome, Some(End::Expired), "{step}");
        launcher.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_nobody_drives_it_a_gateway_ends_by_its_own_clock_whatever_the_wall_shows() {
    let (wall, began) = (Wall::default(), Instant::now());
    let (place, database) = (Simulate::new(quick()), memory());
    let launcher = start_by(wall.clock(began), &database, &place);
    let id = create(&launcher).await.id;
    wait_for(&launcher, id, State::Ready).await;
    launcher.stop().await;
    wall.set(-DAY);
    tokio::time::sleep(Duration::from_secs(1_801)).await;
    assert_eq!(place.list("test").await, Ok(Vec::new()));
    let launcher = start_by(wall.clock(began), &database, &place);
    let lease = wait_for(&launcher, id, State::Removed).await;
    assert_eq!(lease.outcome, Some(End::Lost), "by the wall it has time left");
}
