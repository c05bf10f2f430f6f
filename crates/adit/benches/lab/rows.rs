//! One row of the benchmarks, measured once for one contender. `xtask/src/bench/rows.rs` says what each row means.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use netlab::Offloads;
use netlab::load::{self, Bulk, Direction};

use crate::Figures;
use crate::contender::Contender;
use crate::meter::Stretch;
use crate::pair::{Pair, Path};

/// Measures `row` for `contender`, for so long.
///
/// # Errors
///
/// What is wrong with the names, or what failed, in a few words.
pub(crate) fn measure(row: &str, contender: &str, length: Duration) -> Result<Figures, String> {
    use Direction::{Down, Up};
    let end = || Contender::named(contender).ok_or_else(|| format!("no contender is called {contender}"));
    let path = Path::default();
    let same = |path| {
        let end = end()?;
        Pair::new([end, end], path)
    };
    match row {
        "tcp-1-up" => tcp(&same(path)?, 1, Up, length),
        "tcp-1-down" => tcp(&same(path)?, 1, Down, length),
        "tcp-8-up" => tcp(&same(path)?, 8, Up, length),
        "tcp-8-down" => tcp(&same(path)?, 8, Down, length),
        "tcp-1-gro" => tcp(
            &same(Path {
                offloads: Offloads::ReceiveOnly,
                ..path
            })?,
            1,
            Up,
            length,
        ),
        "tcp-1-plain" => tcp(
            &same(Path {
                offloads: Offloads::Off,
                ..path
            })?,
            1,
            Up,
            length,
        ),
        "tcp-1-jumbo" => tcp(&same(Path { mtu: 9_000, ..path })?, 1, Up, length),
        "tcp-1-peers" => tcp(&same(Path { peers: 200, ..path })?, 1, Up, length),
        "mixed-up" => tcp(&Pair::new([end()?, Contender::WireguardGo], path)?, 1, Up, length),
        "mixed-down" => tcp(&Pair::new([end()?, Contender::WireguardGo], path)?, 1, Down, length),
        "udp-1420" => udp(&same(path)?, 1_420, length),
        "udp-64" => udp(&same(path)?, 64, length),
        "request" => request(&same(path)?, length),
        "ping-idle" => ping(&same(path)?, length),
        "ping-loaded" => loaded_ping(&same(path)?, length),
        _ => Err(format!("no row is called {row}")),
    }
}

/// Where traffic for `address` goes.
fn port(address: Ipv4Addr) -> SocketAddr {
    SocketAddr::from((address, 5201))
}

/// What every stretch tells of the processors.
fn processors(stretch: &Stretch) -> Figures {
    Figures::from([("busy", stretch.busy), ("foreign", stretch.foreign)])
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn tcp(pair: &Pair, streams: usize, direction: Direction, length: Duration) -> Result<Figures, String> {
    let bulk = Bulk::start(&pair.left, &pair.right, port(pair.target), streams, direction).map_err(said)?;
    let stretch = Stretch::watch(&[&pair.left, &pair.right], length, || bulk.received());
    let mut figures = processors(&stretch);
    figures.insert("gbit", stretch.rate() * 8.0 / 1e9);
    figures.insert("cpu", stretch.programs / (stretch.count / 1e9));
    Ok(figures)
}

/// A flood of packets of `len` bytes, IP and UDP headers included.
fn udp(pair: &Pair, len: usize, length: Duration) -> Result<Figures, String> {
    let flood = load::Flood::start(&pair.left, &pair.right, port(pair.target), len - 28).map_err(said)?;
    let sent = std::cell::Cell::new([0; 2]);
    let stretch = Stretch::watch(&[&pair.left, &pair.right], length, || {
        let (gone, arrived) = flood.counts();
        sent.set([sent.get()[1], gone]);
        arrived
    });
    let [before, after] = sent.get();
    let sent = (after - before) as f64;
    let mut figures = processors(&stretch);
    figures.insert("packets", stretch.rate() / 1e3);
    figures.insert("loss", 100.0 * (1.0 - stretch.count / sent).max(0.0));
    Ok(figures)
}

fn request(pair: &Pair, length: Duration) -> Result<Figures, String> {
    let exchange = load::Exchange::start(&pair.left, &pair.right, port(pair.target)).map_err(said)?;
    let stretch = Stretch::watch(&[&pair.left, &pair.right], length, || exchange.done());
    let mut figures = processors(&stretch);
    figures.insert("rate", stretch.rate());
    Ok(figures)
}

/// Echoes two hundred times a second, and how long they took in microseconds.
fn ping(pair: &Pair, length: Duration) -> Result<Figures, String> {
    let pings = load::ping(&pair.left, pair.target, Duration::from_millis(5), length).map_err(said)?;
    let (answered, lost) = pings.counts();
    let within = |share| {
        let time = pings.within(share).ok_or("no echo was answered");
        time.map(|time| time.as_secs_f64() * 1e6)
    };
    Ok(Figures::from([
        ("median", within(0.5)?),
        ("p99", within(0.99)?),
        ("loss", 100.0 * lost as f64 / (answered + lost) as f64),
    ]))
}

/// The same while one TCP stream fills the tunnel.
fn loaded_ping(pair: &Pair, length: Duration) -> Result<Figures, String> {
    let bulk = Bulk::start(&pair.left, &pair.right, port(pair.target), 1, Direction::Up).map_err(said)?;
    let asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(1));
            ping(pair, length)
        });
        let stretch = Stretch::watch(&[&pair.left, &pair.right], length, || bulk.received());
        asking.join().map(|figures| (figures, stretch))
    });
    let (figures, stretch) = asked.map_err(|_| "the thread that asks for echoes panicked")?;
    let mut figures = figures?;
    figures.extend(processors(&stretch));
    figures.insert("gbit", stretch.rate() * 8.0 / 1e9);
    Ok(figures)
}
