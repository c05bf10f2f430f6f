//! One row of the benchmarks, measured once for one contender. `xtask/src/bench/rows.rs` says what each row means.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use netlab::Offloads;
use netlab::load::{self, Bulk, Direction};
use netlab::relay;

use crate::Figures;
use crate::contender::Contender;
use crate::handshakes;
use crate::idle::{self, Idle};
use crate::meter::{Look, Stretch};
use crate::pair::{Pair, Path};
use crate::rootless::Rootless;

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
        "handshakes" => handshakes::measure(end()?, length),
        "ping-loaded" => loaded_ping(&same(path)?, length),
        "netstack-up" => carried(&Rootless::new(contender)?, Up, length),
        "netstack-down" => carried(&Rootless::new(contender)?, Down, length),
        "netstack-loss-1000" => lossy(&Rootless::new(contender)?, 1_000, length),
        "netstack-loss-10000" => lossy(&Rootless::new(contender)?, 10_000, length),
        "netstack-connections" => connections(&Rootless::new(contender)?, length),
        "netstack-idle" => beside_idle(&Rootless::new(contender)?, 10_000, length),
        "netstack-memory" => Ok(memory(&Rootless::new(contender)?, 20_000)),
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
    bytes(&Stretch::watch(&[&pair.left, &pair.right], length, || bulk.received()))
}

/// Gbit/s, and the processor seconds that both ends' programs take for a gigabyte.
fn bytes(stretch: &Stretch) -> Result<Figures, String> {
    if stretch.count == 0.0 {
        return Err("nothing arrived".to_owned());
    }
    let mut figures = processors(stretch);
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
    let hosts = [&pair.left, &pair.right];
    let before = Look::take(&hosts, 0);
    let pings = load::ping(&pair.left, pair.target, Duration::from_millis(5), length).map_err(said)?;
    let (answered, lost) = pings.counts();
    let within = |share| {
        let time = pings.within(share).ok_or("no echo was answered");
        time.map(|time| time.as_secs_f64() * 1e6)
    };
    let mut figures = processors(&Look::take(&hosts, 0).since(&before));
    figures.insert("median", within(0.5)?);
    figures.insert("p99", within(0.99)?);
    figures.insert("loss", 100.0 * lost as f64 / (answered + lost) as f64);
    Ok(figures)
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

/// One stream through a gateway to the server behind it.
fn carried(rootless: &Rootless, direction: Direction, length: Duration) -> Result<Figures, String> {
    let (client, server) = (&rootless.network.client, &rootless.network.server);
    let bulk = Bulk::start(client, server, rootless.target(5201), 1, direction).map_err(said)?;
    bytes(&Stretch::watch(&rootless.hosts(), length, || bulk.received()))
}

/// A download while the way between client and gateway takes 10 ms and loses so many of a million, each way. It lasts twice
/// as long as others, for what a loss does is seen late.
fn lossy(rootless: &Rootless, loss: u32, length: Duration) -> Result<Figures, String> {
    let relay = rootless.lay(relay::Path {
        delay: Duration::from_millis(10),
        loss,
        seed: u64::from(std::process::id()),
        ..relay::Path::default()
    });
    let mut figures = carried(rootless, Direction::Down, 2 * length)?;
    let (passed, lost) = relay.counts();
    figures.insert("lost", 100.0 * lost as f64 / (passed + lost) as f64);
    figures.insert("mbit", figures["gbit"] * 1e3);
    Ok(figures)
}

/// Connections that are opened, used and closed, so many at a time that nobody waits for the generator.
fn connections(rootless: &Rootless, length: Duration) -> Result<Figures, String> {
    let network = &rootless.network;
    load::reuse_ports(&network.gateway);
    let load = load::Connections::start(&network.client, &network.server, rootless.target(5201), 32);
    let stretch = Stretch::watch(&rootless.hosts(), length, || load.counts().0);
    if stretch.count == 0.0 {
        return Err("no connection was opened".to_owned());
    }
    let mut figures = processors(&stretch);
    figures.insert("rate", stretch.rate());
    figures.insert("failed", load.counts().1 as f64);
    Ok(figures)
}

/// One stream alone, and then beside `count` flows that idle.
fn beside_idle(rootless: &Rootless, count: usize, length: Duration) -> Result<Figures, String> {
    let alone = carried(rootless, Direction::Up, length)?["gbit"];
    let _idle = Idle::open(rootless, count);
    let mut figures = carried(rootless, Direction::Up, length)?;
    figures.insert("alone", alone);
    figures.insert("share", figures["gbit"] / alone);
    Ok(figures)
}

/// What the gateway's process keeps for `count` flows that idle, in kB for each; fewer where descriptors are short.
fn memory(rootless: &Rootless, count: usize) -> Figures {
    let resident = || rootless.process.account().resident_kib as f64 * 1.024;
    let count = count.min(idle::most());
    let before = resident();
    let _idle = Idle::open(rootless, count);
    Figures::from([
        ("flow", (resident() - before) / count as f64),
        ("flows", count as f64),
        ("resident", resident() / 1e3),
    ])
}
