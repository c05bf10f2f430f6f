//! Reads and writes packets on a TUN device, on any of its queues.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::io::Errno;

use super::{
    Tally,
    coalesce::{Kinds, MAX_JOINED, Plan},
    split::Frame,
    steer,
    vnet::{VNET_HDR_LEN, VnetHeader},
};

/// Longest read: a super-packet with its header.
pub(super) const FRAME_LEN: usize = VNET_HDR_LEN + 65_535;

/// An open TUN device.
#[derive(Debug)]
pub(super) struct Device {
    queues: Vec<OwnedFd>,
    vnet_hdr: bool,
}

/// The device does nothing any more.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was removed.
    Gone,
    /// It failed in a way that none is known to.
    Io(io::Error),
}

impl Device {
    /// The device with these queues, at least one.
    pub(super) fn new(queues: Vec<OwnedFd>, vnet_hdr: bool) -> Self {
        Self { queues, vnet_hdr }
    }

    pub(super) fn has_vnet_hdr(&self) -> bool {
        self.vnet_hdr
    }

    /// A queue's descriptor.
    pub(super) fn queue(&self, number: usize) -> BorrowedFd<'_> {
        self.queues[number].as_fd()
    }

    /// Reads what comes next on a queue, with its header if the device has headers. `None` if nothing waits.
    pub(super) fn read(&self, queue: usize, frame: &mut [u8]) -> Result<Option<usize>, Failure> {
        loop {
            return match rustix::io::read(&self.queues[queue], &mut *frame) {
                // A TUN device has no end that it could have come to, but what is no TUN device may.
                Ok(0) => Err(Failure::Gone),
                Ok(len) => Ok(Some(len)),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Ok(None),
                Err(error) => Err(Failure::of(error)),
            };
        }
    }

    /// Reads a frame for what it is; `None` if it makes no sense.
    pub(super) fn frame<'a>(&self, bytes: &'a [u8]) -> Option<Frame<'a>> {
        if self.vnet_hdr {
            Frame::with_header(bytes)
        } else {
            Some(Frame::whole(bytes))
        }
    }

    /// Writes one packet. One that the kernel does not take is counted.
    pub(super) fn write(&self, packet: &[u8], tally: &Tally) -> Result<(), Failure> {
        let header = if self.vnet_hdr { &VnetHeader::WHOLE[..] } else { &[] };
        let queue = steer::queue_of(packet, self.queues.len());
        match self.writev(queue, &[IoSlice::new(header), IoSlice::new(packet)]) {
            Ok(()) => Ok(()),
            Err(error) => self.refused(error, tally),
        }
    }

    /// Writes what a plan joined. Packets that the kernel refuses together are written one by one, and their kind is
    /// not joined again.
    pub(super) fn write_plan(
        &self,
        plan: &Plan,
        packets: &mut [&mut [u8]],
        kinds: &mut Kinds,
        tally: &Tally,
    ) -> Result<(), Failure> {
        for group in plan.groups() {
            let (mut members, mut count) = ([0; MAX_JOINED], 0);
            for (place, member) in members.iter_mut().zip(plan.members(group)) {
                *place = member;
                count += 1;
            }
            let members = &members[..count];
            let &[first, _, ..] = members else {
                for at in members {
                    self.write(packets[*at], tally)?;
                }
                continue;
            };
            let queue = steer::queue_of(packets[first], self.queues.len());
            let header = group.finish(packets[first]);
            let mut parts = [IoSlice::new(&[]); MAX_JOINED + 1];
            parts[0] = IoSlice::new(&header);
            parts[1] = IoSlice::new(packets[first]);
            for (part, member) in parts[2..].iter_mut().zip(&members[1..]) {
                *part = IoSlice::new(&packets[*member][group.headers_len()..]);
            }
            let parts = &parts[..=count];
            match self.writev(queue, parts) {
                Ok(()) => {}
                Err(Errno::INVAL) => {
                    kinds.forbid(group);
                    self.write_split(parts, tally)?;
                }
                Err(error) => self.refused(error, tally)?,
            }
        }
        Ok(())
    }

    /// Writes a refused super-packet as the packets that it was made of.
    fn write_split(&self, parts: &[IoSlice<'_>], tally: &Tally) -> Result<(), Failure> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let Some(frame) = Frame::with_header(&bytes) else {
            return Ok(());
        };
        let mut packet = Vec::new();
        for number in 0..frame.count() {
            packet.resize(frame.len(number), 0);
            frame.write(number, &mut packet);
            self.write(&packet, tally)?;
        }
        Ok(())
    }

    fn writev(&self, queue: usize, parts: &[IoSlice<'_>]) -> Result<(), Errno> {
        loop {
            match rustix::io::writev(&self.queues[queue], parts) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn refused(&self, error: Errno, tally: &Tally) -> Result<(), Failure> {
        match error {
            // EIO: the device is down. EINVAL: no packet that the kernel knows.
            Errno::IO | Errno::INVAL | Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => {
                tally.undelivered.one();
                Ok(())
            }
            error => Err(Failure::of(error)),
        }
    }
}

impl Failure {
    fn of(error: Errno) -> Self {
        match error {
            // EFAULT: the device is just going.
            Errno::BADFD | Errno::NODEV | Errno::NXIO | Errno::FAULT => Self::Gone,
            error => Self::Io(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn a_refused_super_packet_is_written_as_the_packets_that_it_was_made_of() {
        // Packets of a TUN device keep their bounds, as those of this socket do.
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::NONBLOCK, None).unwrap();
        let device = Device::new(vec![ours], true);
        let packets = super::super::tests::segments_of_a_flow(5);
        let mut joined = packets.clone();
        let mut plan = Plan::new();
        plan.make(&joined, Kinds { tcp: true, udp: true });
        let group = plan.groups()[0];
        assert_eq!(plan.groups().len(), 1);
        let header = group.finish(&mut joined[0]);
        let mut parts = vec![IoSlice::new(&header), IoSlice::new(&joined[0])];
        parts.extend(
            joined[1..]
                .iter()
                .map(|packet| IoSlice::new(&packet[group.headers_len()..])),
        );
        device.write_split(&parts, &Tally::default()).unwrap();
        for packet in packets {
            let mut frame = vec![0; FRAME_LEN];
            let len = rustix::io::read(&theirs, &mut *frame).unwrap();
            assert_eq!(frame[..VNET_HDR_LEN], VnetHeader::WHOLE);
            assert_eq!(frame[VNET_HDR_LEN..len], packet);
        }
    }
}
