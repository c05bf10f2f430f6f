//! Asks other resolvers what the gateway does not know itself, and keeps their answers.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use hickory_server::{
    net::runtime::TokioRuntimeProvider,
    proto::rr::{LowerName, Name, RecordType},
    resolver::{
        Resolver,
        config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    },
    server::{Request, RequestInfo},
    zone_handler::{
        AuthLookup, AxfrPolicy, Catalog, LookupControlFlow, LookupError, LookupOptions, ZoneHandler, ZoneType,
    },
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::DnsError;
use crate::upstream::Upstream;

/// Answers kept until their time to live is over.
const CACHE_ENTRIES: u64 = 4096;

/// How long a resolver may take, and how often it is asked: a question that nobody answers is soon out of the way.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// How DNS over TLS names itself in a handshake (RFC 7858, section 3.1, and IANA's list of protocols).
const ALPN: &[u8] = b"dot";

/// Whom a resolver's certificate must have been signed by: those of the file, else those that the program brings along.
pub(super) fn tls(ca: Option<&Path>) -> Result<ClientConfig, DnsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let failed = |cause| DnsError::Certificates {
                path: path.to_owned(),
                cause,
            };
            let text = fs::read(path).map_err(failed)?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let certificate = certificate.map_err(|error| failed(io::Error::other(error.to_string())))?;
                roots
                    .add(certificate)
                    .map_err(|error| failed(io::Error::other(error.to_string())))?;
            }
            if roots.is_empty() {
                return Err(failed(io::Error::other("there is no certificate in it")));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| DnsError::Start {
        cause: io::Error::other(error),
    })?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// A catalogue that passes every name on to these resolvers, but never to an address of our own.
pub(super) fn catalog(servers: &[Upstream], own: &[SocketAddr], tls: &ClientConfig) -> Result<Catalog, DnsError> {
    let name_servers: Vec<NameServerConfig> = servers
        .iter()
        .filter(|server| !own.iter().any(|own| is_at(*own, server.address())))
        .map(name_server)
        .collect();
    if name_servers.is_empty() {
        return Err(DnsError::NoUpstream);
    }
    let mut options = ResolverOpts::default();
    options.cache_size = CACHE_ENTRIES;
    options.timeout = TIMEOUT;
    options.attempts = ATTEMPTS;
    options.edns0 = true;
    // A forwarder repeats the aliases that it meets (RFC 1034, section 4.3.2).
    options.preserve_intermediates = true;
    options.try_tcp_on_error = true;
    options.use_hosts_file = ResolveHosts::Never;
    let config = ResolverConfig::from_parts(None, Vec::new(), name_servers);
    let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .with_tls_config(tls.clone())
        .build()
        .map_err(|error| DnsError::Start {
            cause: io::Error::other(error),
        })?;
    let mut catalog = Catalog::new();
    let forward = Forward {
        origin: Name::root().into(),
        resolver,
    };
    catalog.upsert(Name::root().into(), vec![Arc::new(forward)]);
    Ok(catalog)
}

/// Whether who listens on `own` is who answers on `address`.
fn is_at(own: SocketAddr, address: SocketAddr) -> bool {
    if !own.ip().is_unspecified() || own.port() != address.port() {
        return own == address;
    }
    match address.ip() {
        // Others of the loopback are those of stubs: systemd-resolved's 127.0.0.53, Docker's 127.0.0.11.
        ip if ip.is_loopback() => ip == IpAddr::from(Ipv4Addr::LOCALHOST) || ip == IpAddr::from(Ipv6Addr::LOCALHOST),
        // Nobody can have a socket on an address of another machine.
        ip => UdpSocket::bind((ip, 0)).is_ok(),
    }
}

fn name_server(server: &Upstream) -> NameServerConfig {
    let connections = match server {
        Upstream::Plain(_) => vec![ConnectionConfig::udp(), ConnectionConfig::tcp()],
        Upstream::Tls { name, .. } => vec![ConnectionConfig::tls(name.as_str().into())],
    };
    let address = server.address();
    let connections = connections.into_iter().map(|mut connection| {
        connection.port = address.port();
        connection
    });
    let mut config = NameServerConfig::udp_and_tcp(address.ip());
    config.connections = connections.collect();
    config
}

/// Every name, as other resolvers know it.
struct Forward {
    origin: LowerName,
    resolver: Resolver<TokioRuntimeProvider>,
}

#[async_trait]
impl ZoneHandler for Forward {
    fn zone_type(&self) -> ZoneType {
        ZoneType::External
    }

    fn axfr_policy(&self) -> AxfrPolicy {
        AxfrPolicy::Deny
    }

    fn origin(&self) -> &LowerName {
        &self.origin
    }

    async fn lookup(
        &self,
        name: &LowerName,
        kind: RecordType,
        _request: Option<&RequestInfo<'_>>,
        _options: LookupOptions,
    ) -> LookupControlFlow<AuthLookup> {
        LookupControlFlow::Continue(match self.resolver.lookup(Name::from(name), kind).await {
            Ok(found) => Ok(found.into()),
            Err(error) => Err(LookupError::from(error)),
        })
    }

    async fn search(
        &self,
        request: &Request,
        options: LookupOptions,
    ) -> (
        LookupControlFlow<AuthLookup>,
        Option<hickory_server::proto::rr::TSigResponseContext>,
    ) {
        let found = match request.request_info() {
            Ok(request) => {
                let query = request.query;
                self.lookup(query.name(), query.query_type(), Some(&request), options)
                    .await
            }
            Err(error) => LookupControlFlow::Break(Err(error)),
        };
        (found, None)
    }

    async fn nsec_records(&self, _name: &LowerName, _options: LookupOptions) -> LookupControlFlow<AuthLookup> {
        LookupControlFlow::Continue(Ok(AuthLookup::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_on_all_addresses_is_no_resolver_of_its_own() {
        for (own, address, is_own) in [
            ("127.0.0.1:53", "127.0.0.1:53", true),
            ("127.0.0.1:53", "127.0.0.1:5353", false),
            ("[::]:53", "127.0.0.1:53", true),
            ("[::]:53", "[::1]:53", true),
            ("0.0.0.0:53", "127.0.0.1:53", true),
            ("[::]:53", "127.0.0.1:5353", false),
            ("[::]:53", "127.0.0.11:53", false),
            ("[::]:53", "127.0.0.53:53", false),
            ("[::]:53", "192.0.2.53:53", false),
        ] {
            let found = is_at(own.parse().unwrap(), address.parse().unwrap());
            assert_eq!(found, is_own, "{own} {address}");
        }
    }
}
