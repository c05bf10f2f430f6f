//! Answers the DNS queries of a container whose neighbours have names.
//!
//! ```text
//!                            ┌─► Book: web, db.home, PTR of neighbours
//!  container ── 127.0.0.11 ── resolver
//!             (redirected by  └─► the tunnel's name servers, asked from inside: the guard lets it take no other way
//!               the guard)
//! ```
//!
//! Docker's own resolver at 127.0.0.11 knows the neighbours' names, too, but asks the rest of this host's resolvers,
//! outside the tunnel (*moby: libnetwork/resolver.go*). So it is not asked at all: the names come by the engine's API.
//! The sockets are inside, what answers is here.

mod answer;
mod book;
mod relay;
mod serve;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
};

use linux::{link, netlink::Netlink};
use tokio::task::JoinHandle;

pub use self::book::{Book, Member};
use crate::inside::Inside;

/// The number of the loopback interface, in every namespace (*Linux: drivers/net/loopback.c*).
const LOOPBACK: u32 = 1;

/// A container's resolver; dropping it ends it.
#[derive(Debug)]
pub struct Resolver {
    port: u16,
    book: Arc<Book>,
    work: JoinHandle<()>,
}

impl Resolver {
    /// Starts a resolver on a free port of the loopback inside, for UDP and TCP.
    ///
    /// # Errors
    ///
    /// If the namespace cannot be entered, or has no loopback that is up.
    pub fn start(inside: &Arc<Inside>) -> io::Result<Self> {
        let (udp, tcp) = inside.run(bind)??;
        let port = udp.local_addr()?.port();
        let (udp, tcp) = (
            tokio::net::UdpSocket::from_std(udp)?,
            tokio::net::TcpListener::from_std(tcp)?,
        );
        let book = Arc::<Book>::default();
        let work = serve::serve(udp, tcp, Arc::clone(inside), Arc::clone(&book));
        Ok(Self {
            port,
            book,
            work: tokio::spawn(work),
        })
    }

    /// The port that questions are to go to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it knows.
    pub fn book(&self) -> &Book {
        &self.book
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// A port that is free for UDP and TCP.
fn bind() -> io::Result<(UdpSocket, TcpListener)> {
    // Its address comes with it, and the engine may not have come to that.
    let mut netlink = Netlink::route().map_err(io::Error::other)?;
    link::set_up(&mut netlink, LOOPBACK).map_err(io::Error::other)?;
    /// One that is free for the one is hardly ever taken for the other.
    const ATTEMPTS: u32 = 16;
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let mut attempts = 0;
    loop {
        let udp = UdpSocket::bind(any)?;
        attempts += 1;
        match TcpListener::bind(udp.local_addr()?) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts < ATTEMPTS => {}
            bound => {
                let tcp = bound?;
                udp.set_nonblocking(true)?;
                tcp.set_nonblocking(true)?;
                return Ok((udp, tcp));
            }
        }
    }
}
