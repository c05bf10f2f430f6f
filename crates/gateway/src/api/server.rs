//! Takes connections in, as many as there is room for, and no slow ones.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::{
    exchange::Gate,
    guests::{Guests, Source},
};
use crate::listening::Listening;

/// Connections that are served at once; more wait.
const MAX_CONNECTIONS: usize = 256;

/// How long a client may take for TLS, and again for the head of its request.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection lasts: one request, and the daemon's time for it.
const CONNECTION_LIMIT: Duration = Duration::from_secs(60);

/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// Most headers of a request.
const MAX_HEADERS: usize = 32;

/// How long it is waited after the kernel had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Starts to serve; dropping what it gives stops it.
pub(super) fn start(address: SocketAddr, tls: Arc<ServerConfig>, gate: Gate) -> io::Result<Listening> {
    Listening::start("adit-api", address, |listener| {
        serve(listener, TlsAcceptor::from(tls), Arc::new(gate))
    })
}

async fn serve(listener: std::net::TcpListener, tls: TlsAcceptor, gate: Arc<Gate>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let (room, guests) = (Arc::new(Semaphore::new(MAX_CONNECTIONS)), Guests::default());
    loop {
        // It is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, from)) => {
                let source = Source::of(from.ip());
                let Some(guest) = guests.enter(source) else { continue };
                let (tls, gate) = (tls.clone(), Arc::clone(&gate));
                tokio::spawn(async move {
                    attend(stream, source, &tls, gate).await;
                    drop((guest, permit));
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// One connection, one request. Nobody is there to be told of a broken one.
async fn attend(stream: TcpStream, source: Source, tls: &TlsAcceptor, gate: Arc<Gate>) {
    let Ok(Ok(stream)) = timeout(PATIENCE, tls.accept(stream)).await else {
        return;
    };
    let service = service_fn(|request| {
        let gate = Arc::clone(&gate);
        async move { Ok::<_, Infallible>(gate.respond(request, source).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let _broken = timeout(CONNECTION_LIMIT, connection).await;
}
