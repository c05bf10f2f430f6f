//! Connections: how many, how encrypted, how patient.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use ipnet::IpNet;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::{PAUSE, client::Peer, stall::Stall};
use crate::{App, config::Limits, rates::site};

/// Connections from one address, unless it is this machine's or a trusted proxy's.
const PER_ADDRESS: usize = 100;

/// Takes connections and answers on them.
pub(super) struct Connections {
    router: Router,
    acceptor: Option<TlsAcceptor>,
    limits: Limits,
    trusted: Vec<IpNet>,
    free: Arc<Semaphore>,
    by_address: Arc<ByAddress>,
    graceful: GracefulShutdown,
}

impl Connections {
    pub(super) fn new(app: &App, router: Router, acceptor: Option<TlsAcceptor>) -> Self {
        Self {
            router,
            acceptor,
            limits: app.config.limits,
            trusted: app.config.trusted_proxies.clone(),
            free: Arc::new(Semaphore::new(app.config.limits.connections)),
            by_address: Arc::default(),
            graceful: GracefulShutdown::new(),
        }
    }

    /// Takes connections for ever.
    pub(super) async fn accept(&self, listener: &TcpListener) {
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&self.free).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, peer)) => self.begin(stream, peer, permit),
                Err(error) => {
                    tracing::debug!(%error, "a connection was not taken");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Waits until every answer that was begun is written.
    pub(super) async fn finish(self) {
        self.graceful.shutdown().await;
    }

    fn begin(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let address = peer.ip().to_canonical();
        let is_counted = !address.is_loopback() && !self.trusted.iter().any(|net| net.contains(&address));
        let place = if is_counted {
            self.by_address.take(address).map(Some)
        } else {
            Some(None)
        };
        let Some(place) = place else {
            tracing::debug!(%address, "too many connections from one address");
            return;
        };
        // Answers are small and whole: waiting for more of them gains nothing.
        let _slower = stream.set_nodelay(true);
        let (router, limits, watcher) = (self.router.clone(), self.limits, self.graceful.watcher());
        let acceptor = self.acceptor.clone();
        tokio::spawn(async move {
            let stream = Stall::new(stream, limits.stall);
            match acceptor {
                None => answer(stream, peer, router, &limits, watcher).await,
                Some(acceptor) => match timeout(limits.header, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => answer(stream, peer, router, &limits, watcher).await,
                    Ok(Err(error)) => tracing::debug!(%error, %peer, "no TLS"),
                    Err(_) => tracing::debug!(%peer, "TLS took too long"),
                },
            }
            drop((place, permit));
        });
    }
}

/// Answers until the client goes, is too slow, or the hub stops.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: SocketAddr,
    router: Router,
    limits: &Limits,
    watcher: Watcher,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        router.clone().oneshot(request)
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_headers(64)
        .max_buf_size(limits.header_bytes);
    let connection = server.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, %peer, "a connection ended early");
    }
}

/// Connections by address; of IPv6 by /64, which is what one customer has.
#[derive(Debug, Default)]
struct ByAddress(Mutex<HashMap<IpAddr, usize>>);

/// One of an address's connections, until it is dropped.
#[derive(Debug)]
struct Place {
    of: Arc<ByAddress>,
    address: IpAddr,
}

impl ByAddress {
    /// `None`: the address has as many as it may.
    fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = site(address);
        let mut counts = self.lock();
        let count = counts.entry(address).or_default();
        if *count == PER_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Place {
            of: Arc::clone(self),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.of.lock();
        match counts.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_gets_one_back_for_each_that_ends() {
        let by_address = Arc::new(ByAddress::default());
        let [near, far]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let mut places: Vec<_> = (0..PER_ADDRESS).map(|_| by_address.take(near).unwrap()).collect();
        assert!(by_address.take(near).is_none());
        assert!(by_address.take(far).is_some());
        places.pop();
        places.push(by_address.take(near).unwrap());
        assert!(by_address.take(near).is_none());
        drop(places);
        assert!(by_address.lock().is_empty());
        // Whoever has a network of IPv6 has one address.
        let of_network = |host: usize| format!("2001:db8:0:1::{host:x}").parse::<IpAddr>().unwrap();
        let _places: Vec<_> = (0..PER_ADDRESS)
            .map(|host| by_address.take(of_network(host)).unwrap())
            .collect();
        assert!(by_address.take(of_network(PER_ADDRESS)).is_none());
        assert!(by_address.take("2001:db8:0:2::1".parse().unwrap()).is_some());
    }
}
