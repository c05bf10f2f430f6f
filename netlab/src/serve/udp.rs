//! A server on UDP.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Server, Shared};
use crate::Host;

/// Sends each datagram back to where it came from, up to the largest that UDP carries.
///
/// It has a socket for each of the host's addresses, so that an answer leaves from the address that was asked.
///
/// # Panics
///
/// If the port is taken.
#[track_caller]
#[must_use]
pub fn udp_echo(host: &Host, port: u16) -> Server {
    answer(host, port, |request| Some(request.to_vec()))
}

/// Answers each datagram by `answer`; `None` is silence.
pub(super) fn answer(
    host: &Host,
    port: u16,
    answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> Server {
    let shared = Arc::new(Shared::default());
    let answer = Arc::new(answer);
    let sockets = host.run(|| bind(host, port));
    let port = sockets.first().map_or(port, |socket| {
        socket.local_addr().expect("a socket has an address").port()
    });
    let threads = sockets.into_iter().map(|socket| {
        let (shared, answer) = (Arc::clone(&shared), Arc::clone(&answer));
        std::thread::spawn(move || serve(&socket, &shared, &*answer))
    });
    Server {
        port,
        threads: threads.collect(),
        shared,
    }
}

fn bind(host: &Host, mut port: u16) -> Vec<UdpSocket> {
    let mut sockets = Vec::new();
    for address in host.addresses() {
        let socket = UdpSocket::bind((address, port)).unwrap_or_else(|error| panic!("bind {address} {port}: {error}"));
        port = socket.local_addr().expect("a socket has an address").port();
        crate::namespace::widen_buffers(&socket);
        sockets.push(socket);
    }
    sockets
}

fn serve(socket: &UdpSocket, shared: &Shared, answer: &dyn Fn(&[u8]) -> Option<Vec<u8>>) {
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("set a time limit");
    let mut buffer = vec![0; 65536];
    while !shared.stopping.load(Ordering::Acquire) {
        let Ok((count, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        if let Some(answer) = answer(&buffer[..count]) {
            // Before the answer leaves: who has it may look at once.
            shared.served.fetch_add(1, Ordering::AcqRel);
            if socket.send_to(&answer, from).is_err() {
                shared.served.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}
