//! Asks a running gateway.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use zeroize::Zeroizing;

use super::{Reply, Request, line};

/// How long a gateway may think: adding thousands of peers takes their files' time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A gateway gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It cannot be reached.
    #[error("no gateway answers at {}: {cause}; is `adit serve` running, and is this its user?", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What connecting to it said.
        cause: io::Error,
    },
    /// The connection ended before the answer.
    #[error("the gateway gave no answer: {0}")]
    Lost(io::Error),
    /// What it answered is no reply.
    #[error("the gateway gave an answer of another version of adit: {0}")]
    Foreign(serde_json::Error),
}

/// A connection to a running gateway.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to a socket.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unreachable`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let connect = || {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        let stream = connect().map_err(|cause| ClientError::Unreachable {
            path: path.to_owned(),
            cause,
        })?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`ClientError`]. A refusal is an answer.
    pub fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.stream
            .get_mut()
            .write_all(&line(request))
            .map_err(ClientError::Lost)?;
        let mut answer = Zeroizing::new(Vec::new());
        self.stream.read_until(b'\n', &mut answer).map_err(ClientError::Lost)?;
        if answer.is_empty() {
            return Err(ClientError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_slice(&answer).map_err(ClientError::Foreign)
    }
}
