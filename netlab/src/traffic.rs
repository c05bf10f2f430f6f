//! What clients do: requests, uploads, echoes. Call these inside [`crate::Host::run`].

use std::io::{self, Read as _, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::digest;

/// Length of the block that [`pattern`] repeats: no multiple of any buffer or packet, so that a lost, doubled or
/// swapped piece changes the digest.
const BLOCK: usize = (1 << 20) + 7;

/// How long a connection may stand still before a test fails.
const STALL: Duration = Duration::from_secs(30);

/// A SHA-256 in the making.
pub struct Digest(digest::Context);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest")
    }
}

impl Digest {
    /// The digest of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// The digest of all that was written, in hexadecimal.
    #[must_use]
    pub fn finish(self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for byte in self.0.finish().as_ref() {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives the first `count` bytes of a fixed sequence that looks random, piece by piece.
///
/// # Errors
///
/// The first of `take`.
pub fn pattern(count: u64, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let block = BYTES.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        std::iter::repeat_with(|| {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .take(BLOCK)
        .collect()
    });
    let mut left = count;
    while left > 0 {
        let piece = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        take(&block[..piece])?;
        left -= piece as u64;
    }
    Ok(())
}

/// The SHA-256 of the first `count` bytes of [`pattern`].
#[must_use]
pub fn pattern_digest(count: u64) -> String {
    let mut digest = Digest::new();
    pattern(count, |bytes| digest.write_all(bytes)).expect("a digest takes all");
    digest.finish()
}

/// Fetches the first `count` bytes of [`pattern`] from [`crate::serve::http`], and gives the SHA-256 of what came.
///
/// # Errors
///
/// If the connection fails or ends early.
pub fn download(server: SocketAddr, count: u64) -> io::Result<String> {
    let mut stream = connect(server)?;
    write!(stream, "GET /bytes/{count} HTTP/1.1\r\nHost: {server}\r\n\r\n")?;
    let length = read_head(&mut stream)?;
    let mut digest = Digest::new();
    let mut buffer = vec![0; 256 << 10];
    let mut left = length;
    while left > 0 {
        let piece = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = stream.read(&mut buffer[..piece])?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{left} bytes of {length} are missing"),
            ));
        }
        digest.write_all(&buffer[..read])?;
        left -= read as u64;
    }
    Ok(digest.finish())
}

/// Sends the first `count` bytes of [`pattern`] to [`crate::serve::http`], and gives the SHA-256 of what arrived.
///
/// # Errors
///
/// If the connection fails.
pub fn upload(server: SocketAddr, count: u64) -> io::Result<String> {
    let mut stream = connect(server)?;
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {server}\r\nContent-Length: {count}\r\n\r\n"
    )?;
    pattern(count, |bytes| stream.write_all(bytes))?;
    let length = read_head(&mut stream)?;
    let mut answer = String::new();
    stream.take(length).read_to_string(&mut answer)?;
    Ok(answer)
}

/// Opens a connection that fails rather than stands still.
///
/// # Errors
///
/// As [`TcpStream::connect_timeout`].
pub fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stall = crate::pace::stretched(STALL);
    let stream = TcpStream::connect_timeout(&server, stall)?;
    stream.set_read_timeout(Some(stall))?;
    stream.set_write_timeout(Some(stall))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Makes closing `stream` reset the connection.
///
/// # Errors
///
/// If the kernel does not take the option.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    crate::namespace::linger_not(stream)
}

/// Sends `data` to an echo server, ends its side, and compares what comes back.
///
/// # Errors
///
/// If the connection fails, or something else comes back.
pub fn echo(server: SocketAddr, data: &[u8]) -> io::Result<()> {
    let mut stream = connect(server)?;
    stream.write_all(data)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    same(data, &back)
}

/// Sends a datagram of `data` to an echo server, and compares what comes back within `limit`.
///
/// # Errors
///
/// If nothing comes back, something else does, or the network says that the port cannot be reached.
pub fn echo_datagram(server: SocketAddr, data: &[u8], limit: Duration) -> io::Result<()> {
    let socket = datagram_socket(server)?;
    socket.set_read_timeout(Some(crate::pace::stretched(limit)))?;
    socket.send(data)?;
    let mut back = vec![0; 65536];
    let read = socket.recv(&mut back)?;
    same(data, &back[..read])
}

/// A UDP socket connected to `server`, from any address, that hears every error which the network tells.
///
/// # Errors
///
/// As [`UdpSocket::bind`] and [`UdpSocket::connect`].
pub fn datagram_socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if server.is_ipv4() {
        [0; 4].into()
    } else {
        [0_u16; 8].into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    crate::namespace::widen_buffers(&socket);
    crate::namespace::hear_errors(&socket, server.is_ipv6())?;
    socket.connect(server)?;
    Ok(socket)
}

fn same(sent: &[u8], back: &[u8]) -> io::Result<()> {
    if sent == back {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("sent {} bytes, {} others came back", sent.len(), back.len()),
    ))
}

/// Reads the head of an answer byte by byte, and gives the length of the body.
fn read_head(stream: &mut TcpStream) -> io::Result<u64> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    match length {
        Some(length) if head.starts_with("http/1.1 200") => Ok(length),
        _ => Err(io::Error::other(format!("unexpected answer: {head}"))),
    }
}
