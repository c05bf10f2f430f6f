//! The loop: one thread that waits, receives, opens, passes on, seals and sends.

use std::{
    collections::HashSet,
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
    time::Duration,
};

use rustix::event::{Timespec, epoll};
use wg::PublicKey;

use super::{Config, output::Output, switch::Switch};
use crate::{
    buffer::{Inbox, Outbox},
    engine::Engine,
    time::Time,
    udp::Sockets,
};

/// Receive slots: enough for what waits after a pause of a few milliseconds.
const INBOX_SLOTS: usize = 16;

/// Events that one wait brings at most.
const EVENTS: usize = 256;

/// Turns of flows between two looks at the sockets.
const TURNS: usize = 64;

/// Marks events that are no flow's.
pub(super) const TUNNEL_EVENT: u64 = 1 << 63;
/// Marks the event that a command waits.
pub(super) const COMMAND_EVENT: u64 = TUNNEL_EVENT | 1;

/// What other threads ask of the loop.
pub(super) enum Command {
    /// Ends flows of peers that are gone.
    Sweep,
    /// Another configuration.
    Configure(Box<Config>),
    /// Other access rules of the peers with these keys.
    Access(HashSet<PublicKey>),
    /// The end.
    Stop,
}

/// The loop's belongings.
pub(super) struct Reactor {
    pub(super) engine: Arc<Engine>,
    pub(super) sockets: Arc<Sockets>,
    pub(super) epoll: Arc<OwnedFd>,
    pub(super) wake: Arc<OwnedFd>,
    pub(super) commands: Receiver<Command>,
    pub(super) switch: Switch,
    pub(super) ident: u32,
}

/// What one wait brought.
#[derive(Default)]
struct Waited {
    tunnel: bool,
    commands: bool,
}

impl Reactor {
    /// Runs until it is told to stop.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut inbox = Inbox::new(INBOX_SLOTS);
        let mut outbox = Outbox::new();
        let mut events = Vec::with_capacity(EVENTS);
        let mut is_stopping = false;
        while !is_stopping {
            let waited = self.wait(&mut events)?;
            let now = Time::now();
            let mut out = Output {
                engine: &self.engine,
                sockets: &self.sockets,
                outbox: &mut outbox,
                now,
                mtu: self.switch.config.mtu,
                ident: &mut self.ident,
                laid: 0,
                total: 0,
            };
            if waited.commands {
                is_stopping = obey(&self.wake, &self.commands, &mut self.switch, &mut out);
            }
            if waited.tunnel && self.sockets.receive(&mut inbox)? > 0 {
                let switch = &mut self.switch;
                self.engine.open(now, &mut inbox, out.outbox, |peer, packet| {
                    switch.deliver(now, peer, packet)
                });
                switch.settle(&mut out);
                switch.send_gathered();
            }
            if self.engine.poll_timeout().is_some_and(|due| due <= now) {
                self.engine.handle_timeout(now, out.outbox);
            }
            self.switch.handle_timeout(&mut out);
            self.switch.take_turns(TURNS, &mut out);
            if is_stopping {
                self.switch.end_all(&mut out);
            }
            out.flush();
        }
        Ok(())
    }

    /// Waits for something to do, and hands the flows' events out.
    fn wait(&mut self, events: &mut Vec<epoll::Event>) -> io::Result<Waited> {
        let timeout = if self.switch.has_turns() {
            Some(Duration::ZERO)
        } else {
            self.switch.rest();
            let dues = [self.engine.poll_timeout(), self.switch.poll_timeout()];
            dues.into_iter().flatten().min().map(|due| due - Time::now())
        };
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        events.clear();
        match epoll::wait(&*self.epoll, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut waited = Waited::default();
        for event in events.drain(..) {
            let epoll::Event { flags, data } = event;
            match data.u64() {
                TUNNEL_EVENT => waited.tunnel = true,
                COMMAND_EVENT => waited.commands = true,
                token => self.switch.handle_event(token, flags),
            }
        }
        Ok(waited)
    }
}

/// Carries out what other threads asked for; true: the loop ends.
fn obey(wake: &OwnedFd, commands: &Receiver<Command>, switch: &mut Switch, out: &mut Output<'_>) -> bool {
    let mut count = [0; 8];
    let _ = rustix::io::read(wake, &mut count);
    loop {
        match commands.try_recv() {
            Ok(Command::Sweep) => switch.sweep(out),
            Ok(Command::Configure(config)) => {
                out.mtu = config.mtu;
                switch.configure(*config, out);
            }
            Ok(Command::Access(peers)) => switch.check_access(&peers, out),
            Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return true,
            Err(TryRecvError::Empty) => return false,
        }
    }
}
