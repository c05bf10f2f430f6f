//! A request as it came, an answer as it goes, and what is remembered of both.

use std::io::{self, BufRead, Read as _, Write};

use serde_json::Value;

use super::super::query;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) method: String,
    /// Path and query, as sent.
    pub(super) target: String,
    /// The path's segments, decoded.
    pub(super) segments: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    /// Names in lower case, and values.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// Reads the next one; `None` if there is none.
    pub(super) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(line) = line(reader)? else {
            return Ok(None);
        };
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut request = Self {
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            ..Self::default()
        };
        while let Some(header) = line_of_head(reader)? {
            let (name, value) = header.split_once(':').unwrap_or((&header, ""));
            let header = (name.trim().to_lowercase(), value.trim().to_owned());
            request.headers.push(header);
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        request.query = query::pairs(query);
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        request.segments = segments.map(|segment| query::decode(segment, false)).collect();
        if request.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
            request.body = chunks(reader)?;
        } else {
            let length = request.header("content-length").parse().unwrap_or(0);
            reader.take(length).read_to_end(&mut request.body)?;
        }
        Ok(Some(request))
    }

    /// A header's value, or nothing.
    pub(super) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// A parameter of the query, whatever its case, or nothing.
    pub(super) fn parameter(&self, name: &str) -> &str {
        let mut known = self.query.iter();
        let found = known.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// The path as sent.
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// The next line without its end; `None` at the end of the stream.
fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    let read = reader.read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim_end().to_owned()))
}

/// The next header; `None` behind the last.
fn line_of_head(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    Ok(line(reader)?.filter(|line| !line.is_empty()))
}

/// A body in chunks (*RFC 9112, 7.1*).
fn chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
        if size == 0 {
            while line_of_head(reader)?.is_some() {}
            return Ok(body);
        }
        reader.by_ref().take(size).read_to_end(&mut body)?;
        line(reader)?;
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Value>,
}

impl Answer {
    pub(super) const fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: None,
        }
    }

    pub(super) fn json(status: u16, body: Value) -> Self {
        Self {
            body: Some(body),
            ..Self::new(status)
        }
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The bytes of it; half of the body if it is `cut`.
    pub(super) fn write(&self, stream: &mut impl Write, cut: bool) -> io::Result<()> {
        let is_text = self.headers.iter().any(|(name, _)| name == "Content-Type");
        let body = match &self.body {
            Some(Value::String(text)) if is_text => text.clone(),
            Some(body) => body.to_string(),
            None => String::new(),
        };
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if self.body.is_some() && !is_text {
            head += "Content-Type: application/json; charset=utf-8\r\n";
        }
        // A 204 has no body, and says nothing of its length (*RFC 9110, 8.6*).
        if self.status != 204 {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        let sent = if cut { body.len() / 2 } else { body.len() };
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes().get(..sent).unwrap_or_default())?;
        stream.flush()
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        412 => "Precondition Failed",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Other",
    }
}

/// A request that came, secrets and all, and how it was answered.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Such as `PUT`.
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// Names in lower case, and values, as sent.
    pub headers: Vec<(String, String)>,
    /// The body, as sent.
    pub body: String,
    /// The status of the answer, whether or not it went out; `None` if nothing was done.
    pub status: Option<u16>,
}

impl Asked {
    /// A header's value, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The body's JSON, or null.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}
