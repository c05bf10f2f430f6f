//! Servers on TCP.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Server, Shared};
use crate::Host;
use crate::namespace::wait_readable;

/// Stack of the thread that serves one connection: there may be thousands.
const STACK: usize = 128 << 10;

/// Serves each connection on `port` by `handler`, on a thread of its own. Port 0 takes a free one.
///
/// # Panics
///
/// If the port is taken.
#[track_caller]
#[must_use]
pub fn tcp(host: &Host, port: u16, handler: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Server {
    serve_on(
        host.run(|| TcpListener::bind(("::", port))).expect("bind a listener"),
        handler,
    )
}

/// Serves each connection of `listener` by `handler`, on a thread of its own.
pub(super) fn serve_on(
    listener: TcpListener,
    handler: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> Server {
    listener.set_nonblocking(true).expect("make a listener non-blocking");
    // A thousand connections at once need a backlog of that size: listening again sets it.
    crate::namespace::listen(listener.as_fd().as_raw_fd(), 4096).expect("widen the backlog");
    let port = listener.local_addr().expect("a listener has an address").port();
    let shared = Arc::new(Shared::default());
    let thread = {
        let (shared, handler) = (Arc::clone(&shared), Arc::new(handler));
        std::thread::spawn(move || accept(&listener, &shared, &handler))
    };
    Server {
        port,
        shared,
        threads: vec![thread],
    }
}

fn accept<H: Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static>(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    handler: &Arc<H>,
) {
    while !shared.stopping.load(Ordering::Acquire) {
        let Ok((stream, _)) = listener.accept() else {
            wait_readable(listener.as_raw_fd(), Duration::from_millis(50));
            continue;
        };
        stream.set_nonblocking(false).expect("make a stream blocking");
        shared.served.fetch_add(1, Ordering::AcqRel);
        shared.open.fetch_add(1, Ordering::AcqRel);
        let (shared, handler) = (Arc::clone(shared), Arc::clone(handler));
        let serve = move || {
            // A client that goes away is the client's business.
            let _ = handler(stream);
            shared.open.fetch_sub(1, Ordering::AcqRel);
        };
        std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(serve)
            .expect("start a thread for a connection");
    }
}

/// Sends back what it gets, and ends its side when the client has ended its own.
#[track_caller]
#[must_use]
pub fn tcp_echo(host: &Host, port: u16) -> Server {
    tcp(host, port, |mut stream| {
        let mut buffer = vec![0; 32 << 10];
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return stream.shutdown(std::net::Shutdown::Write);
            }
            stream.write_all(&buffer[..count])?;
        }
    })
}

/// Reads everything, answers with the number of bytes as text, and closes.
#[track_caller]
#[must_use]
pub fn tcp_discard(host: &Host, port: u16) -> Server {
    tcp(host, port, |mut stream| {
        let mut buffer = vec![0; 64 << 10];
        let mut total = 0;
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return write!(stream, "{total}");
            }
            total += count;
        }
    })
}
