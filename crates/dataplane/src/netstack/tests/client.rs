//! A WireGuard client in the test's own thread: an engine, a socket, and smoltcp behind them.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rustix::event::{Timespec, epoll};
use smoltcp::{
    iface::{self, Interface, SocketHandle, SocketSet},
    socket::tcp,
    wire::{HardwareAddress, IpAddress, IpCidr},
};
use wg::{AllowedIpChange, PeerUpdate, PrivateKey, PublicKey, Update};

use crate::{
    buffer::{Inbox, Outbox},
    engine::Engine,
    ip::{self, Packet, header::Header},
    netstack::{Config, Plane, Policy},
    time::Time,
    udp::Sockets,
    wire::Wire,
};

/// Longest that a test waits for a fact.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

pub(super) const GATEWAY_V4: &str = "10.13.13.1";
pub(super) const GATEWAY_V6: &str = "fd0d::1";

fn random(buffer: &mut [u8]) {
    getrandom::fill(buffer).unwrap();
}

fn private_key() -> PrivateKey {
    let mut bytes = [0; 32];
    random(&mut bytes);
    PrivateKey::from_random(bytes)
}

fn engine(key: &PrivateKey) -> Arc<Engine> {
    let engine = Engine::new(Time::now(), SystemTime::now(), random);
    let update = Update {
        private_key: Some(key.clone()),
        ..Update::default()
    };
    engine.apply(Time::now(), &update, &mut Outbox::new());
    Arc::new(engine)
}

/// A plane, and what its clients have to know.
pub(super) struct Gateway {
    pub(super) plane: Plane,
    public_key: PublicKey,
}

impl Gateway {
    /// A gateway whose peers may reach this host's loopback, where the tests' servers are.
    pub(super) fn start(change: impl FnOnce(&mut Config)) -> Self {
        let key = private_key();
        let mut config = Config {
            addresses: vec!["10.13.13.1/24".parse().unwrap(), "fd0d::1/64".parse().unwrap()],
            policy: Policy {
                host_loopback: true,
                ..Policy::default()
            },
            ..Config::default()
        };
        change(&mut config);
        let sockets = Arc::new(Sockets::bind(0, 0).unwrap());
        let plane = Plane::start(engine(&key), sockets, config).unwrap();
        Self {
            plane,
            public_key: key.public_key(),
        }
    }

    /// A client whose tunnel addresses end in this number.
    pub(super) fn client(&self, number: u8) -> Client {
        let key = private_key();
        let addresses = [format!("10.13.13.{number}/32"), format!("fd0d::{number:x}/128")];
        let mut peer = PeerUpdate::new(key.public_key());
        peer.allowed_ips = addresses
            .iter()
            .map(|net| AllowedIpChange::Add(net.parse().unwrap()))
            .collect();
        self.apply(peer);
        Client::new(&key, number, self.public_key, self.plane.sockets().port())
    }

    fn apply(&self, peer: PeerUpdate) {
        let (now, mut outbox) = (Time::now(), Outbox::new());
        let update = Update {
            peers: vec![peer],
            ..Update::default()
        };
        self.plane.engine().apply(now, &update, &mut outbox);
        self.plane.wake();
    }

    /// Removes a client.
    pub(super) fn remove(&self, client: &Client) {
        let peer = PeerUpdate {
            remove: true,
            ..PeerUpdate::new(client.public_key)
        };
        self.apply(peer);
    }
}

/// A client of one gateway.
pub(super) struct Client {
    pub(super) public_key: PublicKey,
    engine: Arc<Engine>,
    sockets: Sockets,
    epoll: Arc<OwnedFd>,
    inbox: Inbox,
    outbox: Outbox,
    gateway: PublicKey,
    device: Wire,
    interface: Interface,
    pub(super) tcp: SocketSet<'static>,
    start: Instant,
    pub(super) v4: IpAddr,
    pub(super) v6: IpAddr,
    next_port: u16,
    /// Whether packets stay in [`Client::received`], for a test that looks at them itself.
    pub(super) is_raw: bool,
    /// Length of the largest inner packet that came.
    pub(super) largest: usize,
    /// Inner packets that came, if the client is raw.
    pub(super) received: VecDeque<Vec<u8>>,
}

impl Client {
    fn new(key: &PrivateKey, number: u8, gateway: PublicKey, port: u16) -> Self {
        let engine = engine(key);
        let mut peer = PeerUpdate::new(gateway);
        peer.endpoint = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        peer.allowed_ips = ["0.0.0.0/0", "::/0"]
            .map(|net| AllowedIpChange::Add(net.parse().unwrap()))
            .into();
        engine.apply(
            Time::now(),
            &Update {
                peers: vec![peer],
                ..Update::default()
            },
            &mut Outbox::new(),
        );
        let sockets = Sockets::bind(0, 0).unwrap();
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC).unwrap());
        sockets.watch(&epoll, 0).unwrap();
        let (v4, v6) = (format!("10.13.13.{number}"), format!("fd0d::{number:x}"));
        let (v4, v6): (IpAddr, IpAddr) = (v4.parse().unwrap(), v6.parse().unwrap());
        let start = Instant::now();
        let mut device = Wire::default();
        let mut interface = Interface::new(
            iface::Config::new(HardwareAddress::Ip),
            &mut device,
            smoltcp::time::Instant::ZERO,
        );
        interface.update_ip_addrs(|addresses| {
            for address in [v4, v6] {
                addresses
                    .push(IpCidr::new(address.into(), if address.is_ipv4() { 32 } else { 128 }))
                    .unwrap();
            }
        });
        let routes = interface.routes_mut();
        routes.add_default_ipv4_route(Ipv4Addr::new(10, 13, 13, 1)).unwrap();
        routes.add_default_ipv6_route(GATEWAY_V6.parse().unwrap()).unwrap();
        Self {
            public_key: key.public_key(),
            engine,
            sockets,
            epoll,
            inbox: Inbox::new(16),
            outbox: Outbox::new(),
            gateway,
            device,
            interface,
            tcp: SocketSet::new(Vec::new()),
            start,
            v4,
            v6,
            next_port: 10_000,
            is_raw: false,
            largest: 0,
            received: VecDeque::new(),
        }
    }

    /// Begins a TCP connection, with buffers of this many bytes.
    pub(super) fn connect(&mut self, server: SocketAddr, buffer: usize) -> SocketHandle {
        let buffers = || tcp::SocketBuffer::new(vec![0; buffer]);
        let mut socket = tcp::Socket::new(buffers(), buffers());
        self.next_port += 1;
        let remote = (IpAddress::from(server.ip()), server.port());
        socket
            .connect(self.interface.context(), remote, self.next_port)
            .unwrap();
        self.tcp.add(socket)
    }

    /// A connection's socket.
    pub(super) fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.tcp.get_mut(handle)
    }

    /// Sends an inner packet as it is.
    pub(super) fn send(&mut self, packet: &[u8]) {
        self.device.outgoing.push_back(packet.to_vec());
        self.flush();
    }

    /// Sends an IP packet with this payload.
    pub(super) fn send_ip(&mut self, header: &Header, payload: &[u8]) {
        let mut packet = vec![0; header.len()];
        header.write(&mut packet, payload.len());
        packet.extend_from_slice(payload);
        self.send(&packet);
    }

    /// Sends UDP datagrams, each from a port and none longer than the tunnel takes, as one batch.
    pub(super) fn send_udp_batch(&mut self, server: SocketAddr, datagrams: &[(u16, Vec<u8>)]) {
        let source = if server.is_ipv4() { self.v4 } else { self.v6 };
        let header = Header::new(source, server.ip(), ip::UDP);
        for (port, data) in datagrams {
            let mut packet = vec![0; header.len()];
            header.write(&mut packet, 8 + data.len());
            packet.extend([0; 8]);
            packet.extend_from_slice(data);
            let datagram = &mut packet[header.len()..];
            ip::header::write_udp(datagram, (source, *port), (server.ip(), server.port()));
            self.device.outgoing.push_back(packet);
        }
        self.flush();
    }

    /// Sends a UDP datagram in fragments of the tunnel's MTU.
    pub(super) fn send_udp(&mut self, port: u16, server: SocketAddr, data: &[u8]) {
        let source = if server.is_ipv4() { self.v4 } else { self.v6 };
        let mut datagram = vec![0; 8];
        datagram.extend_from_slice(data);
        ip::header::write_udp(&mut datagram, (source, port), (server.ip(), server.port()));
        let header = Header::new(source, server.ip(), ip::UDP);
        if datagram.len() <= 1_380 {
            return self.send_ip(&header, &datagram);
        }
        let mut offset = 0_usize;
        let ident = u32::from(port) << 8 | u32::from(data[0]);
        for piece in datagram.chunks(1_368) {
            let mut packet = vec![0; header.fragment_len()];
            let more = offset + piece.len() < datagram.len();
            let place = u16::try_from(offset).unwrap();
            header.write_fragment(&mut packet, piece.len(), ident, place, more);
            packet.extend_from_slice(piece);
            self.send(&packet);
            offset += 1_368;
        }
    }

    /// Moves everything that can be moved, and waits for more for a millisecond at most.
    pub(super) fn poll(&mut self) {
        let now = smoltcp::time::Instant::from_micros(i64::try_from(self.start.elapsed().as_micros()).unwrap());
        if !self.is_raw {
            self.interface.poll(now, &mut self.device, &mut self.tcp);
        }
        self.flush();
        let mut events = Vec::with_capacity(4);
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        let _ = epoll::wait(&*self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait));
        let now = Time::now();
        if self.sockets.receive(&mut self.inbox).unwrap() > 0 {
            let (is_raw, device, received) = (self.is_raw, &mut self.device, &mut self.received);
            let largest = &mut self.largest;
            self.engine.open(now, &mut self.inbox, &mut self.outbox, |_, packet| {
                *largest = packet.len().max(*largest);
                if is_raw {
                    received.push_back(packet.to_vec())
                } else {
                    device.incoming.push_back(packet.to_vec())
                }
            });
        }
        if self.engine.poll_timeout().is_some_and(|due| due <= now) {
            self.engine.handle_timeout(now, &mut self.outbox);
        }
        self.flush();
    }

    fn flush(&mut self) {
        let now = Time::now();
        let gateway = self.engine.peer(&self.gateway).unwrap();
        for packet in self.device.outgoing.drain(..) {
            let fill = |buffer: &mut [u8]| buffer.copy_from_slice(&packet);
            let _ = self.engine.send(now, &gateway, packet.len(), fill, &mut self.outbox);
        }
        self.engine.seal(now, &mut self.outbox);
        self.sockets.send(self.outbox.runs());
        self.outbox.clear();
    }

    /// Polls until this is so.
    pub(super) fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < LIMIT, "waited too long until {what}");
            self.poll();
        }
    }

    /// Waits for an inner packet that this accepts; drops those before it.
    pub(super) fn expect<R>(&mut self, what: &str, mut accept: impl FnMut(&Packet<'_>) -> Option<R>) -> R {
        self.is_raw = true;
        let start = Instant::now();
        loop {
            while let Some(bytes) = self.received.pop_front() {
                if let Some(result) = accept(&Packet::parse(&bytes).unwrap()) {
                    return result;
                }
            }
            assert!(start.elapsed() < LIMIT, "waited too long for {what}");
            self.poll();
        }
    }
}
