//! Waits for the end of an interface.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Mutex, PoisonError},
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    io::Errno,
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv, socket_with},
};

use crate::{
    link,
    netlink::{Error, Netlink},
};

/// The group of link events.
const RTMGRP_LINK: u32 = 1;

/// Sees the end of one interface, in the network namespace of the thread that made it.
#[derive(Debug)]
pub struct Watch {
    events: OwnedFd,
    stop: OwnedFd,
    netlink: Mutex<Netlink>,
    index: u32,
}

impl Watch {
    /// Watches the interface of this index.
    ///
    /// # Errors
    ///
    /// Those of the netlink sockets.
    pub fn new(index: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // No protocol is NETLINK_ROUTE.
        let events = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&events, &SocketAddrNetlink::new(0, RTMGRP_LINK))?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let netlink = Mutex::new(Netlink::route().map_err(|error| error.cause)?);
        Ok(Self {
            events,
            stop,
            netlink,
            index,
        })
    }

    /// Waits until the interface is gone; false if [`Self::stop`] came first. One thread waits at a time.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn wait(&self) -> Result<bool, Error> {
        let failed = |cause: io::Error| Error {
            action: format!("watching the interface number {}", self.index),
            cause,
            explanation: None,
        };
        let mut netlink = self.netlink.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if link::by_index(&mut netlink, self.index)?.is_none() {
                return Ok(true);
            }
            let mut polled = [
                PollFd::from_borrowed_fd(self.events.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN),
            ];
            match poll(&mut polled, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
            if !polled[1].revents().is_empty() {
                return Ok(false);
            }
            self.drain();
        }
    }

    /// Ends all waiting, and that which begins later.
    pub fn stop(&self) {
        let _cannot_fail = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
    }

    /// Takes the events that are there; that some were lost is an event, too.
    fn drain(&self) {
        let mut buffer = vec![0; 32 << 10];
        while matches!(
            recv(&self.events, &mut *buffer, RecvFlags::DONTWAIT),
            Ok(_) | Err(Errno::INTR | Errno::NOBUFS)
        ) {}
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    #[test]
    fn the_end_of_an_interface_and_the_end_of_waiting_are_told_apart() {
        netlab::requires!("root", "ip");
        let host = netlab::Lab::new().host("host");
        for removed in [true, false] {
            host.ip("link add wg0 type veth peer name other");
            let watch = host.run(|| {
                let mut netlink = Netlink::route().unwrap();
                let index = link::find(&mut netlink, "wg0").unwrap().unwrap().index;
                Arc::new(Watch::new(index).unwrap())
            });
            let waiting = thread::spawn({
                let watch = Arc::clone(&watch);
                move || watch.wait().unwrap()
            });
            host.ip("link set wg0 up");
            if removed {
                host.ip("link delete wg0");
            } else {
                watch.stop();
            }
            assert_eq!(waiting.join().unwrap(), removed);
            if !removed {
                host.ip("link delete wg0");
            }
        }
    }
}
