//! Requests and responses of one byte, one at a time.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Threads;
use crate::{Host, traffic};

/// One TCP connection on which a byte goes and a byte comes back, over and over. Dropping it closes it.
#[derive(Debug)]
pub struct Exchange {
    done: Arc<AtomicU64>,
    _threads: Threads,
}

impl Exchange {
    /// Connects `client` to `server`, at `target`.
    ///
    /// # Errors
    ///
    /// If the connection cannot be opened.
    ///
    /// # Panics
    ///
    /// If the port is taken.
    pub fn start(client: &Host, server: &Host, target: SocketAddr) -> io::Result<Self> {
        let listener = server
            .run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, target.port())))
            .expect("bind a listener");
        let (done, mut threads) = (Arc::new(AtomicU64::new(0)), Threads::default());
        let mut here = client.run(|| traffic::connect(target))?;
        let (mut there, _) = listener.accept()?;
        there.set_nodelay(true)?;
        threads.add(std::thread::spawn(move || while turn(&mut there).is_ok() {}));
        let (counted, stopping) = (Arc::clone(&done), threads.stopping());
        threads.add(std::thread::spawn(move || {
            while !stopping() && here.write_all(&[1]).and_then(|()| here.read_exact(&mut [0])).is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }));
        Ok(Self {
            done,
            _threads: threads,
        })
    }

    /// How many responses have come.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// Answers one request.
fn turn(stream: &mut TcpStream) -> io::Result<()> {
    stream.read_exact(&mut [0])?;
    stream.write_all(&[2])
}
