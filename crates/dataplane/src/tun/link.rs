//! Follows a device's state and MTU as an administrator changes them, by netlink's link events.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv, send,
        socket_with,
    },
};

/// Length of `nlmsghdr`: length, type, flags, sequence, sender.
const HEADER_LEN: usize = 16;
/// Length of `ifinfomsg`: family, type, index, flags, change mask.
const INFO_LEN: usize = 16;
/// Length of `rtattr`: length, type.
const ATTRIBUTE_LEN: usize = 4;

/// The group of link events.
const RTMGRP_LINK: u32 = 1;

/// What became of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkEvent {
    /// It is so.
    Is {
        /// Whether it is up.
        up: bool,
        /// Its MTU.
        mtu: usize,
    },
    /// It was removed, or moved to another namespace.
    Left,
}

/// Watches one device, in the network namespace of the thread that made it.
#[derive(Debug)]
pub struct LinkWatch {
    fd: OwnedFd,
    name: String,
    index: Option<i32>,
}

impl LinkWatch {
    /// Watches the device of this name, in the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// Those of the netlink socket.
    pub fn new(name: &str) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // No protocol is NETLINK_ROUTE.
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&fd, &SocketAddrNetlink::new(0, RTMGRP_LINK))?;
        let watch = Self {
            fd,
            name: name.to_owned(),
            index: None,
        };
        watch.ask()?;
        Ok(watch)
    }

    /// Asks how the device is; the answer comes as an event.
    fn ask(&self) -> io::Result<()> {
        let mut request = vec![0; HEADER_LEN + INFO_LEN];
        let index = self.index.unwrap_or_default();
        request[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&index.to_ne_bytes());
        if self.index.is_none() {
            let name_len = self.name.len() + 1;
            let attribute_len = u16::try_from(ATTRIBUTE_LEN + name_len).unwrap_or(u16::MAX);
            request.extend(attribute_len.to_ne_bytes());
            request.extend(libc::IFLA_IFNAME.to_ne_bytes());
            request.extend(self.name.as_bytes());
            request.resize((request.len() + 1).next_multiple_of(4), 0);
        }
        let len = u32::try_from(request.len()).unwrap_or(u32::MAX);
        request[..4].copy_from_slice(&len.to_ne_bytes());
        request[4..6].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
        request[6..8].copy_from_slice(&1_u16.to_ne_bytes());
        send(&self.fd, &request, SendFlags::empty())?;
        Ok(())
    }

    /// What became of the device since the last call: the newest of several. `None` if nothing did.
    pub(super) fn newest(&mut self) -> Option<LinkEvent> {
        let mut newest = None;
        let mut buffer = vec![0; 32 << 10];
        loop {
            match recv(&self.fd, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((len, _)) => self.read(buffer.get(..len).unwrap_or_default(), &mut newest),
                Err(Errno::INTR) => {}
                // Events were lost.
                Err(Errno::NOBUFS) if self.ask().is_ok() => {}
                Err(_) => return newest,
            }
        }
    }

    fn read(&mut self, mut messages: &[u8], newest: &mut Option<LinkEvent>) {
        while let Some(len) = number(messages, 0).and_then(|len| usize::try_from(len).ok()) {
            let Some(message) = messages.get(..len).filter(|message| message.len() >= HEADER_LEN) else {
                return;
            };
            let kind = u16::from_ne_bytes([message[4], message[5]]);
            if let Some(event) = self.event(kind, &message[HEADER_LEN..]) {
                *newest = Some(event);
            }
            messages = messages.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }

    fn event(&mut self, kind: u16, info: &[u8]) -> Option<LinkEvent> {
        // The bridge's events are RTM_DELLINK of family AF_BRIDGE, and mean something else.
        if ![libc::RTM_NEWLINK, libc::RTM_DELLINK].contains(&kind) || i32::from(*info.first()?) != libc::AF_UNSPEC {
            return None;
        }
        let index = number(info, 4)?.cast_signed();
        let up = number(info, 8)? & libc::IFF_UP.cast_unsigned() != 0;
        let (mut mtu, mut is_ours) = (None, self.index == Some(index));
        let mut attributes = info.get(INFO_LEN..)?;
        while attributes.len() >= ATTRIBUTE_LEN {
            let len = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
            let kind = u16::from_ne_bytes([attributes[2], attributes[3]]);
            let value = attributes.get(ATTRIBUTE_LEN..len)?;
            match kind {
                libc::IFLA_IFNAME if self.index.is_none() => {
                    is_ours = value.strip_suffix(&[0]) == Some(self.name.as_bytes());
                }
                libc::IFLA_MTU => mtu = number(value, 0),
                _ => {}
            }
            attributes = attributes.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        if !is_ours {
            return None;
        }
        if kind == libc::RTM_DELLINK {
            return Some(LinkEvent::Left);
        }
        self.index = Some(index);
        Some(LinkEvent::Is {
            up,
            mtu: usize::try_from(mtu?).ok()?,
        })
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use netlab::{Lab, wait_until};

    use super::*;

    #[test]
    fn a_device_is_followed_through_state_mtu_and_name_to_its_end() {
        netlab::requires!("root", "ip");
        let host = Lab::new().host("host");
        host.ip("link add wg0 mtu 1400 type veth peer name other");
        let mut watch = host.run(|| LinkWatch::new("wg0")).unwrap();
        let mut next = || wait_until("a link event", Duration::from_secs(5), || watch.newest());
        assert_eq!(next(), LinkEvent::Is { up: false, mtu: 1400 });
        for (change, event) in [
            ("link set wg0 up", LinkEvent::Is { up: true, mtu: 1400 }),
            ("link set wg0 mtu 1300", LinkEvent::Is { up: true, mtu: 1300 }),
            ("link set wg0 down", LinkEvent::Is { up: false, mtu: 1300 }),
            ("link set wg0 name wg1", LinkEvent::Is { up: false, mtu: 1300 }),
            ("link set wg1 up", LinkEvent::Is { up: true, mtu: 1300 }),
            ("link del wg1", LinkEvent::Left),
        ] {
            host.ip(change);
            assert_eq!(next(), event, "{change}");
        }
        host.ip("link add wg0 type veth peer name other");
        assert_eq!(watch.newest(), None, "another device, though of that name");
    }
}
