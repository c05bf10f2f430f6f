//! One connection: a request over TLS, and its answer.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};

use super::super::query::pairs;
use super::{Shared, api, certificates};

/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// Names and values, decoded.
    pub(super) query: Vec<(String, String)>,
    pub(super) authorization: String,
    pub(super) content_type: String,
    pub(super) body: String,
    /// Whom the client wanted, by its TLS.
    pub(super) server: String,
}

impl Request {
    /// A value of the query.
    pub(super) fn value(&self, name: &str) -> &str {
        value(&self.query, name)
    }
}

pub(super) fn value<'a>(pairs: &'a [(String, String)], name: &str) -> &'a str {
    let found = pairs.iter().find(|(known, _)| known == name);
    found.map_or("", |(_, value)| value)
}

pub(super) fn serve(shared: &Arc<Shared>, stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let address = stream.local_addr()?.ip().to_canonical();
    let connection = ServerConnection::new(certificates::tls(shared, address)).map_err(io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    let request = read(&mut reader)?;
    let (status, body) = api::answer(shared, &request);
    let stream = reader.get_mut();
    write!(
        stream,
        "HTTP/1.1 {status} Said\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn read(reader: &mut BufReader<StreamOwned<ServerConnection, TcpStream>>) -> io::Result<Request> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let (path, query) = words
        .next()
        .map_or(("", ""), |target| target.split_once('?').unwrap_or((target, "")));
    let mut request = Request {
        method,
        path: path.to_owned(),
        query: pairs(query),
        authorization: String::new(),
        content_type: String::new(),
        body: String::new(),
        server: String::new(),
    };
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        match &*name.to_lowercase() {
            "content-length" => length = value.parse().map_err(io::Error::other)?,
            "authorization" => value.clone_into(&mut request.authorization),
            "content-type" => value.clone_into(&mut request.content_type),
            _ => {}
        }
    }
    reader.take(length).read_to_string(&mut request.body)?;
    request.server = reader.get_ref().conn.server_name().unwrap_or_default().to_owned();
    Ok(request)
}
