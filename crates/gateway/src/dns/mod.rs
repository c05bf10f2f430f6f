//! Answers DNS queries of peers: about the tunnel from the gateway's own names, about the rest by asking other resolvers.
//!
//! ```text
//!                                              ┌─► Names: gateway.adit.internal, phone.adit.internal
//! peer ── 10.13.13.1:53 ── tunnel ──► Forwarder
//!                         (UDP and TCP, cache) └─► resolvers of /etc/resolv.conf, or those that were given, or over TLS
//! ```
//!
//! On the netstack plane the forwarder listens on a port of this host's loopback, and the plane redirects the gateway's
//! own address to it. On the other planes it listens on the gateway's own address; for a client, on all addresses.

mod forward;
mod listen;
mod local;
mod names;
mod share;
mod stream;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use hickory_server::{
    Server,
    net::runtime::Time,
    proto::op::{Header, HeaderCounts, ResponseCode},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::{Catalog, MessageResponseBuilder},
};
use rustls::ClientConfig;
use tokio::sync::oneshot;

pub use self::names::{GATEWAY, Names, SELF, ZONE};
use self::{listen::Sockets, share::Shares};
use crate::upstream::{Upstream, Upstreams};

/// Questions that wait for a resolver at once; more are refused, so that a flood of them costs bounded memory.
const MAX_WAITING: usize = 1024;

/// Questions of one address that wait at once.
const MAX_WAITING_EACH: usize = 128;

/// How often `resolv.conf` is looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// Why the gateway cannot answer DNS queries.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The address to listen on is taken or not there.
    #[error("cannot listen for DNS queries on {address}: {cause}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the kernel said.
        cause: io::Error,
    },
    /// `resolv.conf` cannot be read.
    #[error("cannot read this host's resolvers: {cause}; name a resolver with --dns-upstream")]
    Upstreams {
        /// What reading said.
        cause: io::Error,
    },
    /// Every resolver that is known is the forwarder itself.
    #[error("no resolver to pass DNS queries on to; name one with --dns-upstream")]
    NoUpstream,
    /// The certificates of those who may sign for resolvers cannot be read.
    #[error(
        "cannot read the certificates in {}: {cause}; --dns-ca, or ADIT_DNS_CA, takes a file with certificates in PEM",
        path.display()
    )]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// What reading said.
        cause: io::Error,
    },
    /// The thread or its event loop could not be made.
    #[error("cannot start the DNS forwarder: {cause}")]
    Start {
        /// What the kernel said.
        cause: io::Error,
    },
}

/// Looks whether a file has the certificates of those who may sign for resolvers.
///
/// # Errors
///
/// [`DnsError::Certificates`].
pub fn check_certificates(path: &Path) -> Result<(), DnsError> {
    forward::tls(Some(path)).map(drop)
}

/// A running DNS forwarder; dropping it stops it.
#[derive(Debug)]
pub struct Forwarder {
    addresses: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Starts a forwarder that listens on these addresses, UDP and TCP. Port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// [`DnsError`]; nothing is left behind then.
    pub fn start(listen: &[SocketAddr], upstreams: Upstreams, names: Arc<Names>) -> Result<Self, DnsError> {
        let sockets = listen
            .iter()
            .map(|address| listen::bind(*address))
            .collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<SocketAddr> = sockets.iter().map(|sockets| sockets.address).collect();
        let servers = upstreams.read().map_err(|cause| DnsError::Upstreams { cause })?;
        let tls = forward::tls(upstreams.ca())?;
        let catalog = forward::catalog(&servers, &addresses, &tls)?;
        let start = |cause| DnsError::Start { cause };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(start)?;
        let (stop, stopped) = oneshot::channel();
        let handler = Handler {
            names,
            current: Arc::new(RwLock::new(Arc::new(catalog))),
            shares: Shares::new(MAX_WAITING, MAX_WAITING_EACH),
        };
        let reload = Reload {
            own: addresses.clone(),
            upstreams,
            servers,
            tls,
            current: Arc::clone(&handler.current),
        };
        let thread = std::thread::Builder::new()
            .name("adit-dns".into())
            .spawn(move || runtime.block_on(serve(sockets, handler, reload, stopped)))
            .map_err(start)?;
        Ok(Self {
            addresses,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The addresses that it listens on, in the order in which they were asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in that thread has already been reported by the panic hook.
            let _panicked = thread.join();
        }
    }
}

/// What the forwarder's thread does, until `stopped` fires or its sender is dropped.
async fn serve(sockets: Vec<Sockets>, handler: Handler, mut reload: Reload, mut stopped: oneshot::Receiver<()>) {
    let mut server = Server::new(handler.clone());
    let connections = stream::connections();
    for Sockets { udp, tcp, .. } in sockets {
        // Both are non-blocking and this is their runtime: registering them fails only at the limit of epoll watches.
        if let (Ok(udp), Ok(tcp)) = (
            tokio::net::UdpSocket::from_std(udp),
            tokio::net::TcpListener::from_std(tcp),
        ) {
            server.register_socket(udp);
            tokio::spawn(stream::serve(tcp, handler.clone(), Arc::clone(&connections)));
        }
    }
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            () = tokio::time::sleep(RELOAD_INTERVAL), if matches!(reload.upstreams, Upstreams::File(_)) => {}
        }
        reload.look();
    }
}

/// Follows the file that names the resolvers.
struct Reload {
    /// Where the forwarder itself listens.
    own: Vec<SocketAddr>,
    upstreams: Upstreams,
    /// The resolvers that `current` asks.
    servers: Vec<Upstream>,
    tls: ClientConfig,
    current: Arc<RwLock<Arc<Catalog>>>,
}

impl Reload {
    /// Takes up what has changed. A file that cannot be read, or names only ourselves, leaves the resolvers as they are.
    fn look(&mut self) {
        let Ok(found) = self.upstreams.read() else { return };
        if found == self.servers {
            return;
        }
        if let Ok(catalog) = forward::catalog(&found, &self.own, &self.tls) {
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
            self.servers = found;
        }
    }
}

/// Answers from the names, hands other queries to the catalogue of the moment, and refuses them when too many are
/// waiting.
#[derive(Clone)]
struct Handler {
    names: Arc<Names>,
    current: Arc<RwLock<Arc<Catalog>>>,
    shares: Arc<Shares>,
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut response: R) -> ResponseInfo {
        if let Some(reply) = local::reply(&self.names, request) {
            return local::send(request, &reply, response).await;
        }
        let Some(_share) = self.shares.take(request.src().ip()) else {
            let refusal = MessageResponseBuilder::from_message_request(request)
                .error_msg(&request.metadata, ResponseCode::Refused);
            return match response.send_response(refusal).await {
                Ok(info) => info,
                Err(_) => Header {
                    metadata: request.metadata,
                    counts: HeaderCounts::default(),
                }
                .into(),
            };
        };
        let catalog = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        catalog.handle_request::<R, T>(request, response).await
    }
}
