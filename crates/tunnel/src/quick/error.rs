//! Why a tunnel could not be brought up or down.

use std::{fmt, io, path::PathBuf};

use linux::signal::Signal;

use super::{EndpointError, HookError, Interrupted, JournalError, SourceError};
use crate::{Unavailable, control::ControlError, device::DeviceError};

/// A step failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tunnel is up.
    #[error("{name} is up already; `adit down {name}` takes it down")]
    IsUp {
        /// The tunnel.
        name: String,
    },
    /// The name is another kind of interface's.
    #[error("there is an interface {name}, and it is no tunnel; name the file otherwise")]
    IsNoTunnel {
        /// The interface.
        name: String,
    },
    /// There is nothing to take down.
    #[error("{name} is not up; `adit show` lists the tunnels that are")]
    IsNotUp {
        /// The tunnel.
        name: String,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What is done could not be written down.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A command of the configuration failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// An endpoint has no address.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The interface could not be made.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The interface refused its configuration, or gives none.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// No interface can be made.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The kernel's WireGuard refused the interface.
    #[error(transparent)]
    Wireguard(#[from] linux::wireguard::Error),
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] linux::netlink::Error),
    /// A setting of the kernel could not be changed.
    #[error(transparent)]
    Sysctl(#[from] linux::sysctl::Error),
    /// The resolvers could not be put in charge, or back.
    #[error(transparent)]
    Resolv(#[from] linux::resolv::Error),
    /// A signal came.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The port is somebody else's.
    #[error(
        "ListenPort = {port} in {}: another program has this UDP port (`ss -lunp sport = :{port}` says which); end it, or \
         write another port", file.display()
    )]
    Port {
        /// The port.
        port: u16,
        /// The configuration.
        file: PathBuf,
    },
    /// The kernel has no IPv6.
    #[error(
        "Address = {address} in {}: IPv6 is off in this kernel (ipv6.disable=1); switch it on, or take the address out",
        file.display()
    )]
    NoIpv6 {
        /// The address.
        address: wg::IpNet,
        /// The configuration.
        file: PathBuf,
    },
    /// Nothing would drop what comes for the tunnel's addresses by another interface.
    #[error(
        "guarding the addresses of {name} on other interfaces, as a default route through it needs: {cause}; the kernel \
         needs the modules nf_tables, nft_ct, nft_fib_ipv4 and nft_fib_ipv6"
    )]
    Guard {
        /// The tunnel.
        name: String,
        /// What nf_tables said.
        cause: linux::netlink::Error,
    },
    /// The interface went away at once.
    #[error("the interface {name} went away while it was set up")]
    Vanished {
        /// The interface.
        name: String,
    },
    /// The process of the interface is still there long after its interface was removed.
    #[error("the process of {name} does not end; see which one holds {}", socket.display())]
    Lingers {
        /// The interface.
        name: String,
        /// Its socket.
        socket: PathBuf,
    },
    /// `SaveConfig` could not write the file.
    #[error("saving the configuration in {}: {cause}", path.display())]
    Save {
        /// The file.
        path: PathBuf,
        /// Its error.
        cause: io::Error,
    },
    /// `SaveConfig` found something that cannot be written.
    #[error("saving the configuration in {}: {cause}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What.
        cause: wg::conf::EditError,
    },
}

/// One error or several; the first is the reason, the others followed.
#[derive(Debug)]
pub struct Errors(Vec<Error>);

impl Errors {
    /// Success if there are no errors.
    pub(super) fn check(errors: Vec<Error>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// An error and what went wrong when its consequences were undone.
    pub(super) fn with(first: Error, others: Vec<Error>) -> Self {
        let mut all = vec![first];
        all.extend(others);
        Self(all)
    }

    /// The errors, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        self.0.iter()
    }

    /// The signal that ended `up`, if that is the reason.
    pub fn signal(&self) -> Option<Signal> {
        let (Error::Interrupted(cause) | Error::Hook(HookError::Interrupted { cause, .. })) = self.0.first()? else {
            return None;
        };
        Some(cause.signal)
    }
}

impl<E: Into<Error>> From<E> for Errors {
    fn from(error: E) -> Self {
        Self(vec![error.into()])
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
