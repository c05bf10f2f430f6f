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

/// Serves one request; whether the connection goes on.
fn serve(reader: &mut BufReader<TcpStream>, mut stream: &TcpStream) -> io::Result<bool> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(false);
    }
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut length, mut expects) = (0_u64, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim().to_lowercase();
        match header.split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().unwrap_or(0),
            Some(("expect", _)) => expects = true,
            Some(_) => {}
            None => break,
        }
    }
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
            if expects {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let mut digest = Digest::new();
            let read = io::copy(&mut reader.take(length), &mut digest)?;
            if read < length {
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
