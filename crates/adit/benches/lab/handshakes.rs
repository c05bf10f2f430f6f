//! How many handshakes a program answers.
//!
//! ```text
//!   left  198.18.0.0/16: an address for each initiator ── veth ── 192.0.2.2  right: the program, which knows them all
//! ```
//!
//! Initiators are adit's engine on clocks of their own, six seconds further for each attempt. They are many and each has its
//! own address, so that no limit for one source is met; and when the program asks for cookies, they bring them.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use dataplane::buffer::{Inbox, Outbox};
use dataplane::engine::Engine;
use dataplane::time::Time;
use netlab::Lab;
use wg::{AllowedIpChange, PeerUpdate, PrivateKey, PublicKey, Update};

use crate::Figures;
use crate::contender::Contender;
use crate::meter::Stretch;
use crate::pair::key;

/// How many initiators there are, each thread having as many as any other.
const INITIATORS: u16 = 512;

/// How many handshakes are under way at a time.
const THREADS: u16 = 8;

/// The whitepaper's `REKEY_TIMEOUT` with its jitter, rounded up: an attempt may follow another after this.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(6);

/// How long an answer is waited for.
const LOST: Duration = Duration::from_millis(100);

/// Where the program listens.
const RESPONDER: ([u8; 4], u16) = ([192, 0, 2, 2], 51820);

/// Handshakes answered a second, and microseconds of the program's processor time for each.
///
/// # Errors
///
/// If the program is not installed, or answers none.
pub(crate) fn measure(contender: Contender, length: Duration) -> Result<Figures, String> {
    let lab = Lab::new();
    let (left, right) = (lab.host("left"), lab.host("right"));
    left.link("eth0", &["192.0.2.1/24"], &right, "eth0", &["192.0.2.2/24"]);
    left.route("local 198.18.0.0/16 dev lo");
    right.route("198.18.0.0/16 via 192.0.2.1");
    let program = contender.program(&right);
    let program = program.ok_or_else(|| format!("{contender:?} is not installed"))?;
    let _process = contender.start(&program, &right, "wg0");
    let (private, keys): (PrivateKey, Vec<PrivateKey>) = (key(), (0..INITIATORS).map(|_| key()).collect());
    let mut text = format!(
        "[Interface]\nPrivateKey = {}\nListenPort = {}\n",
        private.danger_base64().as_str(),
        RESPONDER.1
    );
    for (number, key) in (1_u32..).zip(&keys) {
        let address = Ipv4Addr::from(0x0a01_0000 + number);
        text += &format!("[Peer]\nPublicKey = {}\nAllowedIPs = {address}/32\n", key.public_key());
    }
    right
        .command("wg")
        .args(["setconf", "wg0", "/dev/stdin"])
        .input(text)
        .run();
    right.ip("link set wg0 up");

    let (answered, stopping) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (answered, stopping) = (Arc::clone(&answered), Arc::clone(&stopping));
            let numbers = (thread..INITIATORS).step_by(usize::from(THREADS));
            let own = numbers
                .map(|number| (number, keys[usize::from(number)].clone()))
                .collect();
            let responder = private.public_key();
            left.spawn(move || initiate(own, responder, &answered, &stopping))
        })
        .collect();
    let stretch = Stretch::watch(&[&right], length, || answered.load(Ordering::Relaxed));
    stopping.store(true, Ordering::Release);
    for thread in threads {
        thread.join().map_err(|_| "a thread that initiates panicked")?;
    }
    if stretch.count == 0.0 {
        return Err("no handshake was answered".to_owned());
    }
    Ok(Figures::from([
        ("rate", stretch.rate()),
        ("cpu", stretch.programs / stretch.count * 1e6),
        ("busy", stretch.busy),
        ("foreign", stretch.foreign),
    ]))
}

/// Attempts a handshake of each initiator, one after the other, until told to stop.
fn initiate(keys: Vec<(u16, PrivateKey)>, responder: PublicKey, answered: &AtomicU64, stopping: &AtomicBool) {
    let (mut inbox, mut outbox) = (Inbox::new(1), Outbox::new());
    let start = |(number, key)| Initiator::new(number, key, responder, &mut outbox);
    let mut initiators: Vec<_> = keys.into_iter().map(start).collect();
    while !stopping.load(Ordering::Acquire) {
        for initiator in &mut initiators {
            let done = initiator.attempt(&mut inbox, &mut outbox);
            answered.fetch_add(u64::from(done), Ordering::Relaxed);
        }
    }
}

struct Initiator {
    engine: Engine,
    socket: UdpSocket,
    now: Time,
}

impl Initiator {
    fn new(number: u16, private_key: PrivateKey, responder: PublicKey, outbox: &mut Outbox) -> Self {
        let now = Time::now();
        let engine = Engine::new(now, SystemTime::now(), random);
        let peer = PeerUpdate {
            endpoint: Some(SocketAddr::from(RESPONDER)),
            allowed_ips: vec![AllowedIpChange::Add(
                std::net::IpAddr::from(Ipv4Addr::new(10, 0, 0, 2)).into(),
            )],
            ..PeerUpdate::new(responder)
        };
        let update = Update {
            private_key: Some(private_key),
            peers: vec![peer],
            ..Update::default()
        };
        engine.apply(now, &update, outbox);
        let [high, low] = number.to_be_bytes();
        let socket = UdpSocket::bind((Ipv4Addr::new(198, 18, high, low), 51820)).expect("bind an initiator");
        socket
            .connect(SocketAddr::from(RESPONDER))
            .expect("connect an initiator");
        socket.set_read_timeout(Some(LOST)).expect("set a time limit");
        Self { engine, socket, now }
    }

    /// Sends an initiation; whether it was answered by a response.
    fn attempt(&mut self, inbox: &mut Inbox, outbox: &mut Outbox) -> bool {
        self.now = self.now + BETWEEN_ATTEMPTS;
        outbox.clear();
        self.engine.handle_timeout(self.now, outbox);
        if outbox.is_empty() {
            // The first attempt, or the one after it has given up.
            let peer = self
                .engine
                .peer_for(Ipv4Addr::new(10, 0, 0, 2).into())
                .expect("it has a peer");
            let packet = |room: &mut [u8]| room.fill(0);
            let _staged = self.engine.send(self.now, &peer, 20, packet, outbox);
        }
        for run in outbox.runs() {
            // What is not sent is not answered, and is attempted again.
            let _ = self.socket.send(run.data());
        }
        let mut answer = [0; 2048];
        let Ok(count) = self.socket.recv(&mut answer) else {
            return false;
        };
        // The kinds of message: *WireGuard whitepaper 5.4*.
        match answer[0] {
            2 => true,
            3 => {
                inbox.clear();
                outbox.clear();
                assert!(inbox.push(SocketAddr::from(RESPONDER), &answer[..count]));
                self.engine.open(self.now, inbox, outbox, |_, _| {});
                false
            }
            _ => false,
        }
    }
}

fn random(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the kernel has random bytes");
}
