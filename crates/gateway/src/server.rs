//! A running gateway: a tunnel, the peers on it, and DNS on its own address.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use ipnet::IpNet;
use tunnel::{
    ApplyError, CloseReason, Count, OpenError, Place, Plane, Refusal, Spec, Tunnel,
    netstack::{self, Protocol},
    uapi,
};
use wg::{AllowedIpChange, PeerUpdate, PresharedKey, PrivateKey, PublicKey, Update, access::Access};

use crate::{
    Name, Taken,
    dns::{DnsError, Forwarder, Names, ZONE},
    firewall::{Firewall, FirewallError},
    launcher::Launcher,
    members::Members,
    upstream::{DNS_PORT, Upstreams},
};

/// Largest inner packet unless another one is asked for, in bytes: 1500 less the headers of WireGuard over IPv6.
pub const DEFAULT_MTU: u16 = 1_420;

/// What a gateway is to be.
#[derive(Debug)]
pub struct Plan {
    /// The interface's name.
    pub name: String,
    /// Who handles its packets.
    pub plane: Plane,
    /// The gateway's own key.
    pub private_key: PrivateKey,
    /// UDP port; 0 takes a free one.
    pub listen_port: u16,
    /// The gateway's own addresses, each with the peers' network.
    pub addresses: Vec<IpNet>,
    /// Largest inner packet in bytes.
    pub mtu: u16,
    /// Who answers for the gateway's DNS; `None` switches it off.
    pub dns: Option<Upstreams>,
    /// Whether peers reach each other, unless a peer's own rules say otherwise. If not, nobody else reaches them through
    /// this host either.
    pub peer_to_peer: bool,
    /// Who may connect.
    pub peers: Vec<(Name, Peer)>,
    /// Who asks the gateway through the tunnel and is none of the peers; `None` is nobody.
    pub launcher: Option<Launcher>,
}

/// One peer as the gateway knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its key.
    pub public_key: PublicKey,
    /// The key that it shares with the gateway alone.
    pub preshared_key: Option<PresharedKey>,
    /// Its addresses in the tunnel.
    pub addresses: Vec<IpAddr>,
    /// Networks behind it.
    pub networks: Vec<IpNet>,
    /// Seconds between keepalives that the gateway sends; `None` is off.
    pub keepalive: Option<u16>,
    /// What it may reach.
    pub access: Access,
}

/// A change to who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerChange {
    /// Lets the peer of this name in, or makes it all that the new description says.
    Set(Name, Peer),
    /// Ends the peer's session at once and lets it in no more. A name that nobody has changes nothing.
    Remove(Name),
}

/// What has happened with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerState {
    /// Its name.
    pub name: Name,
    /// Its key.
    pub public_key: PublicKey,
    /// Where it was last heard from.
    pub endpoint: Option<SocketAddr>,
    /// When its last handshake was completed; `None` is never.
    pub latest_handshake: Option<SystemTime>,
    /// Bytes that the gateway received from it.
    pub received_bytes: u64,
    /// Bytes that the gateway sent to it.
    pub sent_bytes: u64,
}

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The UDP port is taken.
    #[error("udp {port} is taken by another program; choose another port with --listen, 0 for any")]
    PortTaken {
        /// Which port.
        port: u16,
    },
    /// The tunnel could not be opened.
    #[error("cannot open the tunnel: {0}")]
    Open(OpenError),
    /// The tunnel did not take its configuration.
    #[error("cannot set up the tunnel: {0}")]
    Apply(ApplyError),
    /// The tunnel ended by itself.
    #[error("the tunnel ended: {0}")]
    Ended(CloseReason),
    /// Two peers have one key, one address or one network.
    #[error(transparent)]
    Taken(#[from] Taken),
    /// The launcher's port cannot be had.
    #[error("cannot listen for the launcher on {address}: {cause}")]
    Launcher {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        cause: io::Error,
    },
    /// DNS could not be served.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// The kernel does not forward for it.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// A change failed, and what was made of it stays.
    #[error("{cause}; undoing it failed too: {undoing}")]
    NotUndone {
        /// Why it failed.
        cause: Box<Self>,
        /// Why it is not undone.
        undoing: Box<Self>,
    },
}

/// A gateway that takes connections until it is closed or dropped.
#[derive(Debug)]
pub struct Gateway {
    /// Gone before the tunnel that it shows.
    _control: Option<uapi::Server>,
    tunnel: Arc<Tunnel>,
    /// What the kernel does with its packets, on planes where it does; gone after the tunnel.
    firewall: Option<Mutex<Firewall>>,
    addresses: Vec<IpNet>,
    /// Held while peers change: one change at a time.
    members: Mutex<Members>,
    /// What its DNS answers for the peers.
    dns_names: Arc<Names>,
    forwarder: Option<Forwarder>,
    /// Where the launcher knocks, on planes where the kernel has its connections, until somebody takes it.
    knocking: Mutex<Option<TcpListener>>,
}

impl Gateway {
    /// Opens the tunnel, lets the peers in and starts to answer DNS queries.
    ///
    /// # Errors
    ///
    /// [`GatewayError`]; nothing is left behind then.
    pub fn open(plan: Plan) -> Result<Self, GatewayError> {
        raise_descriptor_limit();
        let dns_names = Arc::new(Names::new(&plan.addresses));
        let (tunnel, forwarder) = match plan.plane {
            // The gateway's own addresses exist here; its port 53 is a port like any other.
            Plane::Kernel | Plane::Tun => {
                let addresses = all_addresses(&plan);
                let place = match plan.plane {
                    Plane::Kernel => Place::Kernel { addresses },
                    Plane::Tun | Plane::Netstack => Place::Tun { addresses },
                };
                let tunnel = open(&plan, place)?;
                let addresses = tunnel.addresses().iter();
                let addresses = addresses.filter(|address| plan.addresses.contains(address));
                let listen: Vec<SocketAddr> = addresses.map(|address| (address.addr(), DNS_PORT).into()).collect();
                let start = |upstreams| Forwarder::start(&listen, upstreams, Arc::clone(&dns_names));
                let forwarder = plan.dns.clone().map(start).transpose()?;
                (tunnel, forwarder)
            }
            // The plane hands port 53 to one of the loopback.
            Plane::Netstack => {
                let listen = [(Ipv4Addr::LOCALHOST, 0).into()];
                let start = |upstreams| Forwarder::start(&listen, upstreams, Arc::clone(&dns_names));
                let forwarder = plan.dns.clone().map(start).transpose()?;
                let place = Place::Netstack(Box::new(netstack::Config {
                    addresses: all_addresses(&plan),
                    reserved: plan.launcher.as_ref().map(reserved),
                    services: forwarder.as_ref().map(services).unwrap_or_default(),
                    policy: netstack::Policy {
                        peer_to_peer: plan.peer_to_peer,
                        ..netstack::Policy::default()
                    },
                    ..netstack::Config::default()
                }));
                (open(&plan, place)?, forwarder)
            }
        };
        let tunnel = Arc::new(tunnel);
        // There is no peer yet whose packets it would have to hold back.
        let firewall = match plan.plane {
            Plane::Netstack => None,
            Plane::Kernel | Plane::Tun => Some(Firewall::open(
                &plan.name,
                &plan.addresses,
                plan.peer_to_peer,
                plan.launcher.as_ref(),
            )?),
        };
        let mut knocking = None;
        if let Some(launcher) = &plan.launcher {
            if let Some(netstack) = tunnel.netstack() {
                netstack.set_access(&[(launcher.public_key, Launcher::access())]);
            } else {
                let listener = launcher.listen(&plan.name);
                knocking = Some(listener.map_err(|cause| GatewayError::Launcher {
                    address: (launcher.own.addr(), launcher.port).into(),
                    cause,
                })?);
            }
            tunnel.apply(&launcher.update()).map_err(GatewayError::Apply)?;
        }
        // For `wg show`, which asks the kernel about its own. A gateway does without where there is no place for a socket.
        let start = || uapi::Server::start(&plan.name, Arc::clone(&tunnel) as Arc<dyn uapi::Interface>).ok();
        let control = (tunnel.plane() != Plane::Kernel).then(start).flatten();
        let gateway = Self {
            _control: control,
            tunnel,
            firewall: firewall.map(Mutex::new),
            members: Mutex::new(
                Members::new(&plan.addresses).beside(plan.launcher.as_ref().map(|launcher| launcher.public_key)),
            ),
            addresses: plan.addresses,
            dns_names,
            forwarder,
            knocking: Mutex::new(knocking),
        };
        gateway.set_peers(plan.peers)?;
        Ok(gateway)
    }

    /// Whether changes can be made, as far as keys, addresses and networks of other peers are not in their way.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Taken`].
    pub fn check(&self, changes: &[PeerChange]) -> Result<(), GatewayError> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(members.check(changes)?)
    }

    /// Changes who may connect. Costs as much as the changes do, however many other peers there are; their sessions go
    /// on.
    ///
    /// # Errors
    ///
    /// [`GatewayError`]; nothing is changed then.
    pub fn change(&self, changes: &[PeerChange]) -> Result<(), GatewayError> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        self.change_members(&mut members, changes)
    }

    /// Makes these the peers that may connect. Only what differs is changed.
    ///
    /// # Errors
    ///
    /// As [`Gateway::change`].
    pub fn set_peers(&self, wanted: Vec<(Name, Peer)>) -> Result<(), GatewayError> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = members.difference(wanted);
        self.change_members(&mut members, &changes)
    }

    /// All that hangs on the peers changes here: one step for each. What fails is undone.
    fn change_members(&self, members: &mut Members, changes: &[PeerChange]) -> Result<(), GatewayError> {
        let as_before: Vec<PeerChange> = changes.iter().map(|change| members.undoing(change)).collect();
        self.try_change(members, changes).map_err(|cause| {
            // Rules that stayed would be those of whoever gets the address next.
            match self.try_change(members, &as_before) {
                Ok(()) => cause,
                Err(undoing) => GatewayError::NotUndone {
                    cause: Box::new(cause),
                    undoing: Box::new(undoing),
                },
            }
        })?;
        for change in changes {
            match change {
                PeerChange::Set(name, peer) => self.dns_names.set(name, &peer.addresses),
                PeerChange::Remove(name) => self.dns_names.remove(name),
            }
        }
        Ok(())
    }

    /// Changes the firewall and the tunnel. The members are those of the tunnel, also after an error.
    fn try_change(&self, members: &mut Members, changes: &[PeerChange]) -> Result<(), GatewayError> {
        let update = members.update(changes)?;
        self.change_firewall(|firewall| firewall.change_before(changes))?;
        // On the netstack plane rules are of keys, which may come before their peers.
        let set = changes.iter().filter_map(|change| match change {
            PeerChange::Set(_, peer) => Some((peer.public_key, peer.access.clone())),
            PeerChange::Remove(_) => None,
        });
        self.set_access(set);
        if !update.peers.is_empty() {
            self.tunnel.apply(&update).map_err(GatewayError::Apply)?;
        }
        let before: Vec<PublicKey> = changes.iter().filter_map(|change| members.key_before(change)).collect();
        members.commit(changes);
        let gone = before.into_iter().filter(|key| !members.has_key(key));
        self.set_access(gone.map(|key| (key, Access::OPEN)));
        Ok(self.change_firewall(|firewall| firewall.change_after(changes))?)
    }

    /// Makes the firewall's rules again if somebody has removed them; whether that was so. On the netstack plane nobody can.
    ///
    /// # Errors
    ///
    /// The kernel did not take them: what peers may reach is nobody's word then.
    pub fn mend(&self) -> Result<bool, FirewallError> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mended = false;
        self.change_firewall(|firewall| {
            mended = firewall.mend(members.iter())?;
            Ok(())
        })?;
        Ok(mended)
    }

    /// What others have on this host that may drop what the gateway forwards, each with its remedy; nothing on the netstack
    /// plane, which forwards by itself.
    pub fn walls(&self) -> Vec<String> {
        let firewall = self.firewall.as_ref();
        firewall.map_or_else(Vec::new, |firewall| {
            firewall.lock().unwrap_or_else(PoisonError::into_inner).walls()
        })
    }

    /// What makes the gateway slower on this host than on others, in a sentence; `None` if nothing does.
    pub fn slowness(&self) -> Option<String> {
        let lacks = self.tunnel.lacks();
        (!lacks.is_empty()).then(|| {
            format!(
                "packets move one by one where they could in batches: no {}",
                lacks.join(", no ")
            )
        })
    }

    /// Tells the netstack plane what peers may reach; on the others the firewall knows.
    fn set_access(&self, access: impl Iterator<Item = (PublicKey, Access)>) {
        if let Some(netstack) = self.tunnel.netstack() {
            let access: Vec<_> = access.collect();
            if !access.is_empty() {
                netstack.set_access(&access);
            }
        }
    }

    fn change_firewall(
        &self,
        change: impl FnOnce(&mut Firewall) -> Result<(), FirewallError>,
    ) -> Result<(), FirewallError> {
        let firewall = self.firewall.as_ref();
        firewall.map_or(Ok(()), |firewall| {
            change(&mut firewall.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    /// Where the launcher's connections come, for whoever answers them: on the netstack plane they go to a socket in the
    /// file system instead. Others who come by the tunnel are kept away.
    pub fn launcher_listener(&self) -> Option<TcpListener> {
        self.knocking.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The UDP port that it listens on.
    pub fn listen_port(&self) -> u16 {
        self.tunnel.port()
    }

    /// Who handles its packets.
    pub fn plane(&self) -> Plane {
        self.tunnel.plane()
    }

    /// Its own addresses in the tunnel.
    pub fn addresses(&self) -> &[IpNet] {
        &self.addresses
    }

    /// Where its DNS listens; `None` if it is off.
    pub fn dns_address(&self) -> Option<SocketAddr> {
        self.forwarder.as_ref()?.addresses().first().copied()
    }

    /// A line for the log if the gateway's DNS does not find a peer by its name, which is another's there.
    pub fn dns_note(&self, peer: &Name) -> Option<String> {
        self.forwarder.as_ref()?;
        let lost = self.dns_names.lost(peer);
        let (label, holder) = lost.last()?;
        Some(format!("note: in DNS {label}.{ZONE} is {holder}, not {peer}"))
    }

    /// What its plane counts; nothing on the kernel plane, which does not tell.
    pub fn counts(&self) -> Vec<Count> {
        self.tunnel.counts()
    }

    /// Who was refused a handshake since this was asked last: the first few, the rest is only counted.
    pub fn take_refusals(&self) -> Vec<Refusal> {
        self.tunnel.take_refusals()
    }

    /// What has happened with each peer, in the order in which they came.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Ended`] if the tunnel has ended by itself.
    pub fn peers(&self) -> Result<Vec<PeerState>, GatewayError> {
        if let Some(reason) = self.tunnel.ended() {
            return Err(GatewayError::Ended(reason));
        }
        let status = self.tunnel.status();
        let state = |(name, Peer { public_key, .. }): (&Name, &Peer)| {
            let counted = status.peers.get(public_key).copied().unwrap_or_default();
            PeerState {
                name: name.clone(),
                public_key: *public_key,
                endpoint: status.device.peers.get(public_key).and_then(|peer| peer.endpoint),
                latest_handshake: counted.latest_handshake,
                received_bytes: counted.rx_bytes,
                sent_bytes: counted.tx_bytes,
            }
        };
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(members.iter().map(state).collect())
    }

    /// Ends all connections, and waits until nothing of the gateway is left.
    pub fn close(self) {
        drop(self);
    }
}

impl Peer {
    /// What the gateway accepts from it and sends to it: its addresses, and the networks behind it.
    pub fn allowed_ips(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.addresses
            .iter()
            .copied()
            .map(IpNet::from)
            .chain(self.networks.iter().copied())
    }

    /// What no other peer of its gateway may have: its addresses and networks, as a router compares them.
    pub(crate) fn networks_of_all(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.allowed_ips().map(|network| network.trunc())
    }

    pub(crate) fn update(&self) -> PeerUpdate {
        PeerUpdate {
            preshared_key: self.preshared_key.clone(),
            persistent_keepalive: self.keepalive,
            replace_allowed_ips: true,
            allowed_ips: self.allowed_ips().map(AllowedIpChange::Add).collect(),
            ..PeerUpdate::new(self.public_key)
        }
    }
}

/// Lets this process have as many descriptors as it may: peers ask DNS over TCP, and each connection takes one.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // The usual limit will do if it cannot be raised.
    let _as_it_was = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}

/// Whether a UDP port is free in every family that this machine has.
pub fn is_free(port: u16) -> bool {
    let taken = |address: IpAddr| match UdpSocket::bind((address, port)) {
        Ok(_) => false,
        Err(error) => error.kind() == io::ErrorKind::AddrInUse,
    };
    // One after the other: a socket of both families would be in the way of its own IPv4 half.
    !taken(Ipv4Addr::UNSPECIFIED.into()) && !taken(Ipv6Addr::UNSPECIFIED.into())
}

/// A name for an interface that begins so, ends in a number, and is nobody's.
pub fn free_name(beginning: &str) -> String {
    let is_taken = |name: &String| Path::new("/sys/class/net").join(name).exists() || uapi::Client::open(name).is_ok();
    let mut names = (0_u32..).map(|number| format!("{beginning}{number}"));
    names
        .find(|name| !is_taken(name))
        .expect("numbers do not end before names do")
}

/// Opens the tunnel and gives it its key and its port.
fn open(plan: &Plan, place: Place) -> Result<Tunnel, GatewayError> {
    let tunnel = Tunnel::open(&Spec {
        name: plan.name.clone(),
        mtu: plan.mtu,
        place,
    })
    .map_err(GatewayError::Open)?;
    match tunnel.apply(&update(plan)) {
        Ok(()) => Ok(tunnel),
        Err(ApplyError::Port { port, cause }) if cause.kind() == io::ErrorKind::AddrInUse => {
            Err(GatewayError::PortTaken { port })
        }
        Err(error) => Err(GatewayError::Apply(error)),
    }
}

fn update(plan: &Plan) -> Update {
    Update {
        private_key: Some(plan.private_key.clone()),
        listen_port: Some(plan.listen_port).filter(|port| *port != 0),
        ..Update::default()
    }
}

/// The gateway's own addresses, with that for its launcher, which no peer is told of.
fn all_addresses(plan: &Plan) -> Vec<IpNet> {
    let launcher = plan.launcher.as_ref().map(|launcher| launcher.own);
    plan.addresses.iter().copied().chain(launcher).collect()
}

fn reserved(launcher: &Launcher) -> netstack::Reserved {
    netstack::Reserved {
        peer: launcher.public_key,
        address: launcher.own.addr(),
        port: launcher.port,
        socket: launcher.socket.clone(),
    }
}

/// DNS on the gateway's own addresses.
fn services(forwarder: &Forwarder) -> HashMap<(Protocol, u16), SocketAddr> {
    let address = forwarder.addresses().first().into_iter();
    address
        .flat_map(|address| [Protocol::Tcp, Protocol::Udp].map(|protocol| ((protocol, DNS_PORT), *address)))
        .collect()
}
