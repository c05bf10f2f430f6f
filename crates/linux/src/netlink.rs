//! A netlink socket: requests, acknowledgements and dumps.

use std::{
    fmt, io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable, NlasIterator, Parseable as _,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use zeroize::{Zeroize as _, Zeroizing};

/// Length of a netlink message's header (RFC 3549, section 2.3.2).
const HEADER_LEN: usize = 16;

/// The kernel fills at most 32 KiB at a time in a dump; a single answer is shorter.
const RECEIVE_LEN: usize = 64 * 1024;

/// How often a dump is begun again because something changed meanwhile.
const DUMP_ATTEMPTS: usize = 8;

/// The attribute of an acknowledgement that holds the kernel's explanation (`NLMSGERR_ATTR_MSG`).
const NLMSGERR_ATTR_MSG: u16 = 1;

/// What the kernel refused, and why.
#[derive(Debug)]
pub struct Error {
    /// What was asked for, as `adding the route 10.0.0.0/8`.
    pub action: String,
    /// The kernel's answer, or what went wrong with the socket.
    pub cause: io::Error,
    /// The kernel's own explanation, if it gave one (`NETLINK_EXT_ACK`).
    pub explanation: Option<String>,
}

impl Error {
    /// Whether what should be made is there already.
    pub fn is_there_already(&self) -> bool {
        self.cause.raw_os_error() == Some(libc::EEXIST)
    }

    /// Whether what should be changed or removed is not there.
    pub fn is_missing(&self) -> bool {
        matches!(
            self.cause.raw_os_error(),
            Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL | libc::ENXIO)
        )
    }

    /// Whether the kernel has no such family of addresses, as when it was booted with `ipv6.disable=1`.
    pub fn is_unknown_family(&self) -> bool {
        self.cause.raw_os_error() == Some(libc::EAFNOSUPPORT)
    }

    /// Whether the process lacks the capability, normally `CAP_NET_ADMIN`.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.cause.raw_os_error(), Some(libc::EPERM | libc::EACCES))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.action, self.cause)?;
        match &self.explanation {
            Some(explanation) => write!(f, " ({explanation})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// A netlink socket in the network namespace of the thread that opened it.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl fmt::Debug for Netlink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Netlink").finish_non_exhaustive()
    }
}

/// How one exchange with the kernel ended, if not with success.
enum Failure {
    Refused {
        cause: io::Error,
        explanation: Option<String>,
    },
    Interrupted,
}

impl From<io::Error> for Failure {
    fn from(cause: io::Error) -> Self {
        Self::Refused {
            cause,
            explanation: None,
        }
    }
}

impl Netlink {
    /// Opens a socket for links, addresses, routes and rules.
    ///
    /// # Errors
    ///
    /// The socket's error, if the sandbox forbids netlink.
    pub fn route() -> Result<Self, Error> {
        Self::open(NETLINK_ROUTE)
    }

    /// Opens a socket of the given netlink protocol.
    ///
    /// # Errors
    ///
    /// The socket's error.
    pub fn open(protocol: isize) -> Result<Self, Error> {
        let open = || {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // Old kernels lack these; explanations and filters are then missing, nothing else.
            let _optional = socket.set_ext_ack(true);
            let _optional = socket.set_cap_ack(true);
            let _optional = socket.set_netlink_get_strict_chk(true);
            Ok(Self { socket, sequence: 0 })
        };
        open().map_err(|cause| Error {
            action: "opening a netlink socket".into(),
            cause,
            explanation: None,
        })
    }

    /// Sends one request and waits for its acknowledgement. `flags` are added to `NLM_F_REQUEST | NLM_F_ACK`.
    ///
    /// # Errors
    ///
    /// The kernel's refusal, with `action` as what was tried.
    pub fn request<T>(&mut self, message: T, flags: u16, action: impl FnOnce() -> String) -> Result<(), Error>
    where
        T: NetlinkSerializable,
    {
        self.exchange(message, flags | NLM_F_ACK, &mut |_, _| {})
            .map_err(|failure| error(failure, action))
    }

    /// Sends one request and hands each message of the answer to `each`, as header and payload.
    ///
    /// # Errors
    ///
    /// The kernel's refusal, with `action` as what was tried.
    pub fn query<T>(
        &mut self,
        message: T,
        action: impl FnOnce() -> String,
        mut each: impl FnMut(&NetlinkHeader, &[u8]),
    ) -> Result<(), Error>
    where
        T: NetlinkSerializable,
    {
        self.exchange(message, NLM_F_ACK, &mut each)
            .map_err(|failure| error(failure, action))
    }

    /// Asks for all objects of a kind. What this program's vocabulary cannot express is left out: it is none of ours.
    ///
    /// Begins again if the kernel's tables change meanwhile, so that the answer is of one moment.
    ///
    /// # Errors
    ///
    /// The kernel's refusal, with `action` as what was tried.
    pub fn dump<T, R>(
        &mut self,
        message: &T,
        action: impl FnOnce() -> String,
        mut decode: impl FnMut(&NetlinkHeader, &[u8]) -> Option<R>,
    ) -> Result<Vec<R>, Error>
    where
        T: NetlinkSerializable + Clone,
    {
        let mut attempts = 1;
        loop {
            let mut found = Vec::new();
            let mut each = |header: &NetlinkHeader, payload: &[u8]| found.extend(decode(header, payload));
            match self.exchange(message.clone(), NLM_F_DUMP, &mut each) {
                Ok(()) => return Ok(found),
                Err(Failure::Interrupted) if attempts < DUMP_ATTEMPTS => attempts += 1,
                // A table that changes all the time: what was seen is as good as it gets.
                Err(Failure::Interrupted) => return Ok(found),
                Err(failure @ Failure::Refused { .. }) => return Err(error(failure, action)),
            }
        }
    }

    /// Sends one datagram of many messages, which the kernel takes all or none, as nf_tables does.
    ///
    /// `encode` is given the number of the first message, and gives the datagram and the number of the last message that
    /// is acknowledged.
    ///
    /// # Errors
    ///
    /// The first of the kernel's refusals, with `action` as what was tried.
    pub fn transaction(
        &mut self,
        encode: impl FnOnce(u32) -> (Vec<u8>, u32),
        action: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        self.transact(encode).map_err(|failure| error(failure, action))
    }

    fn transact(&mut self, encode: impl FnOnce(u32) -> (Vec<u8>, u32)) -> Result<(), Failure> {
        let first = self.sequence.wrapping_add(1);
        let (request, last) = encode(first);
        self.sequence = last.wrapping_add(1);
        self.make_room(request.len());
        retry(|| self.socket.send(&request, 0))?;
        let mut buffer = Vec::with_capacity(RECEIVE_LEN);
        let mut refused = Ok(());
        loop {
            buffer.clear();
            retry(|| self.socket.recv(&mut buffer, 0))?;
            let mut datagram = &buffer[..];
            while let Some((header, payload, rest)) = next_message(datagram)? {
                datagram = rest;
                let number = header.sequence_number;
                if number.wrapping_sub(first) > last.wrapping_sub(first) || header.message_type != NLMSG_ERROR {
                    continue;
                }
                let answer = acknowledged(&header, payload);
                if refused.is_ok() {
                    refused = answer;
                }
                // A refusal of the first is one of all, as without the capability.
                if number == last || (number == first && refused.is_err()) {
                    return refused;
                }
            }
        }
    }

    /// Makes the socket's buffers large enough for a datagram of so many bytes, and for its answers, if that is allowed.
    fn make_room(&self, len: usize) {
        use rustix::net::sockopt;
        const LEAST: usize = 200_000;
        if len < LEAST {
            return;
        }
        // The kernel counts its own structures, too.
        let room = len.saturating_mul(2);
        // SAFETY: the descriptor is the socket's, which outlives the borrow.
        #[allow(unsafe_code, reason = "netlink-sys gives its descriptor as a number alone")]
        let socket = unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) };
        if sockopt::set_socket_send_buffer_size_force(socket, room).is_err() {
            let _as_it_is = sockopt::set_socket_send_buffer_size(socket, room);
        }
    }

    fn exchange<T>(
        &mut self,
        message: T,
        flags: u16,
        each: &mut dyn FnMut(&NetlinkHeader, &[u8]),
    ) -> Result<(), Failure>
    where
        T: NetlinkSerializable,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags | NLM_F_REQUEST;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        // What WireGuard is told and tells has keys in it.
        let mut request = Zeroizing::new(vec![0; message.buffer_len()]);
        message.serialize(&mut request);
        retry(|| self.socket.send(&request, 0))?;

        let mut buffer = Scrubbed::new();
        let mut interrupted = false;
        loop {
            let datagram = buffer.receive(&self.socket)?;
            if self.answered(datagram, each, &mut interrupted)? {
                return if interrupted { Err(Failure::Interrupted) } else { Ok(()) };
            }
        }
    }

    /// Reads one datagram of an answer; true if it was the last.
    fn answered(
        &self,
        mut datagram: &[u8],
        each: &mut dyn FnMut(&NetlinkHeader, &[u8]),
        interrupted: &mut bool,
    ) -> Result<bool, Failure> {
        while let Some((header, payload, rest)) = next_message(datagram)? {
            datagram = rest;
            if header.sequence_number != self.sequence {
                continue;
            }
            *interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
            match header.message_type {
                NLMSG_ERROR | NLMSG_DONE => return acknowledged(&header, payload).map(|()| true),
                NLMSG_NOOP => {}
                NLMSG_OVERRUN => return Err(io::Error::from_raw_os_error(libc::ENOBUFS).into()),
                _ => each(&header, payload),
            }
        }
        Ok(false)
    }
}

/// Room for a datagram, of which nothing is left behind. Only what was received is overwritten: that is mostly little.
struct Scrubbed {
    bytes: Vec<u8>,
    /// The length of the longest datagram.
    used: usize,
}

impl Scrubbed {
    fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(RECEIVE_LEN),
            used: 0,
        }
    }

    fn receive(&mut self, socket: &Socket) -> Result<&[u8], Failure> {
        self.bytes.clear();
        let length = retry(|| socket.recv(&mut self.bytes, libc::MSG_TRUNC))?;
        self.used = self.used.max(self.bytes.len());
        if length > self.bytes.len() {
            return Err(io::Error::other("an answer longer than any that the kernel gives").into());
        }
        Ok(&self.bytes)
    }
}

impl Drop for Scrubbed {
    fn drop(&mut self) {
        // Within its capacity.
        self.bytes.resize(self.used, 0);
        self.bytes.as_mut_slice().zeroize();
    }
}

/// A message's header, its payload, and the rest of its datagram.
type Message<'a> = (NetlinkHeader, &'a [u8], &'a [u8]);

/// The first message of a datagram: its header, its payload, and what comes behind it.
fn next_message(datagram: &[u8]) -> Result<Option<Message<'_>>, Failure> {
    if datagram.len() < HEADER_LEN {
        return Ok(None);
    }
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "a malformed netlink message");
    let message = NetlinkBuffer::new_checked(&datagram).map_err(|_| malformed())?;
    let header = NetlinkHeader::parse(&message).map_err(|_| malformed())?;
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    let payload = datagram.get(HEADER_LEN..length).ok_or_else(malformed)?;
    let rest = &datagram[length.next_multiple_of(4).min(datagram.len())..];
    Ok(Some((header, payload, rest)))
}

/// Decodes a message with its library type, or `None` if the library does not know this form of it.
pub(crate) fn decode<T: NetlinkDeserializable>(header: &NetlinkHeader, payload: &[u8]) -> Option<T> {
    T::deserialize(header, payload).ok()
}

fn error(failure: Failure, action: impl FnOnce() -> String) -> Error {
    let (cause, explanation) = match failure {
        Failure::Refused { cause, explanation } => (cause, explanation),
        Failure::Interrupted => (io::Error::from_raw_os_error(libc::EINTR), None),
    };
    Error {
        action: action(),
        cause,
        explanation,
    }
}

/// Reads `struct nlmsgerr`: a negative errno, the request's header or all of it, then attributes. The end of a dump
/// has the errno and the attributes only.
fn acknowledged(header: &NetlinkHeader, payload: &[u8]) -> Result<(), Failure> {
    let word = |at: usize| payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    let errno = word(0).map_or(0, i32::from_ne_bytes);
    if errno == 0 {
        return Ok(());
    }
    let attributes = if header.message_type == NLMSG_DONE {
        4
    } else if header.flags & NLM_F_CAPPED != 0 {
        4 + HEADER_LEN
    } else {
        let echoed = word(4).map_or(0, u32::from_ne_bytes);
        4 + usize::try_from(echoed).unwrap_or(usize::MAX - 8).next_multiple_of(4)
    };
    let explanation = (header.flags & NLM_F_ACK_TLVS != 0)
        .then(|| payload.get(attributes..))
        .flatten()
        .and_then(|bytes| {
            NlasIterator::new(bytes)
                .flatten()
                .find(|nla| nla.kind() == NLMSGERR_ATTR_MSG)
        })
        .map(|nla| String::from_utf8_lossy(nla.value()).trim_end_matches('\0').to_owned());
    Err(Failure::Refused {
        cause: io::Error::from_raw_os_error(errno.saturating_neg()),
        explanation,
    })
}

fn retry<R>(mut call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
