//! How much gets through per second, with loss on the way: our sender to our receiver.

use std::time::Duration;

use dataplane::netstack::tcp::Config;

use crate::{
    endpoint::{Application, Server},
    link::{Link, Path},
};

const MBIT: u64 = 1_000_000 / 8;

/// Megabits a second over `seconds`, without the first second.
fn goodput(seed: u64, path: Path, back: Path, seconds: u64) -> u64 {
    let mut link = Link::new(seed, path, back);
    let start = link.now;
    let mut sender = Application::new(u64::MAX);
    let mut sink = Application::new(0);
    (sender.checks, sink.checks, sink.finishes) = (false, false, false);
    let rtt = path.delay + back.delay;
    let [mut a, mut b] = Server::pair(Config::ipv4(1420), start, rtt, [sender, sink]);
    link.now = start + rtt;
    link.run(&mut a, &mut b, Duration::from_secs(1), |_, _, _| false);
    let early = b.application.read;
    link.run(&mut a, &mut b, Duration::from_secs(seconds), |_, _, _| false);
    let rate = (b.application.read - early) * 8 / seconds / 1_000_000;
    let counts = link.counts(0);
    eprintln!(
        "{rate} Mbit/s; sent {} lost {} dropped {} (retransmitted {:.2} %), first second {} Mbit",
        counts.sent,
        counts.lost,
        counts.dropped,
        100.0 * (counts.bytes as f64 / (1.04 * b.application.read as f64) - 1.0),
        early * 8 / 1_000_000,
    );
    rate
}

#[test]
fn loss_does_not_stop_a_download() {
    // (loss per million, path in Mbit/s, at least Mbit/s)
    for (loss, rate, least) in [
        (0, 1000, 900),
        (1_000, 1000, 800),
        (10_000, 1000, 700),
        (0, 50, 45),
        (1_000, 50, 40),
        (10_000, 50, 40),
        (50_000, 50, 30),
    ] {
        let mut path = Path::new(Duration::from_millis(10));
        (path.loss, path.rate, path.queue) = (loss, rate * MBIT, rate * MBIT / 25);
        let mut back = path;
        back.rate = 0;
        let found = goodput(7, path, back, 5);
        eprintln!("loss {loss}/1e6 at {rate}: {found} Mbit/s");
        assert!(found >= least, "loss {loss}/1e6 at {rate}: {found} Mbit/s");
    }
}
