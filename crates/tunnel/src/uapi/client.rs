//! The client's side of a tunnel's socket.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use wg::uapi::{Fault, GET, parse_get_reply, parse_set_reply, set_request};
use zeroize::{Zeroize as _, Zeroizing};

use super::{find, zone_index};

/// A tunnel that answers nothing for so long has failed.
const LIMIT: Duration = Duration::from_secs(30);

/// Longest reply that is read, in bytes.
const MAX_REPLY: usize = 1 << 30;

/// A tunnel could not be asked or changed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no tunnel of this name.
    #[error("there is no tunnel {name}; `adit show` lists those that there are")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The socket refused, or broke off.
    #[error("{}: {}", path.display(), explain(cause))]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Its error.
        cause: io::Error,
    },
    /// The tunnel refused, or its answer cannot be read.
    #[error("{}: {}", path.display(), explain_reply(cause))]
    Reply {
        /// The socket.
        path: PathBuf,
        /// What the answer said.
        cause: wg::uapi::Error,
    },
}

impl ClientError {
    /// The number of the error that the tunnel answered with, if it refused.
    pub fn refusal(&self) -> Option<i32> {
        match self {
            Self::Reply { cause, .. } => {
                let Fault::Refused { errno } = cause.fault else {
                    return None;
                };
                Some(errno)
            }
            Self::Unknown { .. } | Self::Socket { .. } => None,
        }
    }
}

fn explain(cause: &io::Error) -> String {
    let kind = cause.kind();
    if kind == io::ErrorKind::PermissionDenied {
        format!("{cause}; run as the user whose tunnel it is, or as root")
    } else if kind == io::ErrorKind::ConnectionRefused {
        "nobody serves this socket; its process was killed".to_owned()
    } else {
        cause.to_string()
    }
}

fn explain_reply(cause: &wg::uapi::Error) -> String {
    if let Fault::Refused { errno } = cause.fault {
        format!("refused: {}", io::Error::from_raw_os_error(errno))
    } else {
        cause.to_string()
    }
}

/// A connection to a tunnel's socket.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    path: PathBuf,
}

impl Client {
    /// Connects to the tunnel of this name.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unknown`] if it has no socket.
    pub fn open(name: &str) -> Result<Self, ClientError> {
        match find(name) {
            Some(path) => Self::connect(&path),
            None => Err(ClientError::Unknown { name: name.to_owned() }),
        }
    }

    /// Connects to a socket.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let connect = || {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.set_write_timeout(Some(LIMIT))?;
            Ok(stream)
        };
        match connect() {
            Ok(stream) => Ok(Self {
                stream,
                path: path.to_owned(),
            }),
            Err(cause) => Err(ClientError::Socket {
                path: path.to_owned(),
                cause,
            }),
        }
    }

    /// Asks for the tunnel as it is, with its keys.
    ///
    /// # Errors
    ///
    /// The socket's, or the tunnel's.
    pub fn get(&mut self) -> Result<wg::Status, ClientError> {
        let reply = self.exchange(GET)?;
        parse_get_reply(&reply, &zone_index).map_err(|cause| ClientError::Reply {
            path: self.path.clone(),
            cause,
        })
    }

    /// Changes the tunnel.
    ///
    /// # Errors
    ///
    /// The socket's, or the tunnel's refusal.
    pub fn set(&mut self, update: &wg::Update) -> Result<(), ClientError> {
        let reply = self.exchange(&set_request(update))?;
        parse_set_reply(&reply).map_err(|cause| ClientError::Reply {
            path: self.path.clone(),
            cause,
        })
    }

    fn exchange(&mut self, request: &str) -> Result<Zeroizing<String>, ClientError> {
        let reply = self
            .stream
            .write_all(request.as_bytes())
            .and_then(|()| self.read_reply());
        reply.map_err(|cause| ClientError::Socket {
            path: self.path.clone(),
            cause,
        })
    }

    /// Reads up to the blank line that ends a reply.
    fn read_reply(&mut self) -> io::Result<Zeroizing<String>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
        loop {
            let start = bytes.len();
            if start == bytes.capacity() {
                grow(&mut bytes)?;
            }
            let room = bytes.capacity();
            bytes.resize(room, 0);
            let count = self.stream.read(&mut bytes[start..]);
            bytes.truncate(start + *count.as_ref().unwrap_or(&0));
            match count {
                Ok(0) => break,
                Ok(_) if bytes.ends_with(b"\n\n") => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Zeroizing::new(text.to_owned())),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

/// Doubles the room, and wipes the old place, which had keys in it.
fn grow(bytes: &mut Zeroizing<Vec<u8>>) -> io::Result<()> {
    if bytes.len() >= MAX_REPLY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a reply without end"));
    }
    let mut larger = Vec::with_capacity(2 * bytes.capacity());
    larger.extend_from_slice(bytes);
    bytes.zeroize();
    **bytes = larger;
    Ok(())
}
