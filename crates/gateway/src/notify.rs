//! Tells a service manager how far the program is: the `sd_notify` protocol.
//!
//! Source: sd_notify(3). A datagram of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// The environment variable that names the socket.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// A notifier for the socket that `NOTIFY_SOCKET` holds; without it every message goes nowhere.
    ///
    /// # Errors
    ///
    /// If the value is no path and no abstract name (`@…`), or no socket can be made.
    pub fn new(variable: Option<&OsStr>) -> io::Result<Self> {
        let Some(name) = variable.filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "neither a path nor an abstract name",
                ));
            }
        };
        Ok(Self {
            socket: Some((UnixDatagram::unbound()?, address)),
        })
    }

    /// Says that start-up is complete, with one line for people.
    ///
    /// # Errors
    ///
    /// If the service manager's socket takes no message.
    pub fn ready(&self, status: &str) -> io::Result<()> {
        self.send(&format!(
            "READY=1\nSTATUS={}\nMAINPID={}",
            status.replace('\n', " "),
            std::process::id()
        ))
    }

    /// Says that the program is ending.
    ///
    /// # Errors
    ///
    /// If the service manager's socket takes no message.
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1")
    }

    fn send(&self, message: &str) -> io::Result<()> {
        let Some((socket, address)) = &self.socket else {
            return Ok(());
        };
        socket.send_to_addr(message.as_bytes(), address).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_reaches_the_socket_that_the_environment_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(Some(path.as_os_str())).unwrap();
        notifier.ready("2 peers\non 51820").unwrap();
        notifier.stopping().unwrap();
        let mut buffer = [0; 256];
        let len = manager.recv(&mut buffer).unwrap();
        let expected = format!("READY=1\nSTATUS=2 peers on 51820\nMAINPID={}", std::process::id());
        assert_eq!(std::str::from_utf8(&buffer[..len]).unwrap(), expected);
        let len = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"STOPPING=1");
    }

    #[test]
    fn without_a_service_manager_messages_go_nowhere() {
        for variable in [None, Some(OsStr::new(""))] {
            Notifier::new(variable).unwrap().ready("").unwrap();
        }
        assert!(Notifier::new(Some(OsStr::new("notify"))).is_err());
    }
}
