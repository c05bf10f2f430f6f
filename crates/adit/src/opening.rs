//! Opens the gateway of a lease: with nothing on the disk, and its key in memory alone.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use gateway::{
    Name,
    launcher::Launcher,
    network::Network,
    roster::DEFAULT_SUBNET,
    server::{self, DEFAULT_MTU, Gateway, GatewayError, Peer, Plan},
    upstream::Upstream,
};
use ipnet::{IpNet, Ipv4Net};
use linux::{address, link, netlink::Netlink};
use tunnel::Plane;
use wg::PrivateKey;

use crate::options::{self, DEFAULT_PORT, GatewayOptions, PlaneChoice, check_subnets, check_upstreams};

/// How long others are waited for that open a gateway at the same moment.
const TURN_LIMIT: Duration = Duration::from_secs(10);

/// How often whoever waits looks again.
const GLANCE: Duration = Duration::from_millis(5);

/// Networks that are tried in place of the usual one.
const TRIES: u16 = 256;

/// Which port to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// This one and no other; 0 is any.
    Exactly(u16),
    /// This one, or any if it is taken.
    Prefer(u16),
}

/// How the gateway of a lease is to be opened: checked, every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) listen: Listen,
    pub(crate) subnets: Vec<IpNet>,
    /// Another IPv4 network in place of the usual one, if this host has that already; `None` if somebody chose.
    pub(crate) instead: Option<[u8; 2]>,
    /// Empty: this machine's.
    pub(crate) dns_upstream: Vec<Upstream>,
    /// `None`: the web's.
    pub(crate) dns_ca: Option<PathBuf>,
    pub(crate) mtu: Option<u16>,
    pub(crate) plane: PlaneChoice,
}

/// Where a gateway is about to be opened. Others wait until this is dropped.
#[derive(Debug)]
pub(crate) struct Site {
    plane: Plane,
    /// Its addresses and its peers'.
    pub(crate) network: Network,
    _turn: Turn,
}

impl Site {
    /// The network, once the gateway is open: whoever waits goes on.
    pub(crate) fn into_network(self) -> Network {
        self.network
    }
}

impl Opening {
    /// Checks the options of a gateway that is to have so many peers; `random` makes networks that nobody chose.
    pub(crate) fn new(options: &GatewayOptions, peers: usize, random: [u8; 7]) -> anyhow::Result<Self> {
        let (subnets, instead) = if options.subnet.is_empty() {
            (default_subnets(random), Some([random[0], random[1]]))
        } else {
            (options.subnet.clone(), None)
        };
        check_subnets(&subnets, peers)?;
        check_upstreams(&options.dns_upstream)?;
        Ok(Self {
            listen: options.listen.map_or(Listen::Prefer(DEFAULT_PORT), Listen::Exactly),
            subnets,
            instead,
            dns_upstream: options.dns_upstream.clone(),
            dns_ca: options.dns_ca.clone(),
            mtu: options.mtu,
            plane: options.plane,
        })
    }

    /// Has it be where it was before: in these networks and at this port, where nobody chose others.
    pub(crate) fn resume(&mut self, subnets: &[IpNet], listen_port: u16) {
        if self.instead.take().is_some() {
            self.subnets = subnets.to_owned();
        }
        if let Listen::Prefer(port) = &mut self.listen {
            *port = listen_port;
        }
    }

    /// Chooses the plane and the network. `say` hears why.
    pub(crate) fn site(&self, say: &mut dyn FnMut(&str)) -> anyhow::Result<Site> {
        let turn = Turn::wait();
        let network = Network::new(&self.subnets)?;
        let chosen = self.plane.choose(&network.gateway_addresses())?;
        if self.plane == PlaneChoice::Auto {
            say(&chosen.to_string());
        }
        let plane = chosen.plane;
        let network = match self.instead.filter(|_| plane.has_interface()).and_then(moved) {
            None => network,
            Some(subnet) => {
                say(&format!(
                    "this host has {DEFAULT_SUBNET} already: the peers get {subnet}"
                ));
                let subnets = self.subnets.iter().map(|net| match net {
                    IpNet::V4(_) => subnet.into(),
                    IpNet::V6(_) => *net,
                });
                Network::new(&subnets.collect::<Vec<_>>())?
            }
        };
        Ok(Site {
            plane,
            network,
            _turn: turn,
        })
    }

    /// Opens the gateway, on the port that was asked for, or on another one if nobody insists. `say` hears what people
    /// should know of it.
    pub(crate) fn open(
        &self,
        site: &Site,
        name: String,
        private_key: &PrivateKey,
        peers: &[(Name, Peer)],
        launcher: Option<&Launcher>,
        say: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Gateway> {
        let open = |listen_port| {
            Gateway::open(Plan {
                name: name.clone(),
                plane: site.plane,
                private_key: private_key.clone(),
                listen_port,
                addresses: site.network.gateway_addresses(),
                mtu: self.mtu.unwrap_or(DEFAULT_MTU),
                dns: Some(options::upstreams(&self.dns_upstream, self.dns_ca.as_deref())),
                peer_to_peer: false,
                peers: peers.to_owned(),
                launcher: launcher.cloned(),
            })
        };
        let mut elsewhere = |port| {
            say(&format!("udp {port} is taken: another port is chosen"));
            open(0)
        };
        let gateway = match self.listen {
            Listen::Exactly(port) => open(port),
            Listen::Prefer(port) if !server::is_free(port) => elsewhere(port),
            Listen::Prefer(port) => match open(port) {
                Err(GatewayError::PortTaken { .. }) => elsewhere(port),
                opened => opened,
            },
        }?;
        for wall in gateway.walls() {
            say(&format!("warning: {wall}"));
        }
        if let Some(slowness) = gateway.slowness() {
            say(&format!("note: {slowness}"));
        }
        Ok(gateway)
    }
}

/// 10.13.13.0/24, and a unique local /64 that is this lease's own (RFC 4193, section 3.2).
fn default_subnets(random: [u8; 7]) -> Vec<IpNet> {
    vec![IpNet::V4(DEFAULT_SUBNET), IpNet::V6(Network::random_local(random))]
}

/// A network in place of the usual one, if an interface of this host is in that: two ways to one network are none.
fn moved(random: [u8; 2]) -> Option<Ipv4Net> {
    let addresses = || {
        let mut netlink = Netlink::route()?;
        let links = link::list(&mut netlink)?;
        let mut found = Vec::new();
        for link in links {
            found.extend(address::list(&mut netlink, link.index)?);
        }
        Ok::<_, linux::netlink::Error>(found)
    };
    // A host that does not tell keeps the usual one.
    free_subnet(&addresses().unwrap_or_default(), random)
}

/// The first network that holds none of these addresses; `None` if that is the usual one, or none does.
fn free_subnet(addresses: &[IpNet], [first, second]: [u8; 2]) -> Option<Ipv4Net> {
    let is_free = |subnet: &Ipv4Net| {
        !addresses
            .iter()
            .any(|address| IpNet::V4(*subnet).contains(&address.addr()))
    };
    if is_free(&DEFAULT_SUBNET) {
        return None;
    }
    // 10.64.0.0/10: away from the networks that routers and engines choose by themselves.
    let start = u16::from_be_bytes([first, second]);
    let candidates = (0..TRIES).map(|number| {
        let [second, third] = start.wrapping_add(number).to_be_bytes();
        Ipv4Net::new_assert(Ipv4Addr::new(10, 64 | second & 0x3f, third, 0), 24)
    });
    candidates.into_iter().find(is_free)
}

/// The right to look for what is free, a name, a port, a network, and to take it: one gateway's at a time in a network
/// namespace, as a socket without a file, which ends with the process.
#[derive(Debug)]
struct Turn {
    _socket: Option<UnixDatagram>,
}

impl Turn {
    /// Waits for it; after [`TURN_LIMIT`], or where there are no such sockets, it goes on without.
    fn wait() -> Self {
        let begun = Instant::now();
        loop {
            let socket = SocketAddr::from_abstract_name("adit/opening").and_then(|name| UnixDatagram::bind_addr(&name));
            match socket {
                Ok(socket) => {
                    return Self { _socket: Some(socket) };
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < TURN_LIMIT => {
                    thread::sleep(GLANCE);
                }
                Err(_) => return Self { _socket: None },
            }
        }
    }
}

/// The gateway's own addresses, as its clients' resolvers.
pub(crate) fn own_resolvers(network: &Network) -> impl Iterator<Item = IpAddr> {
    network.gateway_addresses().into_iter().map(|address| address.addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_network_is_taken_only_if_the_usual_one_is_this_host_s() {
        for (addresses, expected) in [
            (&[][..], None),
            (&["10.0.0.1/8", "10.13.14.1/24", "fd00::1/64"], None),
            (&["10.13.13.1/24"], Some("10.66.3.0/24")),
            (&["10.13.13.7/16", "10.66.3.1/24", "10.66.4.1/32"], Some("10.66.5.0/24")),
        ] {
            let addresses: Vec<IpNet> = addresses.iter().map(|text| text.parse().unwrap()).collect();
            let found = free_subnet(&addresses, [2, 3]);
            assert_eq!(found.map(|net| net.to_string()).as_deref(), expected, "{addresses:?}");
        }
        let last = free_subnet(&["10.13.13.1/24".parse().unwrap()], [0xff, 0xff]).unwrap();
        assert_eq!(last.to_string(), "10.127.255.0/24");
    }

    #[test]
    fn one_at_a_time_has_its_turn() {
        let turn = Turn::wait();
        assert!(turn._socket.is_some());
        let waiting = thread::spawn(|| (Turn::wait(), Instant::now()));
        thread::sleep(GLANCE * 4);
        let given = Instant::now();
        drop(turn);
        let (next, got) = waiting.join().unwrap();
        assert!(next._socket.is_some() && got >= given);
    }
}
