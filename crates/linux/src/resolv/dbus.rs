//! As much of D-Bus as a few method calls take (D-Bus Specification 0.43): numbers are little-endian.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Messages of the bus are much shorter; longer ones are refused.
const MAX_LEN: usize = 1 << 20;

/// Types of messages.
pub(super) const CALL: u8 = 1;
#[cfg(test)]
pub(super) const RETURN: u8 = 2;
pub(super) const ERROR: u8 = 3;

/// Header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;

/// Where the system's bus listens, if it does.
pub(super) fn system_bus() -> Option<PathBuf> {
    let told = env::var("DBUS_SYSTEM_BUS_ADDRESS").ok();
    let told = told.as_deref().and_then(|address| address.strip_prefix("unix:path="));
    let path = PathBuf::from(told.unwrap_or("/run/dbus/system_bus_socket"));
    path.exists().then_some(path)
}

/// A value that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
}

impl Body {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(super) fn number(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn boolean(&mut self, value: bool) {
        self.number(value.into());
    }

    pub(super) fn text(&mut self, value: &str) {
        self.number(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(value.as_bytes());
        self.byte(0);
    }

    fn signature(&mut self, value: &str) {
        self.byte(u8::try_from(value.len()).unwrap_or(u8::MAX));
        self.bytes.extend_from_slice(value.as_bytes());
        self.byte(0);
    }

    pub(super) fn octets(&mut self, value: &[u8]) {
        self.number(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(value);
    }

    /// An array of structures, each written by `each`.
    pub(super) fn structures<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.number(0);
        let place = self.bytes.len() - 4;
        // The length does not count what aligns the first.
        self.align(8);
        let start = self.bytes.len();
        for item in items {
            self.align(8);
            each(self, item);
        }
        let len = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[place..place + 4].copy_from_slice(&len.to_le_bytes());
    }

    #[cfg(test)]
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) signature: &'a str,
}

/// A message that came.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    pub(super) kind: u8,
    #[cfg(test)]
    pub(super) serial: u32,
    pub(super) reply_to: u32,
    pub(super) member: String,
    pub(super) sender: String,
    error: String,
    pub(super) body: Vec<u8>,
}

/// A connection to a bus.
#[derive(Debug)]
pub(super) struct Bus {
    stream: BufReader<UnixStream>,
    serial: u32,
}

impl Bus {
    /// Connects as this process's user, and says hello.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut bus = Self {
            stream: BufReader::new(stream),
            serial: 0,
        };
        let user = rustix::process::geteuid().as_raw().to_string();
        let user: String = user.bytes().map(|byte| format!("{byte:02x}")).collect();
        bus.write(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        let mut line = String::new();
        bus.stream.by_ref().take(512).read_line(&mut line)?;
        if !line.starts_with("OK ") {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the bus lets nobody in",
            ));
        }
        bus.write(b"BEGIN\r\n")?;
        let hello = Method {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
            signature: "",
        };
        bus.call(hello, &Body::default())?;
        Ok(bus)
    }

    /// Calls a method and waits for its answer.
    pub(super) fn call(&mut self, method: Method<'_>, body: &Body) -> io::Result<Message> {
        let mut fields = vec![
            (PATH, "o", method.path),
            (INTERFACE, "s", method.interface),
            (MEMBER, "s", method.member),
            (DESTINATION, "s", method.destination),
        ];
        fields.extend((!method.signature.is_empty()).then_some((SIGNATURE, "g", method.signature)));
        let serial = self.send(CALL, None, &fields, body)?;
        loop {
            let message = self.receive()?;
            if message.reply_to != serial {
                continue;
            }
            return match message.kind {
                ERROR => Err(io::Error::other(format!("{}: {}", message.error, said(&message.body)))),
                _ => Ok(message),
            };
        }
    }

    /// Sends a message; gives its number.
    pub(super) fn send(
        &mut self,
        kind: u8,
        reply_to: Option<u32>,
        fields: &[(u8, &str, &str)],
        body: &Body,
    ) -> io::Result<u32> {
        self.serial += 1;
        let mut message = Body::default();
        for byte in [b'l', kind, 0, 1] {
            message.byte(byte);
        }
        message.number(u32::try_from(body.bytes.len()).unwrap_or(u32::MAX));
        message.number(self.serial);
        let mut all: Vec<(u8, &str, &str)> = fields.to_vec();
        all.extend(reply_to.map(|_| (REPLY_SERIAL, "u", "")));
        message.structures(&all, |message, (code, signature, value)| {
            message.byte(*code);
            message.signature(signature);
            match *signature {
                "g" => message.signature(value),
                "u" => message.number(reply_to.unwrap_or_default()),
                _ => message.text(value),
            }
        });
        message.align(8);
        message.bytes.extend_from_slice(&body.bytes);
        self.write(&message.bytes)?;
        Ok(self.serial)
    }

    /// Waits for a message.
    pub(super) fn receive(&mut self) -> io::Result<Message> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "a malformed message of the bus");
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        let number = |at: usize| {
            let bytes = head.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let [body_len, fields_len] = [number(4), number(12)].map(|len| usize::try_from(len).unwrap_or(usize::MAX));
        if head[0] != b'l' || body_len > MAX_LEN || fields_len > MAX_LEN {
            return Err(malformed());
        }
        let mut rest = vec![0; fields_len.next_multiple_of(8) + body_len];
        self.stream.read_exact(&mut rest)?;
        let mut message = Message {
            kind: head[1],
            #[cfg(test)]
            serial: number(8),
            ..Message::default()
        };
        read_fields(&rest[..fields_len], &mut message).ok_or_else(malformed)?;
        message.body = rest.split_off(fields_len.next_multiple_of(8));
        Ok(message)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }
}

/// Reads header fields, all of which are texts, signatures or numbers.
fn read_fields(bytes: &[u8], message: &mut Message) -> Option<()> {
    let mut at = 0;
    while at < bytes.len() {
        let (code, kind) = (*bytes.get(at)?, *bytes.get(at + 2)?);
        // A signature of one letter: its length, the letter, a zero.
        at += 4;
        let value = match kind {
            b'g' => {
                let len = usize::from(*bytes.get(at)?);
                at += 1;
                text_at(bytes, &mut at, len)?
            }
            b'u' => {
                let number = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
                at += 4;
                if code == REPLY_SERIAL {
                    message.reply_to = number;
                }
                String::new()
            }
            _ => {
                let len = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
                at += 4;
                text_at(bytes, &mut at, usize::try_from(len).ok()?)?
            }
        };
        match code {
            MEMBER => message.member = value,
            SENDER => message.sender = value,
            ERROR_NAME => message.error = value,
            _ => {}
        }
        at = at.next_multiple_of(8);
    }
    Some(())
}

fn text_at(bytes: &[u8], at: &mut usize, len: usize) -> Option<String> {
    let end = at.checked_add(len)?;
    let text = String::from_utf8_lossy(bytes.get(*at..end)?).into_owned();
    *at = end + 1;
    Some(text)
}

/// The text that an error's body begins with.
fn said(body: &[u8]) -> String {
    let len = body.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let text = usize::try_from(len)
        .ok()
        .and_then(|len| body.get(4..4_usize.checked_add(len)?));
    String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
}
