//! Asks and changes a tunnel by its name, whoever handles it: the kernel, or a process that has a socket for it.

use linux::{
    link,
    netlink::Netlink,
    wireguard::{self, Wireguard},
};
use rustix::io::Errno;

use crate::uapi::{self, Client, ClientError};

/// A tunnel could not be asked or changed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The process that handles it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The kernel's WireGuard.
    #[error("{name}: {cause}")]
    Kernel {
        /// The tunnel.
        name: String,
        /// What the kernel said.
        cause: wireguard::Error,
    },
}

impl ControlError {
    /// Whether the port that the tunnel shall have is another program's.
    pub fn is_port_taken(&self) -> bool {
        match self {
            Self::Client(error) => error.refusal() == Some(Errno::ADDRINUSE.raw_os_error()),
            Self::Kernel { cause, .. } => cause.errno() == Some(Errno::ADDRINUSE.raw_os_error()),
        }
    }
}

/// A way to one tunnel.
#[derive(Debug)]
pub enum Control {
    /// The kernel handles it.
    Kernel {
        /// Its name, when it was found.
        name: String,
        /// Its interface's index.
        index: u32,
        /// The way to it.
        wireguard: Wireguard,
    },
    /// A process handles it.
    Process(Client),
}

impl Control {
    /// Finds the tunnel of this name in the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unknown`] if there is none.
    pub fn open(name: &str) -> Result<Self, ControlError> {
        match kernel_index(name) {
            Some(index) => Self::kernel(name, index),
            None => Ok(Self::Process(Client::open(name)?)),
        }
    }

    /// The way to the kernel's interface of this name and index.
    ///
    /// # Errors
    ///
    /// If the kernel has no WireGuard.
    pub fn kernel(name: &str, index: u32) -> Result<Self, ControlError> {
        let name = name.to_owned();
        match Wireguard::open() {
            Ok(wireguard) => Ok(Self::Kernel { name, index, wireguard }),
            Err(cause) => Err(ControlError::Kernel { name, cause }),
        }
    }

    /// The tunnel as it is, with its keys.
    ///
    /// # Errors
    ///
    /// Those of its socket, or the kernel's refusal.
    pub fn status(&mut self) -> Result<wg::Status, ControlError> {
        match self {
            Self::Kernel { name, index, wireguard } => wireguard.status(*index).map_err(|cause| ControlError::Kernel {
                name: name.clone(),
                cause,
            }),
            Self::Process(client) => Ok(client.get()?),
        }
    }

    /// Makes the tunnel what is wanted; what is so already is left alone, sessions too. A port or an endpoint that is left
    /// open stays as it is.
    ///
    /// # Errors
    ///
    /// The tunnel's refusal.
    pub fn bring_to(&mut self, mut wanted: wg::Device) -> Result<(), ControlError> {
        let there = self.status()?.device;
        if let (Some(own), Some(key)) = (&there.private_key, &wanted.private_key)
            && own.public_key() == key.public_key()
        {
            // The kernel clamps what it is given (*curve25519*), and shows that.
            wanted.private_key.clone_from(&there.private_key);
        }
        let update = there.difference(&wanted);
        if update.is_empty() {
            Ok(())
        } else {
            self.change(&update)
        }
    }

    /// Changes the tunnel.
    ///
    /// # Errors
    ///
    /// The tunnel's refusal.
    pub fn change(&mut self, update: &wg::Update) -> Result<(), ControlError> {
        match self {
            Self::Kernel { name, index, wireguard } => {
                wireguard.set(*index, update).map_err(|cause| ControlError::Kernel {
                    name: name.clone(),
                    cause,
                })
            }
            Self::Process(client) => Ok(client.set(update)?),
        }
    }
}

/// The names of all tunnels, in their order, and a way to each, or why there is none. Sockets whose process was killed
/// are passed over.
pub fn all() -> Vec<(String, Result<Control, ControlError>)> {
    let mut found: Vec<_> = kernel_links()
        .into_iter()
        .map(|(name, index)| {
            let control = Control::kernel(&name, index);
            (name, control)
        })
        .collect();
    for (name, path) in uapi::list() {
        let is_the_kernels = found.iter().any(|(other, _)| *other == name);
        if !is_the_kernels && !uapi::is_stale(&path) {
            found.push((
                name,
                Client::connect(&path).map(Control::Process).map_err(ControlError::from),
            ));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

/// The index of the interface of this name, if it is the kernel's WireGuard. Where netlink cannot be had, it is not.
fn kernel_index(name: &str) -> Option<u32> {
    let link = link::find(&mut Netlink::route().ok()?, name).ok()??;
    (link.kind.as_deref() == Some(wireguard::KIND)).then_some(link.index)
}

fn kernel_links() -> Vec<(String, u32)> {
    let links = Netlink::route()
        .map_err(wireguard::Error::Kernel)
        .and_then(|mut netlink| wireguard::list(&mut netlink));
    let links = links.unwrap_or_default().into_iter();
    links.map(|link| (link.name, link.index)).collect()
}
