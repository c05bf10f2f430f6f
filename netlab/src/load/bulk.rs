//! TCP streams that carry as much as they can.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Threads;
use crate::{Host, traffic};

/// How much is written and read at once: as much as iperf3 does.
const BLOCK: usize = 128 << 10;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client, which connects, to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// Streams under way. Dropping them closes all.
#[derive(Debug)]
pub struct Bulk {
    received: Arc<AtomicU64>,
    /// Both ends of all: shutting them down ends their threads.
    streams: Vec<TcpStream>,
    _threads: Threads,
}

impl Bulk {
    /// Connects `count` streams from `client` to `target`, behind which `server` listens on the same port.
    ///
    /// # Errors
    ///
    /// If a stream cannot be opened.
    ///
    /// # Panics
    ///
    /// If the port is taken.
    pub fn start(
        client: &Host,
        server: &Host,
        target: SocketAddr,
        count: usize,
        direction: Direction,
    ) -> io::Result<Self> {
        let listener = server
            .run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, target.port())))
            .expect("bind a listener");
        listener.set_nonblocking(true)?;
        let (received, mut threads) = (Arc::new(AtomicU64::new(0)), Threads::default());
        let mut streams = Vec::new();
        for _ in 0..count {
            let here = client.run(|| traffic::connect(target))?;
            let there = accept(&listener)?;
            streams.extend([here.try_clone()?, there.try_clone()?]);
            let (from, to) = match direction {
                Direction::Up => (here, there),
                Direction::Down => (there, here),
            };
            threads.add(std::thread::spawn(move || send(from)));
            let received = Arc::clone(&received);
            threads.add(std::thread::spawn(move || receive(to, &received)));
        }
        Ok(Self {
            received,
            streams,
            _threads: threads,
        })
    }

    /// How many bytes have arrived.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        for stream in &self.streams {
            // Else a full buffer on a slow path would go on being sent.
            let _ = traffic::reset_on_close(stream);
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A gateway may answer the client before its own connection is there.
fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let limit = std::time::Instant::now() + crate::pace::stretched(Duration::from_secs(10));
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(Duration::from_secs(30)))?;
                stream.set_write_timeout(Some(Duration::from_secs(30)))?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && std::time::Instant::now() < limit => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}

fn send(mut stream: TcpStream) {
    let block = vec![0x5a; BLOCK];
    while stream.write_all(&block).is_ok() {}
    let _ = stream.shutdown(Shutdown::Both);
}

fn receive(mut stream: TcpStream, received: &AtomicU64) {
    let mut block = vec![0; BLOCK];
    while let Ok(count) = stream.read(&mut block) {
        if count == 0 {
            break;
        }
        received.fetch_add(count as u64, Ordering::Relaxed);
    }
    let _ = stream.shutdown(Shutdown::Both);
}
