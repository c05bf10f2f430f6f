//! One TCP connection through a tunnel of its own: no interface, no root, and no thread.
//!
//! Pure, as [`Engine`] is: datagrams in and out, bytes in and out. The caller reads datagrams from a UDP socket into
//! [`Call::handle_datagram`], and after each batch of calls sends what [`Call::poll_datagrams`] gives out; it calls
//! [`Call::handle_timeout`] once [`Call::poll_timeout`] falls due.
//!
//! ```text
//!   UDP socket ─▶ handle_datagram ─▶ Engine ─▶ Opening, then Connection ─▶ read
//!              ◀─ poll_datagrams  ◀─ Engine ◀─ Opening, then Connection ◀─ write
//! ```

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use wg::{AllowedIpChange, IpNet, PeerUpdate, PrivateKey, PublicKey, Update};

use crate::{
    buffer::{Inbox, Outbox},
    engine::{Engine, Peer},
    ip::{self, Packet, header::Header},
    netstack::tcp::{self, Connection, End, Opened, Opening, Segment},
    time::Time,
};

/// Largest inner packet: the least that IPv6 lets a path carry (RFC 8200, section 5), so that it passes everywhere.
const MTU: u16 = 1_280;

/// What either end may have under way, in bytes.
const WINDOW: u32 = 256 * 1024;

/// The ends of a call.
#[derive(Clone, Debug)]
pub struct Ends {
    /// The caller's key.
    pub private_key: PrivateKey,
    /// The key of the other end of the tunnel.
    pub public_key: PublicKey,
    /// Where that is reached.
    pub endpoint: SocketAddr,
    /// The caller's address and port inside the tunnel.
    pub source: SocketAddr,
    /// What it connects to there.
    pub server: SocketAddr,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The tunnel's handshake is not answered.
    Calling,
    /// The tunnel stands, and TCP's SYN is not answered.
    Reached,
    /// Nobody listens.
    Refused,
    /// It is connected.
    Open,
    /// It was connected. What came before may still be read.
    Ended(End),
}

/// A call.
pub struct Call {
    engine: Engine,
    peer: Arc<Peer>,
    ends: Ends,
    inbox: Inbox,
    outbox: Outbox,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Opening(Opening),
    Open(Box<Connection>),
    Refused,
}

impl Call {
    /// Begins a call. `wall` is the time of day at `now`; for one key it has to grow from call to call, since the other end
    /// takes an initiation only if it is newer than all before. `random` fills a buffer with random bytes that nobody
    /// can foresee.
    ///
    /// `None` if both ends have one key, or the source and the server are not of one family: there is no such tunnel.
    pub fn begin(now: Time, wall: SystemTime, random: fn(&mut [u8]), ends: Ends) -> Option<Self> {
        if ends.source.is_ipv4() != ends.server.is_ipv4() {
            return None;
        }
        let engine = Engine::new(now, wall, random);
        engine.set_mtu(MTU.into());
        let mut outbox = Outbox::new();
        let mut peer = PeerUpdate::new(ends.public_key);
        peer.endpoint = Some(ends.endpoint);
        peer.allowed_ips = vec![AllowedIpChange::Add(IpNet::from(ends.server.ip()))];
        let update = Update {
            private_key: Some(ends.private_key.clone()),
            peers: vec![peer],
            ..Update::default()
        };
        engine.apply(now, &update, &mut outbox);
        let peer = engine.peer(&ends.public_key)?;
        let mut isn = [0; 4];
        random(&mut isn);
        let opening = Opening::new(now, &config(&ends), u32::from_ne_bytes(isn));
        Some(Self {
            engine,
            peer,
            ends,
            inbox: Inbox::new(1),
            outbox,
            way: Way::Opening(opening),
        })
    }

    /// Takes a datagram that came from `source`.
    pub fn handle_datagram(&mut self, now: Time, source: SocketAddr, datagram: &[u8]) {
        self.inbox.clear();
        self.inbox.push(source, datagram);
        let way = &mut self.way;
        let ends = &self.ends;
        self.engine.open(now, &mut self.inbox, &mut self.outbox, |_, bytes| {
            way.take(now, ends, bytes);
        });
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Time> {
        let of_way = match &self.way {
            Way::Opening(opening) => Some(opening.poll_timeout()),
            Way::Open(connection) => connection.poll_timeout(),
            Way::Refused => None,
        };
        [self.engine.poll_timeout(), of_way].into_iter().flatten().min()
    }

    /// Does what is due by time.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.engine.poll_timeout().is_some_and(|due| due <= now) {
            self.engine.handle_timeout(now, &mut self.outbox);
        }
        if let Way::Open(connection) = &mut self.way
            && connection.poll_timeout().is_some_and(|due| due <= now)
        {
            connection.handle_timeout(now);
        }
    }

    /// Gives out all datagrams that are to be sent to the endpoint.
    pub fn poll_datagrams(&mut self, now: Time, mut send: impl FnMut(&[u8])) {
        let Self {
            engine,
            peer,
            ends,
            outbox,
            way,
            ..
        } = self;
        let mut emit =
            |header: &tcp::Header, payload: (&[u8], &[u8])| lay(now, engine, peer, ends, header, payload, outbox);
        match way {
            Way::Opening(opening) => opening.poll_transmit(now, |header| emit(header, (&[], &[]))),
            Way::Open(connection) => connection.poll_transmit(now, 0, &mut |header, payload| {
                emit(header, payload);
                true
            }),
            Way::Refused => {}
        }
        engine.seal(now, outbox);
        for run in outbox.runs() {
            run.datagrams().for_each(&mut send);
        }
        outbox.clear();
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        match &self.way {
            Way::Opening(_) => {
                let status = self.engine.status();
                let is_reached = status.peers.values().any(|peer| peer.latest_handshake.is_some());
                if is_reached {
                    Progress::Reached
                } else {
                    Progress::Calling
                }
            }
            Way::Open(connection) => connection.end().map_or(Progress::Open, Progress::Ended),
            Way::Refused => Progress::Refused,
        }
    }

    /// Takes as much of this as there is room for, and says how much that is; nothing before the call is open.
    pub fn write(&mut self, data: &[u8]) -> usize {
        match &mut self.way {
            Way::Open(connection) => connection.write(data),
            Way::Opening(_) | Way::Refused => 0,
        }
    }

    /// Hands over what came.
    pub fn read(&mut self, now: Time, mut take: impl FnMut(&[u8])) {
        if let Way::Open(connection) = &mut self.way {
            let (first, second) = connection.readable();
            let len = first.len() + second.len();
            if len > 0 {
                take(first);
                take(second);
                connection.consume(now, len);
            }
        }
    }

    /// Whether the other end has said that nothing more comes, and all that came was read.
    pub fn is_read_finished(&self) -> bool {
        match &self.way {
            Way::Open(connection) => connection.is_read_finished(),
            Way::Opening(_) => false,
            Way::Refused => true,
        }
    }

    /// Ends the connection at once; what [`poll_datagrams`](Self::poll_datagrams) gives out then says so.
    pub fn hang_up(&mut self) {
        if let Way::Open(connection) = &mut self.way {
            connection.abort();
        }
    }
}

impl Way {
    /// Takes a packet of the peer's, whose source the engine has checked.
    fn take(&mut self, now: Time, ends: &Ends, bytes: &[u8]) {
        let Ok(packet) = Packet::parse(bytes) else { return };
        let is_ours = (packet.source, packet.destination) == (ends.server.ip(), ends.source.ip())
            && packet.protocol == ip::TCP
            && packet.fragment.is_none()
            && packet.is_payload_intact();
        let Some(segment) = Segment::parse(packet.payload).filter(|_| is_ours) else {
            return;
        };
        if (segment.source_port, segment.destination_port) != (ends.server.port(), ends.source.port()) {
            return;
        }
        match self {
            Self::Opening(opening) => match opening.handle_segment(now, &segment) {
                Opened::Waiting => {}
                Opened::Refused => *self = Self::Refused,
                Opened::Connection(connection) => *self = Self::Open(connection),
            },
            Self::Open(connection) => connection.handle_segment(now, &segment),
            Self::Refused => {}
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("endpoint", &self.ends.endpoint)
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

fn config(ends: &Ends) -> tcp::Config {
    let usual = if ends.server.is_ipv4() {
        tcp::Config::ipv4(MTU)
    } else {
        tcp::Config::ipv6(MTU)
    };
    tcp::Config {
        receive_initial: WINDOW / 4,
        receive_max: WINDOW,
        send_max: WINDOW,
        // Whoever calls has a limit of its own.
        keepalive: None,
        give_up: Duration::from_secs(120),
        ..usual
    }
}

/// Lays one segment into the tunnel.
fn lay(
    now: Time,
    engine: &Engine,
    peer: &Arc<Peer>,
    ends: &Ends,
    header: &tcp::Header,
    (first, second): (&[u8], &[u8]),
    outbox: &mut Outbox,
) {
    let (source, server) = (ends.source, ends.server);
    let outer = Header::new(source.ip(), server.ip(), ip::TCP);
    let tcp_len = header.len() + first.len() + second.len();
    let fill = |buffer: &mut [u8]| {
        let at = outer.write(buffer, tcp_len);
        let segment = &mut buffer[at..];
        let start = header.write(source.port(), server.port(), segment);
        segment[start..start + first.len()].copy_from_slice(first);
        segment[start + first.len()..].copy_from_slice(second);
        tcp::write_checksum(source.ip(), server.ip(), segment);
    };
    // What is lost here TCP sends again.
    let _sent = engine.send(now, peer, outer.len() + tcp_len, fill, outbox);
}

#[cfg(test)]
mod tests;
