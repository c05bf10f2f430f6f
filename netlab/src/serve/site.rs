//! A server for fixed pages, over HTTP/1.1.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use super::http::Request;
use super::{Server, tcp};
use crate::Host;

/// What a site answers at one path, whatever the method.
#[derive(Clone, Debug)]
pub struct Page {
    /// The path, such as `/`, whatever the query.
    pub path: &'static str,
    /// Headers besides the length, such as `("Content-Type", "text/html")`.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body.
    pub body: &'static str,
}

/// Answers on `port` with `pages`, and with 404 elsewhere.
#[track_caller]
#[must_use]
pub fn site(host: &Host, port: u16, pages: Vec<Page>) -> Server {
    let pages = Arc::new(pages);
    tcp(host, port, move |stream| {
        let mut reader = BufReader::new(stream.try_clone()?);
        while serve(&mut reader, &stream, &pages)? {}
        Ok(())
    })
}

/// Serves one request; whether the connection goes on.
fn serve(reader: &mut BufReader<TcpStream>, mut stream: &TcpStream, pages: &[Page]) -> io::Result<bool> {
    let Some(request) = Request::read(reader)? else {
        return Ok(false);
    };
    io::copy(&mut reader.take(request.length), &mut io::sink())?;
    let path = request.path.split('?').next();
    let page = pages.iter().find(|page| Some(page.path) == path);
    let (status, headers, body) = match page {
        Some(page) => ("200 OK", page.headers.as_slice(), page.body),
        None => ("404 Not Found", &[][..], "there is no such thing\n"),
    };
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok(true)
}
