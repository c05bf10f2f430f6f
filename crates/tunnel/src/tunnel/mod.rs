//! One tunnel, on any plane.

mod address;
mod kernel;
mod lanes;
mod user;

use std::{io, sync::Arc};

use dataplane::{engine, netstack};
use linux::{link, netlink::Netlink, netns::Namespace, tun::TunError, wireguard};
use wg::IpNet;

use self::{kernel::Kernel, user::User};
use crate::{Count, Plane, Refusal, uapi};

/// What a tunnel is to be, besides what [`Tunnel::apply`] says.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The interface's name; on the netstack plane only what people call it.
    pub name: String,
    /// Largest inner packet, in bytes.
    pub mtu: u16,
    /// Who handles its packets, and what that needs.
    pub place: Place,
}

/// Who handles a tunnel's packets, and what that needs.
#[derive(Clone, Debug)]
pub enum Place {
    /// An interface of the kernel's WireGuard that has these addresses and is on; routes are the caller's.
    Kernel {
        /// The interface's addresses, with the networks around them.
        addresses: Vec<IpNet>,
    },
    /// An interface of the kernel's WireGuard without addresses that is off: somebody else does the rest.
    BareKernel,
    /// A TUN device that has these addresses and is on; routes are the caller's.
    Tun {
        /// The interface's addresses, with the networks around them.
        addresses: Vec<IpNet>,
    },
    /// A TUN device without addresses that is off: somebody else does the rest.
    BareTun,
    /// A TUN device as before, but in another namespace, and of this name there. The sockets are those of the calling
    /// thread's namespace.
    TunInside {
        /// The namespace.
        namespace: Arc<Namespace>,
        /// The interface's name in it.
        interface: String,
    },
    /// Sockets of this process. The MTU is that of [`Spec`].
    Netstack(Box<netstack::Config>),
}

/// A tunnel could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no TUN device to be had.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// The kernel's WireGuard is not to be had.
    #[error(transparent)]
    Wireguard(#[from] wireguard::Error),
    /// Another process of adit handles an interface of this name.
    #[error("another adit handles the interface {name} at this moment: choose another name, or end it")]
    Claimed {
        /// The interface.
        name: String,
    },
    /// An interface of this name is none of adit's.
    #[error(
        "there is an interface {name} that adit did not make: remove it (ip link delete {name}), or choose another name"
    )]
    Foreign {
        /// The interface.
        name: String,
    },
    /// The interface could not be set up.
    #[error(transparent)]
    Kernel(#[from] linux::netlink::Error),
    /// `$ADIT_LANES` makes no sense.
    #[error(
        "ADIT_LANES is {value:?}: it takes a number from 1 to 64, or nothing for one lane for every two processors"
    )]
    Lanes {
        /// What it is.
        value: String,
    },
    /// No UDP socket.
    #[error("opening a UDP socket: {0}")]
    Socket(io::Error),
    /// No thread or descriptor for the plane.
    #[error("starting the {plane} plane: {cause}")]
    Plane {
        /// The plane.
        plane: Plane,
        /// The error.
        cause: io::Error,
    },
}

/// A tunnel could not be changed; nothing was, unless said otherwise.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The UDP port.
    #[error("listening on UDP port {port}: {cause}")]
    Port {
        /// The port that was asked for.
        port: u16,
        /// The error; mostly, that another program has it.
        cause: io::Error,
    },
    /// The mark on outgoing packets.
    #[error("marking packets with {mark:#x}: {cause}; it needs the capability NET_ADMIN")]
    Mark {
        /// The mark.
        mark: u32,
        /// The error.
        cause: io::Error,
    },
    /// The kernel's WireGuard refused; a part of the change may be done.
    #[error(transparent)]
    Kernel(wireguard::Error),
}

/// Why a tunnel ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// Its interface was removed.
    #[error("the interface was removed")]
    InterfaceGone,
    /// Something failed for good.
    #[error("{0}")]
    Failed(String),
}

/// A tunnel that is open. Dropping it closes it: interface, sockets and sessions go.
#[derive(Debug)]
pub struct Tunnel {
    name: String,
    addresses: Vec<IpNet>,
    handler: Handler,
}

#[derive(Debug)]
enum Handler {
    Kernel(Box<Kernel>),
    User(User),
}

/// Looks whether the variables that tunnels follow make sense, before anything is done.
///
/// # Errors
///
/// [`OpenError::Lanes`].
pub fn check_environment() -> Result<(), OpenError> {
    lanes::wanted().map(drop)
}

/// Removes the interfaces that killed processes of adit left in the calling thread's network namespace: those of the
/// kernel's WireGuard go on without them. Whoever may not change interfaces has left none.
///
/// # Errors
///
/// The kernel's refusal.
pub fn clear_leftovers() -> Result<(), OpenError> {
    let mut netlink = Netlink::route()?;
    if link::may_change(&mut netlink)? {
        kernel::clear_leftovers(&mut netlink, None)?;
    }
    Ok(())
}

impl Tunnel {
    /// Opens a tunnel without key and peers, on a UDP port of the kernel's choice. Its sockets, and its interface if it
    /// has one, are those of the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; then nothing is left.
    pub fn open(spec: &Spec) -> Result<Self, OpenError> {
        let (handler, addresses) = match &spec.place {
            Place::Kernel { addresses } => (Handler::Kernel(Box::new(Kernel::open(spec)?)), Some(addresses)),
            Place::BareKernel => (Handler::Kernel(Box::new(Kernel::open(spec)?)), None),
            Place::Tun { addresses } => {
                // One of the same name may be left from a process on the kernel plane.
                kernel::clear_leftovers(&mut Netlink::route()?, None)?;
                (Handler::User(User::tun(spec)?), Some(addresses))
            }
            Place::BareTun | Place::TunInside { .. } => (Handler::User(User::tun(spec)?), None),
            Place::Netstack(config) => (Handler::User(User::netstack(spec, config)?), None),
        };
        Ok(Self {
            name: spec.name.clone(),
            addresses: match addresses {
                Some(addresses) => address::bring_up(&spec.name, addresses)?,
                None => Vec::new(),
            },
            handler,
        })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The addresses that the interface was given: all of [`Place`], but those of a family that is off on this machine.
    pub fn addresses(&self) -> &[IpNet] {
        &self.addresses
    }

    /// Who handles the packets.
    pub fn plane(&self) -> Plane {
        match &self.handler {
            Handler::Kernel(_) => Plane::Kernel,
            Handler::User(user) => user.plane(),
        }
    }

    /// The UDP port.
    pub fn port(&self) -> u16 {
        match &self.handler {
            Handler::Kernel(kernel) => kernel.port(),
            Handler::User(user) => user.port(),
        }
    }

    /// Changes keys, port, mark and peers, and only what the update names: sessions of other peers live on.
    ///
    /// # Errors
    ///
    /// The port or the mark cannot be had; nothing is changed then. Or what the kernel's WireGuard refused.
    pub fn apply(&self, update: &wg::Update) -> Result<(), ApplyError> {
        match &self.handler {
            Handler::Kernel(kernel) => kernel.apply(update),
            Handler::User(user) => user.apply(update),
        }
    }

    /// The tunnel as it is, with its keys, and what has happened with its peers. Empty once it has [ended](Self::ended).
    pub fn status(&self) -> wg::Status {
        match &self.handler {
            Handler::Kernel(kernel) => kernel.status(),
            Handler::User(user) => user.status(),
        }
    }

    /// Packets of the protocol that were dropped, by cause. The kernel's WireGuard does not tell.
    pub fn counters(&self) -> engine::Counters {
        match &self.handler {
            Handler::Kernel(_) => engine::Counters::default(),
            Handler::User(user) => user.counters(),
        }
    }

    /// All that is counted: by the protocol, the sockets and the plane. Of the kernel's WireGuard that is what its interface
    /// counts, and nothing once that is gone.
    pub fn counts(&self) -> Vec<Count> {
        match &self.handler {
            Handler::Kernel(kernel) => kernel.counts(),
            Handler::User(user) => user.counts(),
        }
    }

    /// What this host lacks of the kernel's batching, without which packets move one by one; nothing on the kernel plane.
    pub fn lacks(&self) -> Vec<&'static str> {
        match &self.handler {
            Handler::Kernel(_) => Vec::new(),
            Handler::User(user) => user.lacks(),
        }
    }

    /// Who was refused a handshake since this was asked last: the first few, the rest is only counted. The kernel's
    /// WireGuard does not tell.
    pub fn take_refusals(&self) -> Vec<Refusal> {
        match &self.handler {
            Handler::Kernel(_) => Vec::new(),
            Handler::User(user) => user.take_refusals(),
        }
    }

    /// The netstack plane, to change its policy and read its counters; `None` on another plane.
    pub fn netstack(&self) -> Option<&netstack::Plane> {
        match &self.handler {
            Handler::Kernel(_) => None,
            Handler::User(user) => user.netstack_plane(),
        }
    }

    /// Why the tunnel has ended by itself; `None` as long as it lives.
    pub fn ended(&self) -> Option<CloseReason> {
        match &self.handler {
            Handler::Kernel(kernel) => kernel.ended(),
            Handler::User(user) => user.ended(),
        }
    }

    /// Waits until the tunnel's interface is gone or the tun plane failed; returns at once on the netstack plane.
    pub fn wait_for_interface(&self) -> Option<CloseReason> {
        match &self.handler {
            Handler::Kernel(kernel) => kernel.wait_for_interface(),
            Handler::User(user) => user.wait_for_interface(),
        }
    }

    /// Stops handling packets, if this process handles them; the interface goes when the tunnel is dropped at the latest.
    pub fn stop(&self) {
        match &self.handler {
            Handler::Kernel(kernel) => kernel.stop(),
            Handler::User(user) => user.stop(),
        }
    }

    /// Closes the tunnel and waits until nothing of it is left.
    pub fn close(self) {
        drop(self);
    }
}

impl uapi::Interface for Tunnel {
    fn status(&self) -> wg::Status {
        Self::status(self)
    }

    fn apply(&self, update: &wg::Update) -> Result<(), i32> {
        Self::apply(self, update).map_err(|error| match error {
            ApplyError::Port { cause, .. } | ApplyError::Mark { cause, .. } => number(&cause),
            ApplyError::Kernel(error) => error.errno().unwrap_or(wg::uapi::EIO),
        })
    }
}

/// The kernel's number for an error; what says its remedy keeps its kind, but not the number.
fn number(error: &io::Error) -> i32 {
    let known = [
        (io::ErrorKind::AddrInUse, wg::uapi::EADDRINUSE),
        (
            io::ErrorKind::PermissionDenied,
            rustix::io::Errno::ACCESS.raw_os_error(),
        ),
    ];
    let number = known.iter().find(|(kind, _)| *kind == error.kind());
    number.map_or(error.raw_os_error().unwrap_or(wg::uapi::EIO), |(_, number)| *number)
}
