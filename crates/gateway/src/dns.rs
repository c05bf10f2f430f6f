//! Answers DNS queries of peers by asking this host's resolvers.
//!
//! ```text
//! peer ── 10.13.13.1:53 ── tunnel ──► Forwarder (UDP and TCP, cache) ──► resolvers of /etc/resolv.conf
//! ```
//!
//! On the netstack plane the forwarder listens on a port of this host's loopback, and the plane redirects the gateway's
//! own address to it. On the tun plane it listens on the gateway's own address.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    sync::{Arc, PoisonError, RwLock},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use hickory_server::{
    Server,
    net::runtime::Time,
    proto::{
        op::{Header, HeaderCounts, ResponseCode},
        rr::Name,
    },
    resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    store::forwarder::{ForwardConfig, ForwardZoneHandler},
    zone_handler::{Catalog, MessageResponseBuilder},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::sync::{Semaphore, oneshot};

use crate::upstream::Upstreams;

/// How long a TCP connection may be idle between queries (RFC 7766, section 6.2.3, asks for seconds).
const TCP_IDLE: Duration = Duration::from_secs(10);

/// Bytes of answers that wait for a slow TCP client.
const TCP_RESPONSE_BUFFER: usize = 64;

/// Queries that wait for an upstream at once; more are refused, so that a flood of queries costs bounded memory.
const MAX_IN_FLIGHT: usize = 1024;

/// Answers kept until their time to live is over.
const CACHE_ENTRIES: u64 = 4096;

/// How often `resolv.conf` is looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// TCP connections that wait to be accepted.
const TCP_BACKLOG: i32 = 128;

/// Ports tried until UDP and TCP have the same.
const BIND_ATTEMPTS: usize = 16;

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
    /// The thread or its event loop could not be made.
    #[error("cannot start the DNS forwarder: {cause}")]
    Start {
        /// What the kernel said.
        cause: io::Error,
    },
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
    pub fn start(listen: &[SocketAddr], upstreams: Upstreams) -> Result<Self, DnsError> {
        let sockets = listen
            .iter()
            .map(|address| bind(*address))
            .collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<SocketAddr> = sockets.iter().map(|sockets| sockets.address).collect();
        let servers = upstreams.read().map_err(|cause| DnsError::Upstreams { cause })?;
        let catalog = catalog(&servers, &addresses)?;
        let start = |cause| DnsError::Start { cause };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(start)?;
        let (stop, stopped) = oneshot::channel();
        let own = addresses.clone();
        let thread = std::thread::Builder::new()
            .name("adit-dns".into())
            .spawn(move || runtime.block_on(serve(sockets, own, upstreams, servers, catalog, stopped)))
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

/// A UDP socket and a TCP listener on the same port.
struct Sockets {
    address: SocketAddr,
    udp: UdpSocket,
    tcp: TcpListener,
}

fn bind(wanted: SocketAddr) -> Result<Sockets, DnsError> {
    let mut attempts = if wanted.port() == 0 { BIND_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        match try_bind(wanted) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            other => {
                return other.map_err(|cause| DnsError::Bind { address: wanted, cause });
            }
        }
    }
}

fn try_bind(wanted: SocketAddr) -> io::Result<Sockets> {
    let udp = UdpSocket::from(open(SocketType::DGRAM, wanted)?);
    let address = udp.local_addr()?;
    let tcp = TcpListener::from(open(SocketType::STREAM, address)?);
    rustix::net::listen(&tcp, TCP_BACKLOG)?;
    Ok(Sockets { address, udp, tcp })
}

/// A bound socket that does not block. The address need not be usable yet: one that an interface was given a moment
/// ago is first checked for a twin on the link.
fn open(kind: SocketType, address: SocketAddr) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    match address {
        SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
        SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// What the forwarder's thread does, until `stopped` fires or its sender is dropped.
async fn serve(
    sockets: Vec<Sockets>,
    own: Vec<SocketAddr>,
    upstreams: Upstreams,
    mut servers: Vec<SocketAddr>,
    catalog: Catalog,
    mut stopped: oneshot::Receiver<()>,
) {
    let current = Arc::new(RwLock::new(Arc::new(catalog)));
    let mut server = Server::new(Handler {
        current: Arc::clone(&current),
        in_flight: Semaphore::new(MAX_IN_FLIGHT),
    });
    for Sockets { udp, tcp, .. } in sockets {
        // Both are non-blocking and this is their runtime: registering them fails only at the limit of epoll watches.
        if let (Ok(udp), Ok(tcp)) = (
            tokio::net::UdpSocket::from_std(udp),
            tokio::net::TcpListener::from_std(tcp),
        ) {
            server.register_socket(udp);
            server.register_listener(tcp, TCP_IDLE, TCP_RESPONSE_BUFFER);
        }
    }
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            () = tokio::time::sleep(RELOAD_INTERVAL), if matches!(upstreams, Upstreams::File(_)) => {}
        }
        // A file that cannot be read, or names only ourselves, leaves the resolvers as they are.
        let Ok(found) = upstreams.read() else { continue };
        if found == servers {
            continue;
        }
        if let Ok(catalog) = self::catalog(&found, &own) {
            *current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
            servers = found;
        }
    }
}

/// A catalogue that forwards every name to these servers, but never to an address of our own.
fn catalog(servers: &[SocketAddr], own: &[SocketAddr]) -> Result<Catalog, DnsError> {
    let name_servers: Vec<NameServerConfig> = servers
        .iter()
        .filter(|server| !own.contains(server))
        .map(|server| name_server(*server))
        .collect();
    if name_servers.is_empty() {
        return Err(DnsError::NoUpstream);
    }
    let mut options = ResolverOpts::default();
    options.cache_size = CACHE_ENTRIES;
    options.edns0 = true;
    options.preserve_intermediates = true;
    options.try_tcp_on_error = true;
    let handler = ForwardZoneHandler::builder_tokio(ForwardConfig {
        name_servers,
        options: Some(options),
    })
    .build()
    .map_err(|text| DnsError::Start {
        cause: io::Error::other(text),
    })?;
    let mut catalog = Catalog::new();
    catalog.upsert(Name::root().into(), vec![Arc::new(handler)]);
    Ok(catalog)
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    config.connections = connections.into();
    config
}

/// Hands queries to the catalogue of the moment, and refuses them when too many are waiting.
struct Handler {
    current: Arc<RwLock<Arc<Catalog>>>,
    in_flight: Semaphore,
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut response: R) -> ResponseInfo {
        let Ok(_permit) = self.in_flight.try_acquire() else {
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
