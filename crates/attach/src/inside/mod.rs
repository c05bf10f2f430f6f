//! What is done inside a container's network namespace, and to the tunnel that is there.

pub mod carrier;
pub mod guard;
pub mod place;
pub mod probe;
pub mod resolv;

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use linux::netns::{Identity, Namespace};
use tokio::net::{TcpStream, UdpSocket};
use tunnel::Plane;
use wg::IpNet;

use self::{
    carrier::CarrierError,
    place::{PlaceError, Surroundings},
};
use crate::{Container, Offer, births};

/// A container's network namespace.
#[derive(Debug)]
pub struct Inside {
    namespace: Namespace,
    process: Option<i32>,
}

impl From<Namespace> for Inside {
    fn from(namespace: Namespace) -> Self {
        Self {
            namespace,
            process: None,
        }
    }
}

impl Inside {
    /// A namespace, and the container's first process in it, if that is known.
    pub fn new(namespace: Namespace, process: Option<i32>) -> Self {
        Self { namespace, process }
    }

    /// The container's first process, with which its tunnel is over.
    pub fn process(&self) -> Option<i32> {
        self.process
    }

    /// The namespace whose file this is.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Namespace::open(path).map(Self::from)
    }

    /// The namespace of a running container: by its process, or else by the engine's file.
    ///
    /// # Errors
    ///
    /// If it has neither, it has ended, or it has this process's own namespace (`--network host`), which is no container's
    /// to be closed.
    pub fn of(container: &Container) -> io::Result<Self> {
        let by_process = container.pid.map(|pid| {
            let namespace = Namespace::open(Path::new(&format!("/proc/{pid}/ns/net")))?;
            // The number may have gone to another process since the engine told it.
            match births::container_of_process(pid.cast_unsigned()) {
                Some(other) if other != container.id => Err(io::Error::from(io::ErrorKind::NotFound)),
                Some(_) | None => Ok(Self::new(namespace, Some(pid))),
            }
        });
        let by_file = || match &container.namespace {
            Some(path) => Self::open(path),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "it has no network namespace")),
        };
        let inside = match by_process {
            Some(Ok(inside)) => inside,
            Some(Err(_)) | None => by_file()?,
        };
        if inside.identity()? == Namespace::current()?.identity()? {
            return Err(io::Error::other(
                "it uses the host's network: a tunnel of its own needs a network of its own, as --network none",
            ));
        }
        Ok(inside)
    }

    /// Which namespace it is.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn identity(&self) -> io::Result<Identity> {
        self.namespace.identity()
    }

    /// The namespace itself.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Opens a TCP connection from inside.
    ///
    /// # Errors
    ///
    /// The kernel's, or the other end's.
    pub async fn tcp(self: &Arc<Self>, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.open_socket(move || match to {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
        });
        socket.await?.connect(to).await
    }

    /// Opens a UDP socket inside that is connected to an address.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub async fn udp(self: &Arc<Self>, to: SocketAddr) -> io::Result<UdpSocket> {
        let local: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = self.open_socket(move || {
            let socket = std::net::UdpSocket::bind(local)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        let socket = UdpSocket::from_std(socket.await?)?;
        socket.connect(to).await?;
        Ok(socket)
    }

    async fn open_socket<T: Send + 'static>(
        self: &Arc<Self>,
        open: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let inside = Arc::clone(self);
        let opened = tokio::task::spawn_blocking(move || inside.run(open).flatten());
        opened.await.map_err(io::Error::other)?
    }

    /// Does something inside, on a thread of its own.
    ///
    /// # Errors
    ///
    /// If the namespace cannot be entered.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> io::Result<R> {
        self.namespace.run(work)
    }
}

/// A tunnel could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The interface, its keys or its peers.
    #[error(transparent)]
    Carrier(#[from] CarrierError),
    /// Its addresses or routes.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

/// Sees to it that the tunnel `name` is there, and is what the offer says. One that works is changed in place; one that the
/// engine is about to move here is waited for: `arrival` is the last route that the engine gives it.
///
/// # Errors
///
/// [`SetUpError`]. What was done is done; a repeat goes on from there.
pub fn set_up(
    inside: &Inside,
    name: &str,
    plane: Plane,
    offer: &Offer,
    surroundings: &Surroundings,
    arrival: Option<IpNet>,
) -> Result<(), SetUpError> {
    if let Some(last) = arrival {
        place::wait_for(inside, last)?;
    }
    if place::look(inside)?.is_none() || carrier::status(name, inside).is_err() {
        carrier::make(name, plane, inside)?;
    }
    carrier::configure(name, inside, offer)?;
    Ok(place::place(inside, offer, surroundings)?)
}
