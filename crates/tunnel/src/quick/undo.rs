//! Undoes what `up` did, wherever it stopped.

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use linux::{
    link::{self, Link},
    netlink::Netlink,
    resolv,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    Error, guard,
    journal::{Records, Turn},
    native, routes,
    up::reset_src_valid_mark,
};
use crate::uapi;

/// How long the process of an interface has to remove its socket after its interface was removed.
const LIMIT: Duration = Duration::from_secs(5);

/// How long it then has to end.
const LIMIT_OF_PROCESS: Duration = Duration::from_secs(5);

/// How often it is looked whether it has removed it.
const INTERVAL: Duration = Duration::from_millis(2);

/// Undoes what was done for one tunnel.
pub(super) struct Undo<'a> {
    pub(super) name: &'a str,
    pub(super) resolv_conf: &'a Path,
}

impl Undo<'_> {
    /// Removes the tunnel and all that belongs to it, as far as it is there. Goes on after errors and gathers them.
    pub(super) fn all(&self, netlink: &mut Netlink, records: &Records) -> Vec<Error> {
        let mut errors = Vec::new();
        errors.extend(resolv::restore(self.resolv_conf, self.name).err().map(Error::from));
        if !records.tables.is_empty() || records.src_valid_mark {
            let turn = Turn::wait();
            let removed = routes::remove_rules(netlink, &records.tables);
            errors.extend(removed.into_iter().map(Error::from));
            if records.src_valid_mark {
                errors.extend(reset_src_valid_mark(netlink).err());
            }
            errors.extend(turn.err().map(Error::from));
        }
        errors.extend(guard::remove(self.name).err().map(Error::from));
        errors.extend(native::remove(self.name).err().map(Error::from));
        errors.extend(self.interface(netlink).err());
        errors
    }

    /// Removes the interface, and waits until its process has removed its socket and ended: until then it has the port.
    fn interface(&self, netlink: &mut Netlink) -> Result<(), Error> {
        let process = uapi::find(self.name).and_then(|socket| uapi::process_of(&socket));
        match link::find(netlink, self.name)? {
            Some(link) if is_tunnel(&link) => match link::delete(netlink, link.index) {
                Err(error) if !error.is_missing() => return Err(error.into()),
                _ => {}
            },
            _ => {}
        }
        let limit = Instant::now() + LIMIT;
        while let Some(socket) = uapi::find(self.name) {
            if uapi::remove_if_stale(&socket) {
                continue;
            }
            if Instant::now() > limit {
                return Err(Error::Lingers {
                    name: self.name.to_owned(),
                    socket,
                });
            }
            thread::sleep(INTERVAL);
        }
        if let Some(process) = process {
            // A process that handles more than this tunnel goes on, and rightly so.
            let _ended_or_not = wait_for(&process, LIMIT_OF_PROCESS);
        }
        Ok(())
    }
}

/// Waits until a process has ended, for so long at most.
fn wait_for(process: &OwnedFd, limit: Duration) -> io::Result<()> {
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit))?;
    Ok(())
}

/// Whether an interface may be one that adit, wireguard-go or the kernel handles as a tunnel.
pub(super) fn is_tunnel(link: &Link) -> bool {
    matches!(link.kind.as_deref(), Some("tun" | "wireguard"))
}

/// Whether an interface is a tunnel that somebody handles: the kernel, or a process with a socket for it.
pub(super) fn is_served(link: &Link) -> bool {
    link.kind.as_deref() == Some("wireguard") || (is_tunnel(link) && uapi::find(&link.name).is_some())
}
