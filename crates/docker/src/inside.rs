//! A container's network namespace, and sockets that are opened in it.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
    path::Path,
    sync::Arc,
};

use linux::netns::{Identity, Namespace};
use tokio::net::{TcpStream, UdpSocket};

use crate::{Container, births};

/// A container's network namespace.
#[derive(Debug)]
pub struct Inside {
    namespace: Namespace,
    process: Option<i32>,
    mark: Option<u32>,
}

impl From<Namespace> for Inside {
    fn from(namespace: Namespace) -> Self {
        Self {
            namespace,
            process: None,
            mark: None,
        }
    }
}

impl Inside {
    /// A namespace, and the container's first process in it, if that is known.
    pub fn new(namespace: Namespace, process: Option<i32>) -> Self {
        Self {
            namespace,
            process,
            mark: None,
        }
    }

    /// The same, whose sockets mark what they send, so that rules in the namespace tell it apart.
    #[must_use]
    pub fn with_mark(self, mark: u32) -> Self {
        Self {
            mark: Some(mark),
            ..self
        }
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

    async fn open_socket<T: AsFd + Send + 'static>(
        self: &Arc<Self>,
        open: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let inside = Arc::clone(self);
        let opened = tokio::task::spawn_blocking(move || {
            let socket = inside.run(open).flatten()?;
            if let Some(mark) = inside.mark {
                linux::socket::set_mark(socket.as_fd(), mark)?;
            }
            Ok(socket)
        });
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

#[cfg(test)]
mod tests {
    use std::{os::fd::AsRawFd as _, time::Duration};

    use linux::{
        Family, link,
        netlink::Netlink,
        route::{self, Route},
        rule::{self, Packets, Rule},
    };
    use tokio::time::timeout;

    use super::*;

    /// The number of the loopback interface, in every namespace.
    const LOOPBACK: u32 = 1;

    /// Gives packets with the mark, and no others, a route.
    fn lead(mark: u32) {
        let (table, mut netlink) = (7, Netlink::route().unwrap());
        link::set_up(&mut netlink, LOOPBACK).unwrap();
        let route = Route::direct("198.51.100.0/24".parse().unwrap(), LOOPBACK);
        route::add(&mut netlink, &Route { table, ..route }).unwrap();
        let rule = Rule {
            family: Family::V4,
            priority: None,
            packets: Packets::Marked(mark),
            table,
            suppress_prefix_length: None,
        };
        rule::add(&mut netlink, &rule).unwrap();
    }

    #[tokio::test]
    async fn sockets_bear_the_mark() {
        netlab::requires!("root");
        let inside = Inside::from(Namespace::anonymous().unwrap());
        inside.run(|| lead(42)).unwrap();
        let to = "198.51.100.1:7".parse().unwrap();
        let is_led = async |inside: Inside| {
            let inside = Arc::new(inside);
            // Nobody answers what is led.
            let limit = Duration::from_millis(100);
            let is_refused = matches!(timeout(limit, inside.tcp(to)).await, Ok(Err(_)));
            (inside.udp(to).await.is_ok(), !is_refused)
        };
        let path = format!("/proc/self/fd/{}", inside.namespace().as_fd().as_raw_fd());
        let again = || Inside::open(Path::new(&path)).unwrap();
        assert_eq!(is_led(again()).await, (false, false));
        assert_eq!(is_led(again().with_mark(41)).await, (false, false));
        assert_eq!(is_led(again().with_mark(42)).await, (true, true));
    }
}
