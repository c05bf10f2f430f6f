//! A hub under load: 200 leases on `simulate` asked for at once, then readers, with 10,000 leases in the store.
//!
//! `cargo bench -p hub --bench load` prints the figures of `docs/benchmarks.md`. The hub is in this process, its store in a
//! file, and its clients speak HTTP over loopback, each over a connection of its own.

use std::{
    io::Write as _,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hub::{
    App, Config,
    audit::Audit,
    config::{Typed, TypedLimits, TypedRates},
    sign_in::{Given, Secret, SignIn},
};
use launch::{
    Clock, Launcher, Lease, LeaseId, Moment, State, launcher,
    order::{Keys, Order},
    place::{
        Place,
        simulate::{Simulate, Times},
    },
    policy::Policy,
    store::{Database, NewLease, Store as _},
};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

/// What signs in.
const TOKEN: &str = "a-token-that-nobody-guesses";

/// Leases that are over, of which the store is full.
const OVER: u64 = 10_000;

/// Leases that are asked for at once.
const AT_ONCE: u64 = 200;

/// Clients that read at once, and for how long.
const READERS: u64 = 16;
const READING: Duration = Duration::from_secs(10);

fn main() {
    // `cargo test --benches` calls it, too, and has no time for it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = Arc::new(Database::open(&folder.path().join("hub.db")).expect("a store"));
    let filling = Instant::now();
    fill(&database);
    say(&format!(
        "{OVER} leases kept in {:.1} s, {:.0} a second",
        secs(filling),
        per_second(OVER, filling.elapsed())
    ));
    let (address, launcher) = start(&database).await;
    create(&address, &launcher).await;
    for (what, path) in [("a page of 50", "leases"), ("one lease", "")] {
        read(&address, what, path).await;
    }
    launcher.stop().await;
}

fn fill(database: &Database) {
    for number in 0..OVER {
        let now = Moment::from_millis(1_700_000_000_000 + number * 1_000);
        let order = Order {
            keys: Keys::Gateway,
            ..Order::plain("simulate", 1_800)
        };
        let mut lease = Lease::new(LeaseId::new(now, number.into()), "somebody", order, &[], true, now);
        (lease.state, lease.removed_at) = (State::Removed, Some(now));
        lease.announce(now);
        let notices = lease.take_notices();
        let new = NewLease {
            lease: &lease,
            notices: &notices,
            key: None,
            policy: &Policy::own(),
        };
        database.insert(&new, now).expect("kept");
        database.update(&mut lease, &[]).expect("kept");
    }
}

async fn start(database: &Arc<Database>) -> (String, Launcher) {
    let typed = Typed {
        listen: Some("127.0.0.1:0".to_owned()),
        limits: TypedLimits {
            leases_per_user: Some(1_000),
            leases: Some(1_000),
            ..TypedLimits::default()
        },
        rates: TypedRates {
            per_user: Some(10_000_000),
            per_address: Some(10_000_000),
        },
        ..Typed::default()
    };
    let config = Config::new(typed).expect("a configuration");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let config = config.listening_at(listener.local_addr().expect("a port"));
    let address = config.origin.to_string();
    let audit = Audit::open(Arc::clone(database), Clock::system()).expect("an audit");
    let given = Given {
        token: Some(Secret::new(TOKEN.to_owned())),
        authorities: Vec::new(),
        clock: Clock::system(),
    };
    let (sign_in, _) = SignIn::open(&config, given, Arc::clone(database), audit.clone()).expect("sign-in");
    let settings = launcher::Config {
        policy: config.policy.clone(),
        ..launcher::Config::new("bench")
    };
    let place = Simulate::new(Times {
        creation: Duration::from_millis(500),
        start: Duration::from_millis(200),
        removal: Duration::from_millis(200),
        call: Duration::from_millis(20),
    });
    let store = Arc::clone(database) as Arc<dyn launch::store::Store>;
    let launcher = Launcher::start(settings, store, vec![place as Arc<dyn Place>]).expect("a launcher");
    let app = App::new(config, launcher.clone(), sign_in, audit);
    tokio::spawn(hub::serve(app, listener, std::future::pending()));
    (address, launcher)
}

async fn create(address: &str, launcher: &Launcher) {
    let began = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..AT_ONCE {
        let (client, url) = (client(number), format!("{address}/api/v1/leases"));
        let body = json!({ "keys": "gateway", "peers": [{ "name": format!("phone{number}") }] });
        tasks.push(tokio::spawn(async move {
            let asked = Instant::now();
            let response = client
                .post(url)
                .bearer_auth(TOKEN)
                .json(&body)
                .send()
                .await
                .expect("an answer");
            assert_eq!(response.status(), StatusCode::ACCEPTED, "{:?}", response.text().await);
            asked.elapsed()
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.push(task.await.expect("asked"));
    }
    say(&format!(
        "{AT_ONCE} leases asked for at once: all accepted after {:.2} s, p50 {:.0} ms, p99 {:.0} ms",
        secs(began),
        millis(percentile(&mut times, 50)),
        millis(percentile(&mut times, 99))
    ));
    let is_ready = |launcher: &Launcher| {
        launcher
            .running()
            .iter()
            .filter(|lease| lease.state == State::Ready)
            .count()
    };
    while is_ready(launcher) < usize::try_from(AT_ONCE).expect("few") {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "{} are ready",
            is_ready(launcher)
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    say(&format!(
        "all {AT_ONCE} ready after {:.2} s (0.7 s and two calls of 20 ms are the place's own)",
        secs(began)
    ));
}

async fn read(address: &str, what: &str, path: &str) {
    let list: Value = client(0)
        .get(format!("{address}/api/v1/leases?limit=1"))
        .bearer_auth(TOKEN)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("a list");
    let path = if path.is_empty() {
        format!("leases/{}", list["items"][0]["id"].as_str().expect("an id"))
    } else {
        path.to_owned()
    };
    let (began, count) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for number in 0..READERS {
        let (client, url, count) = (client(number), format!("{address}/api/v1/{path}"), Arc::clone(&count));
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while began.elapsed() < READING {
                let asked = Instant::now();
                let response = client.get(&url).bearer_auth(TOKEN).send().await.expect("an answer");
                assert_eq!(response.status(), StatusCode::OK);
                response.bytes().await.expect("a body");
                times.push(asked.elapsed());
                count.fetch_add(1, Ordering::Relaxed);
            }
            times
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("read"));
    }
    say(&format!(
        "{READERS} clients read {what}: {:.0} requests a second, p50 {:.1} ms, p99 {:.1} ms",
        per_second(count.load(Ordering::Relaxed), began.elapsed()),
        millis(percentile(&mut times, 50)),
        millis(percentile(&mut times, 99))
    ));
}

/// A client at an address of its own: a hub takes a hundred connections of one address at most.
fn client(number: u64) -> Client {
    let last = u8::try_from(1 + number % 250).expect("below 251");
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocols")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .local_address(IpAddr::from([127, 0, 0, last]))
        .no_proxy()
        .build()
        .expect("a client")
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn secs(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("standard output");
}
