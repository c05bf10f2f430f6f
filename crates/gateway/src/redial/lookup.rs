//! Looks a name up outside of the tunnels: whom it asks, and which way, is as it was before they came up.
//!
//! A tunnel that has stopped to answer may have all routes and the system's resolvers behind it. So the question goes to
//! the resolvers of before, with the tunnel's own mark, which its routes leave alone.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsFd,
    pin::Pin,
    time::Duration,
};

use hickory_server::{
    net::runtime::{RuntimeProvider, TokioRuntimeProvider},
    proto::rr::Name,
    resolver::{
        Resolver,
        config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    },
};

use crate::upstream::Upstream;

/// How long a resolver may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The addresses that a name has and that there is a way to, or none.
pub(super) fn look_up(name: &str, servers: &[Upstream], mark: Option<u32>) -> Vec<IpAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // A lookup that cannot be made finds nothing, and is made again later.
    let mut found = runtime
        .map(|runtime| runtime.block_on(ask(name, servers, mark)))
        .unwrap_or_default();
    found.retain(|address| has_way(*address, mark));
    found
}

/// Whether the tunnel's own packets have a way to an address. Sends nothing.
fn has_way(address: IpAddr, mark: Option<u32>) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let connect = || {
        let socket = UdpSocket::bind((any, 0))?;
        if let Some(mark) = mark {
            linux::socket::set_mark(socket.as_fd(), mark)?;
        }
        socket.connect((address, 9))
    };
    connect().is_ok()
}

async fn ask(name: &str, servers: &[Upstream], mark: Option<u32>) -> Vec<IpAddr> {
    let Ok(mut name) = Name::from_utf8(name) else {
        return Vec::new();
    };
    name.set_fqdn(true);
    let server = |server: &Upstream| {
        let address = server.address();
        let mut config = NameServerConfig::udp_and_tcp(address.ip());
        config.connections = vec![ConnectionConfig::udp()];
        config.connections[0].port = address.port();
        config
    };
    let mut options = ResolverOpts::default();
    options.timeout = TIMEOUT;
    options.use_hosts_file = ResolveHosts::Always;
    let config = ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect());
    let provider = Marked {
        inner: TokioRuntimeProvider::default(),
        mark,
    };
    let resolver = Resolver::builder_with_config(config, provider).with_options(options);
    let Ok(resolver) = resolver.build() else {
        return Vec::new();
    };
    match resolver.lookup_ip(name).await {
        Ok(found) => found.iter().collect(),
        Err(_) => Vec::new(),
    }
}

/// The usual runtime, whose packets carry a mark.
#[derive(Clone)]
struct Marked {
    inner: TokioRuntimeProvider,
    mark: Option<u32>,
}

impl RuntimeProvider for Marked {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = <TokioRuntimeProvider as RuntimeProvider>::Udp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.inner.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        self.inner.connect_tcp(server, local, limit)
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Udp>>>> {
        let (bound, mark) = (self.inner.bind_udp(local, server), self.mark);
        Box::pin(async move {
            let socket = bound.await?;
            if let Some(mark) = mark {
                linux::socket::set_mark(socket.as_fd(), mark)?;
            }
            Ok(socket)
        })
    }
}
