//! The thread of a lane that takes packets from the TUN device and sends them to peers.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::event::epoll;

use super::{
    Shared,
    device::{Device, FRAME_LEN, Failure},
    split::Frame,
};
use crate::{
    buffer::Outbox,
    engine::{Routes, Sent},
    ip::{self, icmp},
    time::Time,
};

/// Bytes of packets that are sealed and sent at once, if as many wait: enough to fill a call to the kernel, and few
/// enough that the first does not wait long for the last.
const BATCH_LEN: usize = 64 << 10;

/// How many packets may at once tell their senders that a destination cannot be reached, and after how long one more.
const UNREACHABLE_BURST: u32 = 10;
const UNREACHABLE_INTERVAL: Duration = Duration::from_millis(10);

/// The thread's state.
pub(super) struct Outward {
    shared: Arc<Shared>,
    device: Arc<Device>,
    lane: usize,
    epoll: OwnedFd,
    frame: Vec<u8>,
    outbox: Outbox,
    unreachable: Pace,
}

impl Outward {
    pub(super) fn new(shared: Arc<Shared>, device: Arc<Device>, lane: usize) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for fd in [device.queue(lane), shared.stop.as_fd()] {
            epoll::add(&epoll, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        }
        Ok(Self {
            shared,
            device,
            lane,
            epoll,
            frame: vec![0; FRAME_LEN],
            outbox: Outbox::new(),
            unreachable: Pace {
                left: UNREACHABLE_BURST,
                since: Time::ZERO,
            },
        })
    }

    /// Runs until the plane is stopped, or the device fails.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        let mut events = Vec::with_capacity(2);
        while !self.shared.is_stopping() {
            if !self.batch()? {
                super::wait(&self.epoll, &mut events)?;
            }
        }
        Ok(())
    }

    /// Takes what waits, up to a batch, and sends it. False if nothing waits any more.
    fn batch(&mut self) -> Result<bool, Failure> {
        let (now, routes) = (Time::now(), self.shared.engine.routes());
        let (mut taken, mut more) = (0, true);
        while taken < BATCH_LEN {
            let Some(len) = self.device.read(self.lane, &mut self.frame)? else {
                more = false;
                break;
            };
            taken += len;
            self.lay_out(now, &routes, len)?;
        }
        if taken > 0 {
            let Shared {
                engine, sockets, alarm, ..
            } = &*self.shared;
            engine.seal(now, &mut self.outbox);
            sockets.lane(self.lane).send(self.outbox.runs());
            self.outbox.clear();
            alarm.arm(engine.poll_timeout());
        }
        Ok(more)
    }

    /// Lays the packets of the frame that was read into the outbox.
    fn lay_out(&mut self, now: Time, routes: &Routes, len: usize) -> Result<(), Failure> {
        let frame = self.device.frame(&self.frame[..len]);
        let envelope = frame.as_ref().and_then(|frame| ip::envelope(frame.packet()));
        let (Some(frame), Some(envelope)) = (frame, envelope) else {
            self.shared.tally.malformed.one();
            return Ok(());
        };
        let Some(peer) = routes.peer_for(envelope.destination) else {
            self.shared.tally.no_peer.one();
            return self.tell_unreachable(now, len);
        };
        for number in 0..frame.count() {
            let fill = |packet: &mut [u8]| frame.write(number, packet);
            let sent = self
                .shared
                .engine
                .send(now, peer, frame.len(number), fill, &mut self.outbox);
            if sent == Sent::Unreachable {
                return self.tell_unreachable(now, len);
            }
        }
        Ok(())
    }

    /// Tells the sender of the frame that was read that nobody is there, as a router would; seldom, if many ask.
    fn tell_unreachable(&mut self, now: Time, len: usize) -> Result<(), Failure> {
        let packet = self
            .device
            .frame(&self.frame[..len])
            .map_or(&[][..], |frame: Frame<'_>| frame.packet());
        let Ok(about) = ip::Packet::parse(packet) else {
            return Ok(());
        };
        // From the destination itself: this program does not know the device's addresses, and a packet from one of
        // them would be refused as coming from outside.
        let mut error = [0; ip::V6_MIN_MTU];
        let len = icmp::write_error(&mut error, about.destination, &about, icmp::Error::HostUnreachable);
        if len == 0 || !self.unreachable.allows(now) {
            return Ok(());
        }
        self.device.write(&error[..len], &self.shared.tally)
    }
}

/// Lets a few through at once, and then one after each interval.
struct Pace {
    left: u32,
    since: Time,
}

impl Pace {
    fn allows(&mut self, now: Time) -> bool {
        let intervals = (now - self.since).as_nanos() / UNREACHABLE_INTERVAL.as_nanos();
        if intervals > 0 {
            self.left = u32::try_from(intervals)
                .unwrap_or(u32::MAX)
                .saturating_add(self.left)
                .min(UNREACHABLE_BURST);
            self.since = now;
        }
        self.left.checked_sub(1).map(|left| self.left = left).is_some()
    }
}
