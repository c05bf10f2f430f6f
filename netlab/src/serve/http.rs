//! A server for HTTP/1.1, as much as curl and [`crate::traffic`] ask of it.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;

use super::{Server, tcp};
use crate::Host;
use crate::traffic::{Digest, pattern};

/// Answers on `port`.
///
/// * `GET /bytes/N`: the first N bytes of [`pattern`].
/// * `GET /address`: the client's address.
/// * `POST` or `PUT` of anything: the SHA-256 of the body, in hexadecimal.
#[track_caller]
#[must_use]
pub fn http(host: &Host, port: u16) -> Server {
    tcp(host, port, |stream| {
        let mut reader = BufReader::with_capacity(256 << 10, stream.try_clone()?);
        while serve(&mut reader, &stream)? {}
        Ok(())
    })
}

/// What a request asks, without its body.
pub(super) struct Request {
    /// Such as `GET`.
    pub(super) method: String,
    /// The path, with the query.
    pub(super) path: String,
    /// How long the body is that follows.
    pub(super) length: u64,
    /// Whether the client waits to be told to send the body.
    pub(super) expects: bool,
}

impl Request {
    /// Reads the next one; `None` if there is none.
    pub(super) fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut request = Self {
            method: words.next().unwrap_or_default(),
            path: words.next().unwrap_or_default(),
            length: 0,
            expects: false,
        };
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            match header.trim().to_lowercase().split_once(':') {
                Some(("content-length", value)) => request.length = value.trim().parse().unwrap_or(0),
                Some(("expect", _)) => request.expects = true,
                Some(_) => {}
                None => return Ok(Some(request)),
            }
        }
    }
}

/// Serves one request; whether the connection goes on.
fn serve(reader: &mut BufReader<TcpStream>, mut stream: &TcpStream) -> io::Result<bool> {
    let Some(request) = Request::read(reader)? else {
        return Ok(false);
    };
    let (method, path) = (request.method.as_str(), request.path.as_str());
    match (
        method,
        path.strip_prefix("/bytes/").and_then(|count| count.parse().ok()),
    ) {
        ("GET", Some(count)) => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n")?;
            pattern(count, |bytes| stream.write_all(bytes))?;
        }
        ("GET", None) if path == "/address" => {
            reply(stream, "200 OK", &stream.peer_addr()?.ip().to_canonical().to_string())?;
        }
        ("POST" | "PUT", _) => {
            if request.expects {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let mut digest = Digest::new();
            let read = io::copy(&mut reader.take(request.length), &mut digest)?;
            if read < request.length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            reply(stream, "200 OK", &digest.finish())?;
        }
        _ => reply(stream, "404 Not Found", "there is no such thing\n")?,
    }
    Ok(true)
}

fn reply(mut stream: impl Write, status: &str, body: &str) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
