//! Our connection against the client of smoltcp, a stack that we did not write.

use std::{collections::VecDeque, time::Duration};

use dataplane::{netstack::tcp::Config, time::Time};
use smoltcp::{
    iface::{Config as InterfaceConfig, Interface, SocketHandle, SocketSet},
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp::{Socket, SocketBuffer, State},
    time::Instant,
    wire::{HardwareAddress, IpCidr, IpProtocol, Ipv4Packet, Ipv4Repr},
};

use crate::{
    endpoint::{Application, CLIENT, CLIENT_PORT, SERVER, SERVER_PORT, Server, byte},
    link::{Chance, Endpoint, Link, Outcome, Path},
};

/// The packets of an interface: what came and what goes.
#[derive(Default)]
struct Packets {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

struct Incoming(Vec<u8>);
struct Outgoing<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Packets {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Incoming, Outgoing<'_>)> {
        let packet = self.incoming.pop_front()?;
        Some((Incoming(packet), Outgoing(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1420;
        capabilities
    }
}

/// smoltcp's client and its application.
pub(crate) struct Client {
    packets: Packets,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    pub(crate) to_write: u64,
    pub(crate) written: u64,
    pub(crate) read: u64,
    pub(crate) read_finished: bool,
    /// Closes once it has read everything, rather than once it has written everything.
    pub(crate) closes_last: bool,
    poll_at: Option<Time>,
}

fn instant(now: Time) -> Instant {
    Instant::from_micros(i64::try_from(now.as_nanos() / 1000).expect("a small time"))
}

impl Client {
    pub(crate) fn new(now: Time, buffer: usize, to_write: u64, timestamps: bool) -> Self {
        let mut packets = Packets::default();
        let mut interface = Interface::new(InterfaceConfig::new(HardwareAddress::Ip), &mut packets, instant(now));
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(CLIENT.into(), 24)).expect("room");
        });
        interface.routes_mut().add_default_ipv4_route(CLIENT).expect("room");
        let mut socket = Socket::new(SocketBuffer::new(vec![0; buffer]), SocketBuffer::new(vec![0; buffer]));
        if timestamps {
            socket.set_tsval_generator(Some(|| 4711));
        }
        socket
            .connect(interface.context(), (SERVER, SERVER_PORT), CLIENT_PORT)
            .expect("a new socket");
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Self {
            packets,
            interface,
            sockets,
            handle,
            to_write,
            written: 0,
            read: 0,
            read_finished: false,
            closes_last: false,
            poll_at: Some(now),
        }
    }

    pub(crate) fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    fn work(&mut self) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        while socket.can_recv() {
            let from = self.read;
            let len = socket
                .recv(|data| {
                    for (index, &found) in data.iter().enumerate() {
                        assert_eq!(
                            found,
                            byte(from + index as u64),
                            "byte {} at the client",
                            from + index as u64
                        );
                    }
                    (data.len(), data.len())
                })
                .expect("data");
            self.read += len as u64;
        }
        if !socket.may_recv() && !matches!(socket.state(), State::SynSent | State::Closed) {
            self.read_finished = true;
        }
        while self.written < self.to_write && socket.can_send() {
            let (from, most) = (self.written, self.to_write - self.written);
            let len = socket
                .send(|room| {
                    let len = room.len().min(usize::try_from(most).unwrap_or(usize::MAX));
                    for (index, slot) in room[..len].iter_mut().enumerate() {
                        *slot = byte(from + index as u64);
                    }
                    (len, len)
                })
                .expect("room");
            self.written += len as u64;
        }
        let may_close = self.written == self.to_write && (!self.closes_last || self.read_finished);
        if may_close && matches!(socket.state(), State::Established | State::CloseWait) {
            socket.close();
        }
    }
}

impl Endpoint for Client {
    fn receive(&mut self, _: Time, segment: &[u8]) {
        let repr = Ipv4Repr {
            src_addr: SERVER,
            dst_addr: CLIENT,
            next_header: IpProtocol::Tcp,
            payload_len: segment.len(),
            hop_limit: 64,
        };
        let mut packet = vec![0; 20 + segment.len()];
        repr.emit(
            &mut Ipv4Packet::new_unchecked(&mut packet),
            &smoltcp::phy::ChecksumCapabilities::default(),
        );
        packet[20..].copy_from_slice(segment);
        self.packets.incoming.push_back(packet);
    }

    fn transmit(&mut self, now: Time, send: &mut dyn FnMut(&[u8])) {
        let at = instant(now);
        for _ in 0..2 {
            self.interface.poll(at, &mut self.packets, &mut self.sockets);
            self.work();
        }
        self.interface.poll(at, &mut self.packets, &mut self.sockets);
        while let Some(packet) = self.packets.outgoing.pop_front() {
            let packet = Ipv4Packet::new_checked(packet.as_slice()).expect("a packet");
            if packet.next_header() == IpProtocol::Tcp {
                send(packet.payload());
            }
        }
        self.poll_at = self.interface.poll_at(at, &self.sockets).map(|due| {
            let micros = u64::try_from(due.total_micros()).unwrap_or(0) + 1;
            Time::from_nanos(micros * 1000).max(now + Duration::from_micros(1))
        });
    }

    fn timeout(&self) -> Option<Time> {
        self.poll_at
    }
}

fn path(chance: &mut Chance, loss: u64) -> Path {
    let mut path = Path::new(Duration::from_micros(chance.next() % 30_000));
    path.loss = loss;
    path.duplication = [0, 0, 5_000, 50_000][chance.next() as usize % 4];
    path.reordering = [0, 0, 5_000, 100_000][chance.next() as usize % 4];
    path.rate = [0, 1_000_000, 20_000_000][chance.next() as usize % 3];
    path.queue = 100_000;
    path
}

#[test]
fn the_stream_arrives_whole_both_ways_whatever_the_network_does() {
    for seed in 0..200 {
        let mut chance = Chance(seed);
        let loss = [0, 1_000, 10_000, 50_000, 200_000][seed as usize % 5];
        let mut link = Link::new(seed, path(&mut chance, loss), path(&mut chance, loss));
        let most = if loss > 50_000 { 30_000 } else { 600_000 };
        let (up, down) = (chance.next() % most, chance.next() % most);
        let mut application = Application::new(down);
        if chance.is(300_000) {
            application.read_rate = 400_000;
        }
        let isn = if chance.is(500_000) {
            u32::MAX - 1000
        } else {
            chance.next() as u32
        };
        let mut server = Server::new(Config::ipv4(1420), isn, application);
        server.most = [0, 65_000][chance.next() as usize % 2];
        let buffer = [1_000, 20_000, 200_000][chance.next() as usize % 3];
        let mut client = Client::new(link.now, buffer, up, chance.is(500_000));
        client.closes_last = chance.is(500_000);
        let story = format!("seed {seed}: {up} up, {down} down, loss {loss}, buffer {buffer}");
        let outcome = link.run(
            &mut server,
            &mut client,
            Duration::from_secs(900),
            |_, server, client| {
                server.is_closed()
                    && server.application.read_finished
                    && matches!(client.socket().state(), State::Closed | State::TimeWait)
            },
        );
        let state = server
            .connection
            .as_ref()
            .map(|connection| (connection.state(), connection.end()));
        assert_eq!(
            outcome,
            Outcome::Done,
            "{story}: {state:?} {:?}",
            client.socket().state()
        );
        assert_eq!((server.application.read, client.read), (up, down), "{story}: {state:?}");
        assert!(server.application.read_finished && client.read_finished, "{story}");
    }
}
