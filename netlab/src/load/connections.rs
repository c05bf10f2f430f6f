//! TCP connections: how many a second, and many that idle.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Threads;
use crate::namespace::{listen, wait_readable};
use crate::{Host, traffic};

/// How many threads keep, and how many open, connections that idle.
const THREADS: usize = 8;

/// Connections that are opened, used for one byte each way, and closed, over and over. Dropping it ends it.
#[derive(Debug)]
pub struct Connections {
    done: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    _threads: Threads,
}

impl Connections {
    /// Opens them from `client` to `server`, at `target`, from `count` threads with one connection each.
    ///
    /// # Panics
    ///
    /// If the port is taken.
    #[must_use]
    pub fn start(client: &Host, server: &Host, target: SocketAddr, count: usize) -> Self {
        [client, server].into_iter().for_each(reuse_ports);
        let mut threads = Threads::default();
        serve(server, target.port(), count, &mut threads, |mut stream| {
            if answer(&mut stream).is_ok() {
                // The client closes first.
                let _ = stream.read(&mut [0]);
            }
        });
        let (done, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        for _ in 0..count {
            let (done, failed, stopping) = (Arc::clone(&done), Arc::clone(&failed), threads.stopping());
            threads.add(client.spawn(move || {
                while !stopping() {
                    let count = if open(target).is_ok() { &done } else { &failed };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        Self {
            done,
            failed,
            _threads: threads,
        }
    }

    /// How many were opened and had their answer, and how many failed.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// Has a host use the ports of its connections again after a second rather than a minute, and use twice as many: whoever
/// opens thousands a second, the client or a gateway, else runs out, and measures the kernel's search for a free one.
pub fn reuse_ports(host: &Host) {
    host.sysctl("net.ipv4.tcp_tw_reuse", "1");
    host.sysctl("net.ipv4.ip_local_port_range", "1024 65535");
}

/// Accepts connections to `port` in the namespace of the calling thread, answers a byte on each, and keeps them open, for
/// good. `ready` is called once it listens.
///
/// # Errors
///
/// If the port is taken.
pub fn keep(port: u16, ready: impl FnOnce()) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    listen(listener.as_raw_fd(), 4096)?;
    ready();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut kept = Vec::new();
                while let Ok((mut stream, _)) = listener.accept() {
                    if answer(&mut stream).is_ok() {
                        kept.push(stream);
                    }
                }
            });
        }
    });
    Ok(())
}

/// Opens `count` connections to `target` from the namespace of the calling thread; each has carried a byte each way.
///
/// # Errors
///
/// The first of a connection that cannot be opened.
///
/// # Panics
///
/// If a thread that opens them does.
pub fn hold(target: SocketAddr, count: usize) -> io::Result<Vec<TcpStream>> {
    let opened = std::thread::scope(|scope| {
        let openers: Vec<_> = (0..THREADS)
            .map(|number| {
                let share = count / THREADS + usize::from(number < count % THREADS);
                scope.spawn(move || (0..share).map(|_| open(target)).collect::<io::Result<Vec<_>>>())
            })
            .collect();
        let opened = openers.into_iter().map(|opener| opener.join().expect("an opener ends"));
        opened.collect::<io::Result<Vec<_>>>()
    });
    Ok(opened?.into_iter().flatten().collect())
}

/// Opens a connection and has a byte answered.
fn open(target: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = traffic::connect(target)?;
    stream.write_all(&[1])?;
    stream.read_exact(&mut [0])?;
    Ok(stream)
}

fn answer(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.read_exact(&mut [0])?;
    stream.write_all(&[2])
}

/// Hands each connection to `port` to `handler`, on `count` threads.
fn serve(
    host: &Host,
    port: u16,
    count: usize,
    threads: &mut Threads,
    handler: impl Fn(TcpStream) + Clone + Send + 'static,
) {
    let listener = host
        .run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
        .expect("bind a listener");
    listener.set_nonblocking(true).expect("make a listener non-blocking");
    listen(listener.as_raw_fd(), 4096).expect("widen the backlog");
    let listener = Arc::new(listener);
    for _ in 0..count {
        let (listener, handler, stopping) = (Arc::clone(&listener), handler.clone(), threads.stopping());
        threads.add(std::thread::spawn(move || {
            while !stopping() {
                match listener.accept() {
                    Ok((stream, _)) => handler(stream),
                    Err(_) => wait_readable(listener.as_raw_fd(), Duration::from_millis(50)),
                }
            }
        }));
    }
}
