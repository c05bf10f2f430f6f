//! The thread of a lane that takes datagrams from its sockets and writes their packets to the TUN device. That of the
//! first lane also keeps the engine's timers, and follows the link.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, atomic::Ordering},
};

use rustix::event::epoll;

use super::{
    LinkWatch, Shared,
    coalesce::{Kinds, Plan},
    device::{Device, Failure},
    link::LinkEvent,
};
use crate::{
    buffer::{Inbox, Outbox},
    time::Time,
};

const STOP: u64 = 0;
const SOCKETS: u64 = 1;
const ALARM: u64 = 2;
const LINK: u64 = 3;

/// The lane that timers and the link are watched on.
const FIRST: usize = 0;

/// Most datagrams, joined by the kernel or not, that are taken at once.
const SLOTS: usize = 16;

/// Packets that are written before the rest of a batch is opened, so that the receiver works meanwhile.
const WRITE_AT: usize = 128;

/// The thread's state.
pub(super) struct Inward {
    shared: Arc<Shared>,
    lane: usize,
    epoll: Arc<OwnedFd>,
    inbox: Inbox,
    outbox: Outbox,
    writer: Writer,
    link: Option<LinkWatch>,
}

/// Writes packets to the device, joined if it takes that.
struct Writer {
    shared: Arc<Shared>,
    device: Arc<Device>,
    plan: Plan,
    kinds: Kinds,
    failed: Option<Failure>,
}

impl Inward {
    pub(super) fn new(
        shared: Arc<Shared>,
        device: Arc<Device>,
        lane: usize,
        coalesce: bool,
        link: Option<LinkWatch>,
    ) -> io::Result<Self> {
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        let link_fd = link.as_ref().map(|link| (link.as_fd(), LINK));
        let alarm_fd = (lane == FIRST).then_some((shared.alarm.as_fd(), ALARM));
        for (fd, data) in [(shared.stop.as_fd(), STOP)].into_iter().chain(alarm_fd).chain(link_fd) {
            epoll::add(&epoll, fd, epoll::EventData::new_u64(data), epoll::EventFlags::IN)?;
        }
        shared.sockets.lane(lane).watch(&epoll, SOCKETS)?;
        let joins = coalesce && device.has_vnet_hdr();
        let writer = Writer {
            shared: Arc::clone(&shared),
            device,
            plan: Plan::new(),
            kinds: Kinds { tcp: joins, udp: joins },
            failed: None,
        };
        let mut inward = Self {
            shared,
            lane,
            epoll,
            inbox: Inbox::new(SLOTS),
            outbox: Outbox::new(),
            writer,
            link,
        };
        // The answer to the watch's first question waits already.
        inward.follow_link();
        Ok(inward)
    }

    /// Runs until the plane is stopped, or device or sockets fail.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        let mut events = Vec::with_capacity(8);
        if self.lane == FIRST {
            self.handle_timeout(false);
        }
        while !self.shared.is_stopping() {
            super::wait(&self.epoll, &mut events)?;
            // Each socket has an event of its own, and `receive` takes from both.
            let has = |data| events.iter().any(|event: &epoll::Event| event.data.u64() == data);
            // What the link became comes first: nothing is sent while it is down.
            if has(LINK) {
                self.follow_link();
            }
            if has(SOCKETS) {
                self.receive()?;
            }
            if has(ALARM) {
                self.handle_timeout(true);
            }
        }
        Ok(())
    }

    /// Takes what waits at the sockets, up to a batch, and delivers it.
    fn receive(&mut self) -> Result<(), Failure> {
        let Shared { engine, sockets, .. } = &*self.shared;
        if sockets.lane(self.lane).receive(&mut self.inbox).map_err(Failure::Io)? == 0 || !self.is_up() {
            return Ok(());
        }
        let mut packets = Vec::with_capacity(WRITE_AT);
        engine.open(Time::now(), &mut self.inbox, &mut self.outbox, |_, packet| {
            packets.push(packet);
            if packets.len() == WRITE_AT {
                self.writer.write(&mut packets);
                packets.clear();
            }
        });
        self.writer.write(&mut packets);
        drop(packets);
        self.send();
        self.writer.failed.take().map_or(Ok(()), Err)
    }

    /// Does what is due. `rang`: the alarm woke the thread.
    fn handle_timeout(&mut self, rang: bool) {
        if rang {
            self.shared.alarm.went_off();
        }
        if !self.is_up() {
            return;
        }
        self.shared.engine.handle_timeout(Time::now(), &mut self.outbox);
        self.send();
    }

    /// Sends what the engine has to say, and sets the alarm.
    fn send(&mut self) {
        let Shared {
            engine, sockets, alarm, ..
        } = &*self.shared;
        if !self.outbox.is_empty() {
            engine.seal(Time::now(), &mut self.outbox);
            sockets.lane(self.lane).send(self.outbox.runs());
            self.outbox.clear();
        }
        alarm.arm(engine.poll_timeout());
    }

    fn is_up(&self) -> bool {
        self.shared.up.load(Ordering::Acquire)
    }

    fn follow_link(&mut self) {
        let Some(link) = &mut self.link else { return };
        match link.newest() {
            Some(LinkEvent::Is { up, mtu }) => {
                self.shared.engine.set_mtu(mtu);
                let was_up = self.shared.up.swap(up, Ordering::AcqRel);
                if up && !was_up {
                    self.handle_timeout(false);
                }
            }
            Some(LinkEvent::Left) => {
                // Out of sight, it counts as up. If it was removed, reading it says so.
                self.link = None;
                self.shared.up.store(true, Ordering::Release);
                self.handle_timeout(false);
            }
            None => {}
        }
    }
}

impl Writer {
    fn write(&mut self, packets: &mut [&mut [u8]]) {
        if self.failed.is_some() || packets.is_empty() {
            return;
        }
        let tally = &self.shared.tally;
        let written = if packets.len() > 1 && (self.kinds.tcp || self.kinds.udp) {
            self.plan.make(packets, self.kinds);
            self.device.write_plan(&self.plan, packets, &mut self.kinds, tally)
        } else {
            packets.iter().try_for_each(|packet| self.device.write(packet, tally))
        };
        self.failed = written.err();
    }
}
