//! What starts gateways on this machine, which this crate cannot do by itself.

use std::{fmt, path::Path, process::Command, time::Duration};

use crate::LeaseId;

/// What the place cannot do by itself.
pub trait Gateways: fmt::Debug + Send + Sync + 'static {
    /// The program that is this gateway, to be started: in a session of its own, with nothing in its environment that is
    /// not meant for it. Standard input, output and error are the place's to choose.
    ///
    /// It answers at the socket once it takes connections, and writes a line with [`READY`] to its standard error then.
    /// If it cannot, the last line is [`ERROR`] and why; one before it is [`FAULT`] and a word for programs. It ends by
    /// itself when its time is over, when it is asked to, at SIGTERM, and when its socket is gone.
    ///
    /// [`READY`]: crate::node::READY
    /// [`ERROR`]: crate::node::ERROR
    /// [`FAULT`]: crate::node::FAULT
    fn command(&self, start: &Start<'_>) -> Command;

    /// Where clients reach this machine: a name or an address, one of IPv6 in brackets.
    ///
    /// # Errors
    ///
    /// Says why nobody knows.
    fn host(&self) -> Result<String, String>;

    /// Removes what gateways that were killed have left in the kernel; those that live keep theirs.
    ///
    /// # Errors
    ///
    /// Says what could not be removed.
    fn clear(&self) -> Result<(), String>;
}

/// The gateway that is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start<'a> {
    /// Of which lease.
    pub id: LeaseId,
    /// Where it answers. The folder is there.
    pub socket: &'a Path,
    /// When it ends unless it is told otherwise.
    pub lifetime: Duration,
    /// The UDP port that it listens on, and no other; `None` is 51820, or a free one if that is taken.
    pub port: Option<u16>,
    /// Largest packet inside the tunnel; `None` leaves it to the gateway.
    pub mtu: Option<u16>,
}
