//! How much gets through per second, with loss on the way: our sender to our receiver.

use std::time::Duration;

use dataplane::netstack::tcp::Config;

use crate::{
    endpoint::{Application, Bundle, Server},
    link::{Link, Path},
};

const MBIT: u64 = 1_000_000 / 8;

/// Megabits a second over `seconds`, after `warm` seconds.
fn goodput(seed: u64, config: Config, path: Path, back: Path, (warm, seconds): (u64, u64)) -> u64 {
    let mut link = Link::new(seed, path, back);
    let start = link.now;
    let mut sender = Application::new(u64::MAX);
    let mut sink = Application::new(0);
    (sender.checks, sink.checks, sink.finishes) = (false, false, false);
    let rtt = path.delay + back.delay;
    let [mut a, mut b] = Server::pair(config, start, rtt, [sender, sink]);
    link.now = start + rtt;
    link.run(&mut a, &mut b, Duration::from_secs(warm), |_, _, _| false);
    let early = b.application.read;
    link.run(&mut a, &mut b, Duration::from_secs(seconds), |_, _, _| false);
    let rate = (b.application.read - early) * 8 / seconds / 1_000_000;
    let counts = link.counts(0);
    eprintln!(
        "{rate} Mbit/s, {} Mbit before; {counts:?} for {path:?}",
        early * 8 / 1_000_000
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
        let found = goodput(7, Config::ipv4(1420), path, back, (1, 4));
        assert!(found >= least, "loss {loss}/1e6 at {rate}: {found} Mbit/s");
    }
}

#[test]
fn a_short_path_is_filled_although_threads_are_busy() {
    // (delay each way in µs, arrivals wait up to µs, path in Mbit/s, at least Mbit/s)
    for (delay, lumps, rate, least) in [
        (20, 0, 4000, 3500),
        (20, 100, 4000, 3500),
        (50, 1000, 4000, 2000),
        (500, 2000, 4000, 2000),
        (20, 300, 300, 250),
    ] {
        let mut path = Path::new(Duration::from_micros(delay));
        (path.rate, path.queue, path.lumps) = (rate * MBIT, 1_000_000, Duration::from_micros(lumps));
        let mut back = path;
        back.rate = 0;
        let found = goodput(7, Config::ipv4(1420), path, back, (1, 1));
        assert!(
            found >= least,
            "{delay} µs each way, lumps of {lumps} µs: {found} Mbit/s"
        );
    }
}

#[test]
fn a_long_path_is_filled_if_the_buffers_may_grow() {
    let mut path = Path::new(Duration::from_millis(100));
    (path.rate, path.queue, path.loss) = (1000 * MBIT, 10_000_000, 10);
    let mut back = path;
    back.rate = 0;
    let most = 64 << 20;
    let config = Config {
        receive_max: most,
        send_max: most,
        ..Config::ipv4(1420)
    };
    let found = goodput(3, config, path, back, (4, 4));
    assert!(found >= 750, "{found} Mbit/s");
}

#[test]
fn flows_share_a_path() {
    let mut path = Path::new(Duration::from_millis(10));
    (path.rate, path.queue) = (100 * MBIT, 100 * MBIT / 25);
    let mut link = Link::new(5, path, Path::new(Duration::from_millis(10)));
    let rtt = Duration::from_millis(20);
    let start = link.now;
    let (mut senders, mut sinks) = (Vec::new(), Vec::new());
    for index in 0..4 {
        let mut sender = Application::new(u64::MAX);
        let mut sink = Application::new(0);
        (sender.checks, sink.checks, sink.finishes) = (false, false, false);
        sender.starts_at = start + Duration::from_millis(700 * index + 100);
        let [a, b] = Server::pair(Config::ipv4(1420), start, rtt, [sender, sink]);
        senders.push(a);
        sinks.push(b);
    }
    link.now = start + rtt;
    let (mut a, mut b) = (Bundle::new(senders), Bundle::new(sinks));
    link.run(&mut a, &mut b, Duration::from_secs(12), |_, _, _| false);
    let before: Vec<u64> = b.0.iter().map(|sink| sink.application.read).collect();
    link.run(&mut a, &mut b, Duration::from_secs(20), |_, _, _| false);
    let shares: Vec<u64> =
        b.0.iter()
            .zip(before)
            .map(|(sink, before)| (sink.application.read - before) / 2_500_000)
            .collect();
    eprintln!("shares in Mbit/s: {shares:?}, {:?}", link.counts(0));
    assert!(shares.iter().sum::<u64>() >= 90, "{shares:?}");
    assert!(shares.iter().all(|&share| share >= 8), "{shares:?}");
}
