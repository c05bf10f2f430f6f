//! A thread that waits for events of files, until this is dropped.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    thread::{self, JoinHandle},
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    io::Errno,
};

/// The thread.
#[derive(Debug)]
pub struct Watcher {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Calls `read`, on a thread of this name, whenever the inotify instance has something to be read.
    pub fn start<T: AsFd + Send + 'static>(
        name: &str,
        inotify: T,
        read: impl Fn(&T) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let stopped = stop.try_clone()?;
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            while wait(&inotify, &stopped) {
                read(&inotify);
            }
        })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _cannot_fail = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _reported_already = thread.join();
        }
    }
}

/// Waits for an event; false once the watch is to end.
fn wait(inotify: &impl AsFd, stop: &OwnedFd) -> bool {
    loop {
        let mut polled = [PollFd::new(inotify, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut polled, None) {
            Ok(_) if !polled[1].revents().is_empty() => return false,
            Ok(_) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
