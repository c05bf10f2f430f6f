//! The API of a gateway: peers that bring their own public keys, over TLS, with a token.
//!
//! ```text
//!   client ═ TLS 1.3, pinned ═▶ server (a thread: limits, token, JSON) ─ Call ─▶ Daemon, one after the other
//!                                                                       ◀─ Answer ─┘
//! ```
//!
//! `docs/guide/api.md` describes what is said. What is here of a client is checked before the daemon hears of it.

mod exchange;
mod guesses;
mod guests;
mod identity;
mod secret;
mod server;

use std::{
    fs, io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::event::{EventfdFlags, eventfd};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use wg::{IpNet, PublicKey, Token};

use self::secret::Lock;
use crate::{
    file,
    key::RandomError,
    listening::Listening,
    reach::{Endpoint, Host},
    text::Text,
};

/// The folder of the API's key, certificate and secret in a gateway's directory.
const FOLDER: &str = "api";

/// Requests that wait for the daemon; who comes when there are more is sent away.
const MAX_CALLS: usize = 64;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A peer with this key, new or in place of its earlier one.
    Put {
        /// Who.
        name: String,
        /// Its key.
        public_key: PublicKey,
    },
    /// The end of a peer.
    Delete {
        /// Who.
        name: String,
    },
    /// What a peer has.
    Get {
        /// Who.
        name: String,
    },
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What the peer has.
    Peer(Box<Admission>),
    /// The peer is no more.
    Deleted,
    /// Nothing is done.
    Refused(Refusal, String),
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The name cannot be a peer's.
    Name,
    /// The peer of that name is not the API's.
    Foreign,
    /// There is no such peer.
    Nobody,
    /// Another peer has what is asked for.
    Conflict,
    /// It may go better later.
    Unavailable,
}

/// What a peer has of the gateway: all that its end of the tunnel needs but its private key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Admission {
    /// The peer.
    pub name: String,
    /// Its public key.
    pub public_key: Text<PublicKey>,
    /// Its addresses in the tunnel, with prefix lengths.
    pub addresses: Vec<Text<IpNet>>,
    /// Name servers, reached through the tunnel; empty leaves the client's own.
    pub dns: Vec<std::net::IpAddr>,
    /// Domains in which short names are looked up.
    pub search: Vec<String>,
    /// Largest inner packet in bytes; `None` leaves it to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The gateway.
    pub server: Gateway,
}

/// A gateway as its peers see it. `Debug` hides the preshared key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gateway {
    /// Its key.
    pub public_key: Text<PublicKey>,
    /// Where it is, `HOST:PORT`.
    pub endpoint: Text<wg::Endpoint>,
    /// Mixed into the handshake.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "in_base64")]
    pub preshared_key: Option<wg::PresharedKey>,
    /// What the client sends through the tunnel.
    pub allowed_ips: Vec<Text<IpNet>>,
    /// Seconds between the client's keepalives; `None` is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_keepalive: Option<u16>,
}

fn in_base64<S: serde::Serializer>(key: &Option<wg::PresharedKey>, serializer: S) -> Result<S::Ok, S::Error> {
    match key {
        Some(key) => serializer.serialize_str(&key.danger_base64()),
        None => serializer.serialize_none(),
    }
}

/// A request that the daemon is to answer.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Request,
    pub(crate) asker: oneshot::Sender<Answer>,
}

/// There is no API, or no token for it.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// It cannot be served there.
    #[error("cannot serve the API on {address}: {cause}")]
    Serve {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        cause: io::Error,
    },
    /// A file cannot be read, written or understood.
    #[error("cannot {action} {}: {cause}", path.display())]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// Which one.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// No key or certificate can be made.
    #[error("cannot make a certificate for the API: {0}")]
    Certificate(String),
    /// No secret can be made.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The host is none.
    #[error("the token's host: {0}; give NAME or NAME:PORT")]
    Host(String),
}

/// A running API. Dropping it ends it; who waits for an answer is told that the gateway ends.
#[derive(Debug)]
pub struct Api {
    server: Listening,
    folder: PathBuf,
    fingerprint: [u8; 32],
    lock: Arc<Lock>,
    calls: mpsc::Receiver<Call>,
    bell: Arc<OwnedFd>,
}

impl Api {
    /// Serves on this address for the gateway with this directory, which holds key, certificate and secret; they are made
    /// if they are missing.
    ///
    /// # Errors
    ///
    /// [`ApiError`]; nothing runs then.
    pub fn start(address: SocketAddr, directory: &Path, log: fn(&str)) -> Result<Self, ApiError> {
        let folder = directory.join(FOLDER);
        file::make_private_directory(&folder).map_err(|cause| ApiError::File {
            action: "write",
            path: folder.clone(),
            cause,
        })?;
        let identity = identity::load(&folder)?;
        let fingerprint = identity.fingerprint();
        let lock = Arc::new(Lock::new(&secret::load(&folder)?));
        let failed = |cause| ApiError::Serve { address, cause };
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
        let bell = Arc::new(bell);
        let (queue, calls) = mpsc::channel(MAX_CALLS);
        let gate = exchange::Gate::new(Arc::clone(&lock), queue, Arc::clone(&bell), log);
        let server = server::start(address, identity.into_config()?, gate).map_err(failed)?;
        Ok(Self {
            server,
            folder,
            fingerprint,
            lock,
            calls,
            bell,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The token, for clients that reach the API at `host`: `NAME` or `NAME:PORT`. Without it they reach it where they
    /// reach the gateway. A `new` one makes the one of before worthless at once.
    ///
    /// # Errors
    ///
    /// [`ApiError`]; the token of before is then still good.
    pub fn token(&self, new: bool, host: Option<&str>, default: &Host) -> Result<Token, ApiError> {
        let reached = match host {
            Some(text) => text
                .parse::<Endpoint>()
                .map_err(|error| ApiError::Host(error.to_string()))?,
            None => Endpoint {
                host: default.clone(),
                port: None,
            },
        };
        let port = reached.port.unwrap_or(self.address().port());
        let endpoint = format!("{}:{port}", reached.host);
        let endpoint = endpoint
            .parse()
            .map_err(|error: wg::conf::ValueError| ApiError::Host(format!("{endpoint}: {error}")))?;
        let secret = if new {
            let secret = secret::make(&self.folder)?;
            self.lock.change(&secret);
            secret
        } else {
            secret::load(&self.folder)?
        };
        Ok(Token {
            endpoint,
            fingerprint: self.fingerprint,
            secret,
        })
    }

    /// What clients have asked since; each is to be answered.
    pub(crate) fn calls(&mut self) -> Vec<Call> {
        // It fails only if nobody has rung.
        let _silent = rustix::io::read(&self.bell, &mut [0; 8]);
        std::iter::from_fn(|| self.calls.try_recv().ok())
            .take(MAX_CALLS)
            .collect()
    }
}

impl AsFd for Api {
    /// Readable when there are calls.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// Reads a file of the API's; `None` if it is not there.
fn read(path: &Path) -> Result<Option<zeroize::Zeroizing<String>>, ApiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.into())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(ApiError::File {
            action: "read",
            path: path.to_owned(),
            cause,
        }),
    }
}

/// Writes a file of the API's, for its owner alone.
fn write(path: &Path, text: &str) -> Result<(), ApiError> {
    file::write(path, text.as_bytes(), file::Worth::Kept).map_err(|cause| ApiError::File {
        action: "write",
        path: path.to_owned(),
        cause,
    })
}

/// What is in a file, and should not be.
fn damaged(path: &Path, problem: &str) -> ApiError {
    ApiError::File {
        action: "read",
        path: path.to_owned(),
        cause: io::Error::new(io::ErrorKind::InvalidData, problem.to_owned()),
    }
}
