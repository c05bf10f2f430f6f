//! Flows of datagrams, UDP and echo: packets go to a connected socket and come from it, without a stack between.

use std::{
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{self, RecvFlags, SendFlags},
};

use super::{
    config::Timeouts,
    counters::Tally,
    flows::Key,
    gather::{Gathered, Spare},
    mailbox::Mailbox,
    output::Output,
    server::Server,
    sys,
};
use crate::{
    engine::Peer,
    ip::{
        self, Packet, UDP_HEADER_LEN,
        header::{Header, write_udp},
        icmp::{self, Echo, EchoKind},
    },
    time::Time,
    udp::batch,
};

/// Most errors that a flow tells, and echoes that it receives, in one turn.
const TURN_LEN: usize = 32;

/// When so many datagrams came at once the kernel is asked to join those that follow.
const WORTH_JOINING: usize = 8;

/// A hop limit up to this one is that of somebody who looks for the routers on the way, and is kept.
const TRACING_HOP_LIMIT: u8 = 32;

/// Most bytes of a lost datagram that are quoted to its sender.
const QUOTE_LEN: usize = 512;

/// One flow's socket, and what is known of it.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: OwnedFd,
    /// The socket's family, which is not the client's where a service is on a loopback address of the other.
    is_v6: bool,
    dont_fragment: Option<bool>,
    hop_limit: Option<u8>,
    has_reply: bool,
    last_used: Time,
    /// Datagrams for the server that are to go out at the end of the batch.
    gathered: Option<Gathered>,
    /// Datagrams of this length and longer go out one by one, for the kernel refused to cut them.
    group_below: usize,
    /// Whether the kernel was asked to join what comes. It is once that is worth a system call.
    joins: bool,
    pub(super) is_readable: bool,
    pub(super) has_error: bool,
    /// What the kernel said at once to a datagram, and the length that it takes.
    failure: Option<icmp::Error>,
}

impl Datagrams {
    /// Opens a UDP flow to a server.
    pub(super) fn open_udp(now: Time, server: Server) -> Result<Self, Errno> {
        let socket = sys::open_udp(server.address, server.source)?;
        Ok(Self::new(now, socket, server.address.is_ipv6(), batch::cuts()))
    }

    /// Opens an echo flow to a host.
    pub(super) fn open_echo(now: Time, host: IpAddr) -> Result<Self, Errno> {
        Ok(Self::new(now, sys::open_echo(host)?, host.is_ipv6(), false))
    }

    fn new(now: Time, socket: OwnedFd, is_v6: bool, can_group: bool) -> Self {
        Self {
            socket,
            is_v6,
            dont_fragment: None,
            hop_limit: None,
            has_reply: false,
            last_used: now,
            gathered: None,
            // On a socket for echoes the kernel would send all that is handed over as one.
            group_below: if can_group { usize::MAX } else { 0 },
            joins: false,
            is_readable: false,
            has_error: false,
            failure: None,
        }
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// When the flow ends, if nothing more comes.
    pub(super) fn due(&self, key: &Key, timeouts: &Timeouts) -> Time {
        self.last_used + self.lifetime(key, timeouts)
    }

    fn lifetime(&self, key: &Key, timeouts: &Timeouts) -> Duration {
        if key.is_echo() {
            timeouts.echo
        } else if key.server.port() == 53 {
            timeouts.dns
        } else if self.has_reply {
            timeouts.udp
        } else {
            timeouts.udp_unreplied
        }
    }

    /// Takes the payload of a client's packet. True: it is the first that waits for [`Datagrams::send_gathered`].
    pub(super) fn forward(
        &mut self,
        now: Time,
        packet: &Packet<'_>,
        payload: &[u8],
        spare: &mut Spare,
        tally: &Tally,
    ) -> bool {
        self.last_used = now;
        let hop_limit = (packet.hop_limit <= TRACING_HOP_LIMIT).then(|| packet.hop_limit.saturating_sub(1).max(1));
        let is_alike = self.dont_fragment == Some(packet.dont_fragment) && self.hop_limit == hop_limit;
        let has_room = self
            .gathered
            .as_ref()
            .is_none_or(|gathered| gathered.has_room_for(payload.len()));
        let is_first = self.gathered.is_none();
        if !is_alike || !has_room {
            self.send_gathered(spare, tally);
            self.prepare(packet.dont_fragment, hop_limit);
        }
        self.gathered.get_or_insert_with(|| spare.take()).push(payload);
        is_first
    }

    /// Sets what the next datagrams have in common.
    fn prepare(&mut self, dont_fragment: bool, hop_limit: Option<u8>) {
        // A packet that was put together from fragments may be taken apart again.
        if self.dont_fragment != Some(dont_fragment) {
            let _ = sys::set_dont_fragment(self.socket.as_fd(), self.is_v6, dont_fragment);
            self.dont_fragment = Some(dont_fragment);
        }
        if self.hop_limit != hop_limit {
            let _ = sys::set_hop_limit(self.socket.as_fd(), self.is_v6, hop_limit);
            self.hop_limit = hop_limit;
        }
    }

    /// Passes on what was gathered. True: the flow wants a turn, to say what went wrong.
    pub(super) fn send_gathered(&mut self, spare: &mut Spare, tally: &Tally) -> bool {
        if let Some(gathered) = self.gathered.take() {
            for (bytes, segment) in gathered.stretches() {
                self.send_stretch(bytes, segment, tally);
            }
            spare.give(gathered);
        }
        self.has_error
    }

    /// Sends datagrams of equal length, the last of which may be shorter, in one call if the kernel cuts them.
    fn send_stretch(&mut self, bytes: &[u8], segment: usize, tally: &Tally) {
        if bytes.len() <= segment {
            return self.send(bytes, tally);
        }
        if let Some(length) = u16::try_from(segment).ok().filter(|_| segment < self.group_below) {
            match batch::send_group(self.socket.as_fd(), bytes, length) {
                Ok(()) => return,
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => {
                    return tally.outside_full.add(bytes.len().div_ceil(segment));
                }
                // No room for a segment on the path, or no kernel or device that cuts: as they are, they may pass.
                Err(Errno::INVAL | Errno::MSGSIZE | Errno::IO | Errno::OPNOTSUPP) => self.group_below = segment,
                // Commonly the error of an earlier datagram, which waits in the queue.
                Err(_) => self.has_error = true,
            }
        }
        for datagram in bytes.chunks(segment) {
            self.send(datagram, tally);
        }
    }

    /// Sends one datagram.
    fn send(&mut self, payload: &[u8], tally: &Tally) {
        let mut sent = net::send(&self.socket, payload, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        if !matches!(
            sent,
            Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::MSGSIZE)
        ) {
            // Commonly the error of an earlier datagram, which waits in the queue; this one was not sent.
            self.has_error = true;
            sent = net::send(&self.socket, payload, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
        match sent {
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => tally.outside_full.one(),
            Err(error) => {
                self.has_error = true;
                self.failure = sys::explain(error, sys::path_mtu(self.socket.as_fd(), self.is_v6));
            }
        }
    }

    /// Brings what came to the client. True: more may wait.
    pub(super) fn turn(
        &mut self,
        key: &Key,
        peer: &Arc<Peer>,
        mailbox: &mut Mailbox,
        out: &mut Output<'_>,
        tally: &Tally,
    ) -> bool {
        if self.has_error {
            self.tell_errors(key, peer, out, tally);
        }
        if key.is_echo() {
            self.bring_echoes(key, peer, mailbox.scratch(), out, tally);
        } else if self.is_readable {
            self.bring_datagrams(key, peer, mailbox, out, tally);
        }
        self.is_readable
    }

    /// Brings the server's datagrams, as many as one call takes.
    fn bring_datagrams(
        &mut self,
        key: &Key,
        peer: &Arc<Peer>,
        mailbox: &mut Mailbox,
        out: &mut Output<'_>,
        tally: &Tally,
    ) {
        match mailbox.receive(self.socket.as_fd()) {
            Ok(may_have_more) => {
                self.is_readable = may_have_more;
                let mut count = 0;
                for datagram in mailbox.datagrams() {
                    out.udp(peer, key, datagram);
                    count += 1;
                }
                if count > 0 {
                    (self.last_used, self.has_reply) = (out.now, true);
                }
                if count >= WORTH_JOINING && !self.joins {
                    // Where the kernel cannot, they come as they are.
                    let _ = batch::join(self.socket.as_fd());
                    self.joins = true;
                }
            }
            Err(error) => self.end_receiving(error, key, peer, out, tally),
        }
    }

    /// Brings a host's answers to echo requests.
    fn bring_echoes(&mut self, key: &Key, peer: &Arc<Peer>, scratch: &mut [u8], out: &mut Output<'_>, tally: &Tally) {
        for _ in 0..TURN_LEN {
            if !self.is_readable {
                return;
            }
            match net::recv(&self.socket, &mut *scratch, RecvFlags::DONTWAIT) {
                Ok((len, _)) => {
                    (self.last_used, self.has_reply) = (out.now, true);
                    bring_echo(key, peer, &mut scratch[..len], out);
                }
                Err(error) => self.end_receiving(error, key, peer, out, tally),
            }
        }
    }

    /// Takes a call that brought nothing: nothing waits, or something went wrong, which the client is told.
    fn end_receiving(&mut self, error: Errno, key: &Key, peer: &Arc<Peer>, out: &mut Output<'_>, tally: &Tally) {
        match error {
            Errno::AGAIN => self.is_readable = false,
            Errno::INTR => {}
            _ => {
                self.has_error = true;
                self.tell_errors(key, peer, out, tally);
            }
        }
    }

    /// Tells the client what became of its datagrams.
    fn tell_errors(&mut self, key: &Key, peer: &Arc<Peer>, out: &mut Output<'_>, tally: &Tally) {
        self.has_error = false;
        let mut quote = [0; QUOTE_LEN];
        let mut told = false;
        for _ in 0..TURN_LEN {
            let Some(trouble) = sys::next_trouble(self.socket.as_fd(), &mut quote) else {
                break;
            };
            tell(
                key,
                peer,
                trouble.error,
                trouble.reporter,
                &quote[..trouble.quoted],
                out,
                tally,
            );
            told = true;
        }
        if let Some(error) = self.failure.take()
            && !told
        {
            tell(key, peer, error, None, &[], out, tally);
        }
    }
}

/// Writes the client's own packet anew, as far as it is known, and the error about it.
fn tell(
    key: &Key,
    peer: &Arc<Peer>,
    error: icmp::Error,
    reporter: Option<IpAddr>,
    quoted: &[u8],
    out: &mut Output<'_>,
    tally: &Tally,
) {
    match error {
        icmp::Error::TooBig { .. } => tally.too_big.one(),
        icmp::Error::HopLimitExceeded => tally.hop_limit_exceeded.one(),
        icmp::Error::NetworkUnreachable
        | icmp::Error::HostUnreachable
        | icmp::Error::ProtocolUnreachable
        | icmp::Error::PortUnreachable
        | icmp::Error::Prohibited
        | icmp::Error::ReassemblyTimeExceeded => tally.unreachable.one(),
    }
    let mut original = [0; ip::V6_HEADER_LEN + UDP_HEADER_LEN + QUOTE_LEN];
    let header = Header::new(key.client.ip(), key.server.ip(), key.protocol);
    let start = header.len();
    let len = if key.is_echo() {
        // An echo comes back with its header, in which the identifier is the socket's; or not at all.
        let blank = Echo {
            kind: EchoKind::Request,
            ident: 0,
            sequence: 0,
            data: &[],
        };
        let echo = Echo::parse_message(EchoKind::Request, quoted).unwrap_or(blank);
        let echo = Echo {
            ident: key.client.port(),
            ..echo
        };
        let len = echo.message_len();
        echo.write_message(&mut original[start..start + len], key.client.ip(), key.server.ip());
        len
    } else {
        let len = UDP_HEADER_LEN + quoted.len();
        original[start + UDP_HEADER_LEN..start + len].copy_from_slice(quoted);
        write_udp(
            &mut original[start..start + len],
            (key.client.ip(), key.client.port()),
            (key.server.ip(), key.server.port()),
        );
        len
    };
    header.write(&mut original, len);
    let Ok(packet) = Packet::parse(&original[..start + len]) else {
        return;
    };
    // A loopback address means another host to the client.
    let reporter = reporter.filter(|reporter| reporter.is_ipv6() == key.is_v6() && !reporter.is_loopback());
    out.error(peer, reporter.unwrap_or(key.server.ip()), &packet, error);
}

fn bring_echo(key: &Key, peer: &Arc<Peer>, message: &mut [u8], out: &mut Output<'_>) {
    // The first byte is the type; ping sockets receive replies only, but for errors, which go another way.
    let is_reply = message.first() == Some(&if key.is_v6() { 129 } else { 0 });
    if !is_reply || message.len() < icmp::HEADER_LEN {
        return;
    }
    icmp::set_echo_ident(message, key.client.port(), key.server.ip(), key.client.ip());
    out.datagram(
        peer,
        &Header::new(key.server.ip(), key.client.ip(), key.protocol),
        message,
    );
}
