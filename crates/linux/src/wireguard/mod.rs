//! The kernel's own WireGuard: its interfaces, and what they are and do.
//!
//! ```text
//! rtnetlink         making an interface of the kind `wireguard`, removing it
//! generic netlink   key, port, mark, peers and their networks: WG_CMD_SET_DEVICE, WG_CMD_GET_DEVICE
//! ```
//!
//! A message of netlink holds less than 64 KiB. A large change is many messages, in which one peer may be named several
//! times, and so is the answer of an interface with many peers.

mod get;
mod link;
mod set;
#[cfg(test)]
mod tests;

use std::io;

use crate::{
    genetlink::{self, Message},
    netlink::{self, Netlink},
};

pub use self::link::{KIND, create, create_inside, list};

/// The family of generic netlink (`WG_GENL_NAME`).
const FAMILY: &str = "wireguard";
const VERSION: u8 = 1;

const WG_CMD_GET_DEVICE: u8 = 0;
const WG_CMD_SET_DEVICE: u8 = 1;

/// `enum wgdevice_attribute` of `linux/wireguard.h`.
mod device_attribute {
    pub(super) const IFINDEX: u16 = 1;
    pub(super) const PRIVATE_KEY: u16 = 3;
    pub(super) const LISTEN_PORT: u16 = 6;
    pub(super) const FWMARK: u16 = 7;
    pub(super) const PEERS: u16 = 8;
}

/// `enum wgpeer_attribute` of `linux/wireguard.h`.
mod peer_attribute {
    pub(super) const PUBLIC_KEY: u16 = 1;
    pub(super) const PRESHARED_KEY: u16 = 2;
    pub(super) const FLAGS: u16 = 3;
    pub(super) const ENDPOINT: u16 = 4;
    pub(super) const PERSISTENT_KEEPALIVE_INTERVAL: u16 = 5;
    pub(super) const LAST_HANDSHAKE_TIME: u16 = 6;
    pub(super) const RX_BYTES: u16 = 7;
    pub(super) const TX_BYTES: u16 = 8;
    pub(super) const ALLOWEDIPS: u16 = 9;
}

/// `enum wgallowedip_attribute` of `linux/wireguard.h`.
mod allowed_ip_attribute {
    pub(super) const FAMILY: u16 = 1;
    pub(super) const IPADDR: u16 = 2;
    pub(super) const CIDR_MASK: u16 = 3;
}

/// `enum wgpeer_flag` of `linux/wireguard.h`.
mod peer_flag {
    pub(super) const REMOVE_ME: u32 = 1;
    pub(super) const REPLACE_ALLOWEDIPS: u32 = 2;
    pub(super) const UPDATE_ONLY: u32 = 4;
}

/// Why the kernel's WireGuard cannot be had, or refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no WireGuard.
    #[error("the kernel has no WireGuard: load the module (modprobe wireguard), or choose another plane")]
    Missing,
    /// The process may not make or change interfaces.
    #[error("{action} needs the capability NET_ADMIN: add it (--cap-add NET_ADMIN) or run as root")]
    NotPermitted {
        /// What was tried.
        action: String,
    },
    /// The interface is not there.
    #[error("the interface was removed")]
    Gone,
    /// The interface is of another kind.
    #[error("the interface number {index} is not the kernel's WireGuard")]
    OtherKind {
        /// Its index.
        index: u32,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(netlink::Error),
}

impl Error {
    /// The number of the kernel's error, if it gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Missing => Some(libc::EOPNOTSUPP),
            Self::NotPermitted { .. } => Some(libc::EPERM),
            Self::Gone => Some(libc::ENODEV),
            Self::OtherKind { .. } => Some(libc::EOPNOTSUPP),
            Self::Kernel(error) => error.cause.raw_os_error(),
        }
    }

    /// What the kernel refused, when what it was asked is about one interface.
    fn of(error: netlink::Error, index: u32) -> Self {
        match error.cause.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { action: error.action },
            Some(libc::ENODEV) => Self::Gone,
            Some(libc::EOPNOTSUPP) => Self::OtherKind { index },
            _ => Self::Kernel(error),
        }
    }
}

/// A way to ask and change the WireGuard interfaces of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Wireguard {
    netlink: Netlink,
    family: u16,
}

impl Wireguard {
    /// Finds the kernel's WireGuard in the calling thread's network namespace; its module is loaded if it is not.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if this kernel has none.
    pub fn open() -> Result<Self, Error> {
        let missing = |error: netlink::Error| match error.cause.raw_os_error() {
            // No generic netlink, or a sandbox without it.
            Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => Error::Missing,
            _ => Error::Kernel(error),
        };
        let mut netlink = genetlink::open().map_err(missing)?;
        match genetlink::family(&mut netlink, FAMILY).map_err(missing)? {
            Some(family) => Ok(Self { netlink, family }),
            None => Err(Error::Missing),
        }
    }

    /// The interface of this index as it is, with its keys, and what has happened with its peers.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] if there is none, [`Error::OtherKind`] if it is no WireGuard interface.
    pub fn status(&mut self, index: u32) -> Result<wg::Status, Error> {
        let mut message = Message::new(self.family, WG_CMD_GET_DEVICE, VERSION, 16);
        let attributes = message.attributes();
        attributes.put(device_attribute::IFINDEX, &index.to_ne_bytes());
        let action = || "asking the kernel's WireGuard".to_owned();
        let parts = self
            .netlink
            .dump(&message, action, |_, payload| get::Part::read(payload));
        Ok(get::merge(parts.map_err(|error| Error::of(error, index))?))
    }

    /// Changes the interface of this index, in as many messages as it takes. Single networks are taken away by replacing
    /// all of their peer: kernels before 6.16 know nothing else.
    ///
    /// # Errors
    ///
    /// The first refusal; what came before it is done. The port comes before everything else.
    pub fn set(&mut self, index: u32, update: &wg::Update) -> Result<(), Error> {
        let there;
        let update = if update.replace_peers || update.removes_networks() {
            there = update.without_removals(&self.status(index)?.device);
            &there
        } else {
            update
        };
        for message in set::messages(self.family, index, update) {
            let action = || "changing the kernel's WireGuard".to_owned();
            let done = self.netlink.request(message, 0, action);
            done.map_err(|error| Error::of(error, index))?;
        }
        Ok(())
    }
}

/// Whether WireGuard interfaces can be made in the calling thread's network namespace. Makes none: it takes microseconds.
///
/// # Errors
///
/// [`Error::NotPermitted`] or [`Error::Missing`].
pub fn probe() -> Result<(), Error> {
    let may_change = Netlink::route().and_then(|mut netlink| crate::link::may_change(&mut netlink));
    if !may_change.map_err(Error::Kernel)? {
        let action = "making a WireGuard interface".to_owned();
        return Err(Error::NotPermitted { action });
    }
    Wireguard::open().map(drop)
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Kernel(error) => error.cause,
            Error::Missing | Error::NotPermitted { .. } | Error::Gone | Error::OtherKind { .. } => Self::other(error),
        }
    }
}
