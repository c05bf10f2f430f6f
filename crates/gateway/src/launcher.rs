//! The launcher's way to its gateway: one more peer, which reaches one port of the gateway's and nothing else.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    os::fd::AsFd as _,
    path::PathBuf,
};

use ipnet::IpNet;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use wg::{Access, AllowedIpChange, PeerUpdate, PublicKey, Update};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 8;

/// A launcher, and where it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launcher {
    /// Its key.
    pub public_key: PublicKey,
    /// Its address in the tunnel.
    pub address: IpAddr,
    /// The gateway's address for it, with the network of the two.
    pub own: IpNet,
    /// The TCP port at that.
    pub port: u16,
    /// The socket in the file system at which questions are answered. On the netstack plane the launcher's connections go
    /// to it; on the others they come by [`Gateway::launcher_listener`](crate::server::Gateway::launcher_listener).
    pub socket: PathBuf,
}

impl Launcher {
    /// What the tunnel is told.
    pub(crate) fn update(&self) -> Update {
        let peer = PeerUpdate {
            replace_allowed_ips: true,
            allowed_ips: vec![AllowedIpChange::Add(self.address.into())],
            ..PeerUpdate::new(self.public_key)
        };
        Update {
            peers: vec![peer],
            ..Update::default()
        }
    }

    /// What it reaches beside its port.
    pub(crate) fn access() -> Access {
        Access {
            destinations: Some(Vec::new()),
            peer_to_peer: Some(false),
        }
    }

    /// Listens at the gateway's address for it, on the tunnel's interface alone.
    pub(crate) fn listen(&self, interface: &str) -> io::Result<TcpListener> {
        let address = SocketAddr::new(self.own.addr(), self.port);
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        // Before Linux 5.7 it takes CAP_NET_RAW. The firewall lets nobody else in, either.
        let _the_firewall_does = linux::socket::bind_to_device(socket.as_fd(), interface);
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket.into())
    }
}
