//! Options that `launch` and `serve` share, as typed.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use gateway::{
    dns::{self, DnsError},
    environment,
    firewall::{self, FirewallError},
    reach::{Endpoint, Host},
    upstream::{self, Upstream, Upstreams},
};
use ipnet::IpNet;
use tunnel::{Choice, Chosen, Plane, Unavailable};

use crate::failure;

/// The port that WireGuard is known by.
pub(crate) const DEFAULT_PORT: u16 = 51_820;

/// Who handles the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PlaneChoice {
    /// The first that works here: kernel, tun, netstack.
    #[default]
    Auto,
    /// The kernel's own WireGuard: needs NET_ADMIN, the module, and a kernel that may forward.
    Kernel,
    /// adit itself, on a TUN device: needs NET_ADMIN, /dev/net/tun, and a kernel that may forward.
    Tun,
    /// adit itself, on ordinary sockets: needs no privilege at all.
    Netstack,
}

impl PlaneChoice {
    /// The plane that this choice stands for, for a gateway with these addresses, and why.
    pub(crate) fn choose(self, addresses: &[IpNet]) -> Result<Chosen, Unavailable> {
        tunnel::choose(self.into(), || {
            firewall::check(addresses).map_err(|error| match error {
                FirewallError::Forwarding(error) => format!("{} is 0 and cannot be set here", error.setting),
                FirewallError::Nftables(error) => format!("nf_tables cannot be used here: {error}"),
                FirewallError::Change(_)
                | FirewallError::Links(_)
                | FirewallError::Vanished { .. }
                | FirewallError::Routes(_) => error.to_string(),
            })
        })
    }
}

impl From<PlaneChoice> for Choice {
    fn from(choice: PlaneChoice) -> Self {
        match choice {
            PlaneChoice::Auto => Self::Auto,
            PlaneChoice::Kernel => Self::Only(Plane::Kernel),
            PlaneChoice::Tun => Self::Only(Plane::Tun),
            PlaneChoice::Netstack => Self::Only(Plane::Netstack),
        }
    }
}

/// The resolvers that were given, else this machine's.
pub(crate) fn upstreams(given: &[Upstream], ca: Option<&Path>) -> Upstreams {
    if given.is_empty() {
        Upstreams::system()
    } else {
        Upstreams::Fixed {
            servers: given.to_owned(),
            ca: ca.map(Path::to_owned),
        }
    }
}

/// How a gateway is reached and what its clients are told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GatewayOptions {
    /// Address or name under which clients reach this machine, and the port if it differs from --listen.
    ///
    /// An IPv6 address with a port stands in brackets. Default: this machine's own address towards the Internet; a
    /// warning says if that is a private one.
    #[arg(long, value_name = "HOST[:PORT]", value_parser = endpoint)]
    pub(crate) endpoint: Option<Endpoint>,
    /// UDP port to listen on, 0 to 65535; 0 takes a free one [default: 51820].
    ///
    /// If nobody asks for a port and 51820 is taken, `launch` takes another one and says so; `serve` ends with an error.
    #[arg(long, value_name = "PORT", env = "ADIT_LISTEN", hide_env_values = true)]
    pub(crate) listen: Option<u16>,
    /// Network of the peers; the gateway has its first address. May be repeated, for both families.
    ///
    /// Default: 10.13.13.0/24 and a random fd…/64; `serve` keeps the one that it has made. A lease on the kernel or tun
    /// plane takes another one of 10.64.0.0/10 if this host has 10.13.13.0/24 already.
    #[arg(long, value_name = "CIDR", value_parser = subnet)]
    pub(crate) subnet: Vec<IpNet>,
    /// DNS servers and search domains for the clients, between commas; `none` leaves them their own.
    ///
    /// Default: the gateway itself, which forwards to this machine's resolvers.
    #[arg(long, value_name = "ADDRESS,…", value_parser = client_dns)]
    pub(crate) dns: Option<ClientDns>,
    /// Resolver that the gateway's own DNS forwards to; may be repeated.
    ///
    /// `ADDRESS[:PORT]`, port 53 unless given, or over TLS `tls://ADDRESS[:PORT][#NAME]`, port 853 unless given; the
    /// certificate must be made out to NAME, else to the address. Default: this machine's, from /etc/resolv.conf.
    #[arg(long, value_name = "ADDRESS", value_parser = dns_upstream, env = "ADIT_DNS_UPSTREAM", hide_env_values = true,
        value_delimiter = ',')]
    pub(crate) dns_upstream: Vec<Upstream>,
    /// File with the certificates, in PEM, of those who may sign for resolvers over TLS.
    ///
    /// Default: the authorities that web browsers trust.
    #[arg(long, value_name = "FILE", value_parser = OsStringValueParser::new().try_map(certificates), env = "ADIT_DNS_CA",
        hide_env_values = true)]
    pub(crate) dns_ca: Option<PathBuf>,
    /// Networks that the clients send through the tunnel, between commas [default: 0.0.0.0/0, ::/0].
    #[arg(long, value_name = "CIDR,…", value_parser = networks)]
    pub(crate) allowed_ips: Option<Networks>,
    /// Largest packet inside the tunnel, in bytes, 1280 to 9000 [default: 1420].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1280..=9000))]
    pub(crate) mtu: Option<u16>,
    /// Who handles the packets.
    #[arg(long, value_enum, default_value_t, env = "ADIT_PLANE", hide_env_values = true)]
    pub(crate) plane: PlaneChoice,
}

/// Networks between commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Networks(pub(crate) Vec<IpNet>);

/// DNS servers and search domains between commas, or the word `none`, which is an empty list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientDns(pub(crate) Vec<Host>);

fn endpoint(text: &str) -> Result<Endpoint, String> {
    text.parse()
        .map_err(|error: gateway::reach::EndpointError| error.to_string())
}

fn subnet(text: &str) -> Result<IpNet, String> {
    let network: IpNet = text
        .parse()
        .map_err(|_| "not a network such as 10.13.13.0/24 or fd00::/64".to_owned())?;
    if network.max_prefix_len() - network.prefix_len() < 2 {
        return Err("has no room for a gateway and a peer".into());
    }
    if network.trunc() != network {
        return Err(format!(
            "has bits set behind its prefix; {} is the network",
            network.trunc()
        ));
    }
    Ok(network)
}

fn client_dns(text: &str) -> Result<ClientDns, String> {
    if text == "none" {
        return Ok(ClientDns(Vec::new()));
    }
    non_empty(environment::dns(text)?).map(ClientDns)
}

fn dns_upstream(text: &str) -> Result<Upstream, String> {
    text.parse().map_err(|error: upstream::UpstreamError| error.to_string())
}

/// A file with certificates in it.
fn certificates(path: OsString) -> Result<PathBuf, DnsError> {
    let path = PathBuf::from(path);
    dns::check_certificates(&path).map(|()| path)
}

/// Resolvers that can be asked beside each other.
pub(crate) fn check_upstreams(servers: &[Upstream]) -> anyhow::Result<()> {
    upstream::check(servers).map_err(|problem| failure::usage(format!("--dns-upstream: {problem}")))
}

fn networks(text: &str) -> Result<Networks, String> {
    non_empty(environment::networks(text)?).map(Networks)
}

fn non_empty<T>(items: Vec<T>) -> Result<Vec<T>, String> {
    if items.is_empty() {
        Err("names nothing".into())
    } else {
        Ok(items)
    }
}

/// Subnets that do not overlap and hold the gateway and every peer.
pub(crate) fn check_subnets(subnets: &[IpNet], peers: usize) -> anyhow::Result<()> {
    for (index, subnet) in subnets.iter().enumerate() {
        if let Some(other) = subnets[..index]
            .iter()
            .find(|other| other.contains(subnet) || subnet.contains(*other))
        {
            return Err(failure::usage(format!("--subnet {subnet} overlaps --subnet {other}")));
        }
        let bits = subnet.max_prefix_len() - subnet.prefix_len();
        // An IPv4 network's first and last address are not given out, and one is the gateway's.
        let room = if bits >= 32 { usize::MAX } else { (1_usize << bits) - 3 };
        if peers > room {
            return Err(failure::usage(format!(
                "the network {subnet} has room for {room} peers, {peers} are asked for; choose a larger one: \
                 --subnet, or INTERNAL_SUBNET for `serve`"
            )));
        }
    }
    Ok(())
}
