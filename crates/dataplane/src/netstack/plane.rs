//! The handle of a running plane.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
};

use rustix::event::{EventfdFlags, epoll, eventfd};
use wg::{Access, PublicKey};

use super::{
    Config, Counters,
    access::Rules,
    counters::Tally,
    reactor::{COMMAND_EVENT, Command, Reactor, TUNNEL_EVENT},
    switch::Switch,
    sys,
};
use crate::{engine::Engine, udp::Sockets};

/// A gateway on sockets alone, on a thread of its own. Dropping it stops it.
pub struct Plane {
    engine: Arc<Engine>,
    sockets: Arc<Sockets>,
    tally: Arc<Tally>,
    wake: Arc<OwnedFd>,
    commands: Sender<Command>,
    config: Mutex<Config>,
    rules: Rules,
    thread: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

impl Plane {
    /// Starts the plane: inner packets of the engine's peers end here and go on as this process's own sockets.
    ///
    /// Raises this process's limit of descriptors to what it may have.
    ///
    /// # Errors
    ///
    /// If the system has no descriptors or threads left.
    pub fn start(engine: Arc<Engine>, sockets: Arc<Sockets>, config: Config) -> io::Result<Self> {
        let descriptors = sys::raise_descriptor_limit();
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let data = epoll::EventData::new_u64(COMMAND_EVENT);
        epoll::add(&*epoll, &*wake, data, epoll::EventFlags::IN)?;
        sockets.watch(&epoll, TUNNEL_EVENT)?;
        engine.set_mtu(config.mtu);
        let (commands, receiver) = channel();
        let tally = Arc::new(Tally::default());
        let rules = Rules::default();
        let reactor = Reactor {
            engine: Arc::clone(&engine),
            sockets: Arc::clone(&sockets),
            epoll: Arc::clone(&epoll),
            wake: Arc::clone(&wake),
            commands: receiver,
            switch: Switch::new(config.clone(), rules.clone(), Arc::clone(&tally), epoll, descriptors),
            ident: random(),
        };
        let thread = std::thread::Builder::new()
            .name("netstack".into())
            .spawn(move || reactor.run())?;
        Ok(Self {
            engine,
            sockets,
            tally,
            wake,
            commands,
            config: Mutex::new(config),
            rules,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Changes policy, services and limits; flows that are forbidden end.
    pub fn configure(&self, change: impl FnOnce(&mut Config)) {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut config);
        self.engine.set_mtu(config.mtu);
        self.tell(Command::Configure(Box::new(config.clone())));
    }

    /// Sets what the peers with these keys may reach, whether they are there already or come later. Flows that are
    /// forbidden end; what is allowed is so at once.
    pub fn set_access(&self, changes: &[(PublicKey, Access)]) {
        self.rules.set(changes);
        let keys = changes.iter().map(|(key, _)| *key).collect();
        self.tell(Command::Access(keys));
    }

    /// Follows a change of the engine's configuration, to be called after each: ends the flows of peers that are gone or
    /// have lost their addresses, and looks at the engine's timers anew.
    pub fn wake(&self) {
        self.tell(Command::Sweep);
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        self.tally.counters()
    }

    /// The engine that the plane runs.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The outside of the tunnel.
    pub fn sockets(&self) -> &Arc<Sockets> {
        &self.sockets
    }

    /// Whether the loop has ended, which it does by itself only if a system call fails that cannot.
    pub fn is_stopped(&self) -> bool {
        self.thread().as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Resets all flows, and waits until the loop has ended. Once more, it does nothing.
    ///
    /// # Errors
    ///
    /// What ended the loop before.
    pub fn stop(&self) -> io::Result<()> {
        let Some(thread) = self.thread().take() else {
            return Ok(());
        };
        self.tell(Command::Stop);
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the netstack thread panicked")))
    }

    fn thread(&self) -> MutexGuard<'_, Option<JoinHandle<io::Result<()>>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, command: Command) {
        // A loop that has ended needs no command.
        if self.commands.send(command).is_ok() {
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

impl fmt::Debug for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plane")
            .field("config", &self.config)
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}

/// A start for the identification of fragments, which shall differ from one plane to the next.
fn random() -> u32 {
    let bits = RandomState::new().hash_one(0) & u64::from(u32::MAX);
    u32::try_from(bits).unwrap_or_default()
}

/// Whether this process may open ping sockets of either family, IPv4 first: without them peers cannot ping beyond
/// the gateway.
///
/// `Err` says why not; `EACCES` that the sysctl `net.ipv4.ping_group_range` leaves this process's groups out.
pub fn probe_echo() -> (io::Result<()>, io::Result<()>) {
    let probe = |host: IpAddr| sys::open_echo(host).map(drop).map_err(io::Error::from);
    (probe(Ipv4Addr::LOCALHOST.into()), probe(Ipv6Addr::LOCALHOST.into()))
}
