//! Stands in for the daemon: tunnels whose other end answers every ping.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use async_trait::async_trait;
use attach::{
    Wish,
    driver::{Driver, Endpoint, Joined, Socket, Tunnels},
};
use linux::{
    link,
    netlink::Netlink,
    tun::{Tun, TunOptions},
};
use netlab::Host;
use tokio::sync::oneshot;
use wg::IpNet;

/// The address of every tunnel.
pub(crate) const ADDRESS: &str = "10.9.8.7/32";

/// The MTU of every tunnel, in bytes.
pub(crate) const MTU: u32 = 1380;

/// A driver on a host; dropping it ends it, as when the daemon ends, and its tunnels with it.
pub(crate) struct Provider {
    tunnels: Arc<Fake>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Provider {
    /// Starts it, with its socket in the folder `plugins` and its networks in the file `networks`.
    #[track_caller]
    pub(crate) fn start(host: &Host, plugins: &Path, networks: &Path) -> Self {
        let tunnels = Arc::new(Fake::default());
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (fake, path, networks): (_, PathBuf, PathBuf) =
            (Arc::clone(&tunnels), plugins.join("adit.sock"), networks.into());
        let thread = host.spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().expect("make a runtime");
            runtime.block_on(async {
                let driver = Driver::open(&networks, fake).expect("open the networks");
                let socket = Socket::bind(&path).expect("listen");
                ready.send(()).expect("the test waits");
                tokio::select! {
                    () = Arc::new(driver).serve(&socket) => {}
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv().expect("the driver starts");
        Self {
            tunnels,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// What it was asked since the last time, and for whom: holders are numbered as they come.
    pub(crate) fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.tunnels.lock().said)
    }

    /// The region that the next tunnels are refused for.
    pub(crate) fn is_down(&self, is_down: bool) {
        self.tunnels.lock().is_down = is_down;
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _reported_already = thread.join();
        }
    }
}

#[derive(Default)]
struct State {
    said: Vec<String>,
    holders: Vec<String>,
    tunnels: BTreeMap<usize, Arc<OwnedFd>>,
    is_down: bool,
}

#[derive(Default)]
struct Fake(Mutex<State>);

impl Fake {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }

    fn note(&self, what: &str, holder: &str) -> usize {
        let mut state = self.lock();
        let known = state.holders.iter().position(|known| known == holder);
        let number = known.unwrap_or_else(|| {
            state.holders.push(holder.to_owned());
            state.holders.len() - 1
        });
        state.said.push(format!("{what} {number}"));
        number
    }
}

#[async_trait]
impl Tunnels for Fake {
    async fn check(&self, wish: &Wish) -> Result<(), String> {
        match wish.region.as_deref() {
            Some("atlantis") => Err("there is no region atlantis".to_owned()),
            _ => Ok(()),
        }
    }

    async fn reserve(&self, holder: &str, wish: &Wish) -> Result<Vec<IpNet>, String> {
        let region = wish.region.as_deref().unwrap_or("nowhere");
        self.note(&format!("reserve {region}"), holder);
        if self.lock().is_down {
            return Err("the provider is down".to_owned());
        }
        Ok(vec![ADDRESS.parse().expect("it is one")])
    }

    async fn join(&self, endpoint: &Endpoint) -> Result<Joined, String> {
        let number = self.note("join", &endpoint.holder);
        let interface = format!("adit{}", &endpoint.holder[..11]);
        let tun = Tun::open(&interface, TunOptions::default()).map_err(|error| error.to_string())?;
        let mut netlink = Netlink::route().map_err(|error| error.to_string())?;
        let found = link::find(&mut netlink, &interface).map_err(|error| error.to_string())?;
        let found = found.ok_or("the interface is gone")?;
        link::set_mtu(&mut netlink, found.index, MTU).map_err(|error| error.to_string())?;
        let queue = tun.into_queues().remove(0);
        self.lock().tunnels.insert(number, answer_pings(queue));
        Ok(Joined {
            interface,
            routes: ["0.0.0.0/1", "128.0.0.0/1"]
                .map(|text| text.parse().expect("it is one"))
                .into(),
        })
    }

    async fn leave(&self, endpoint: &Endpoint) {
        self.note("leave", &endpoint.holder);
    }

    async fn release(&self, holder: &str) {
        let number = self.note("release", holder);
        self.lock().tunnels.remove(&number);
    }
}

/// Answers every ping that comes out of a TUN, until its other descriptor is closed.
fn answer_pings(queue: OwnedFd) -> Arc<OwnedFd> {
    let kept = Arc::new(queue);
    let watched = Arc::downgrade(&kept);
    std::thread::spawn(move || {
        let mut packet = [0; 2048];
        loop {
            std::thread::sleep(std::time::Duration::from_millis(1));
            let Some(queue) = watched.upgrade() else { return };
            let Ok(len) = rustix::io::read(&*queue, &mut packet) else {
                continue;
            };
            if let Some(answer) = pong(&mut packet[..len]) {
                let _is_down = rustix::io::write(&*queue, answer);
            }
        }
    });
    kept
}

/// Turns an ICMP echo request over IPv4 (*RFC 792*) into its reply.
fn pong(packet: &mut [u8]) -> Option<&[u8]> {
    const REQUEST: u8 = 8;
    if packet.len() < 28 || packet[0] != 0x45 || packet[9] != 1 || packet[20] != REQUEST {
        return None;
    }
    for byte in 12..16 {
        packet.swap(byte, byte + 4);
    }
    packet[20] = 0;
    // The sum lost the request's type: *RFC 1624*.
    let sum = u32::from(u16::from_be_bytes([packet[22], packet[23]])) + (u32::from(REQUEST) << 8);
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[22..24].copy_from_slice(&u16::try_from(sum).ok()?.to_be_bytes());
    Some(packet)
}
