//! The socket by which commands reach the daemon: a line of JSON there, a line of JSON back.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
    sync::{mpsc, oneshot},
    time::timeout,
};
use wg::{Endpoint, Ipv4Net, conf::Host};

use crate::{HostName, LinkName, link::Settings, status::LinkStatus};

/// Where the daemon's socket is unless it is put elsewhere.
pub const SOCKET: &str = "/run/adit/link.sock";

/// How long a command may take to arrive.
const LIMIT: Duration = Duration::from_secs(10);

/// How long the longest takes: a host that joins tries each endpoint for a while.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Longest command, in bytes.
const MAX_COMMAND: u64 = 64 << 10;

/// How long it is waited after the kernel had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// What a person wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// A new link.
    Create {
        /// Its name.
        link: LinkName,
        /// Its IPv4 addresses; `None` takes the first that are free.
        pool: Option<Ipv4Net>,
        /// How this host takes part.
        host: Part,
        /// How long the first token may be used, in seconds.
        lifetime: u64,
    },
    /// A token.
    Invite {
        /// For which link.
        link: LinkName,
        /// How long it may be used, in seconds.
        lifetime: u64,
    },
    /// To be in a link.
    Join {
        /// By which token, as text.
        token: String,
        /// How this host takes part.
        host: Part,
    },
    /// To be in a link no longer.
    Leave {
        /// Which.
        link: LinkName,
    },
    /// That another host is in a link no longer.
    Remove {
        /// Which link.
        link: LinkName,
        /// Which host.
        host: HostName,
    },
    /// How links are.
    Status {
        /// Which; `None` is all.
        link: Option<LinkName>,
    },
}

/// How a host takes part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Its name; `None` is what it calls itself.
    pub name: Option<HostName>,
    /// Where others reach it: a host, with or without a port.
    pub endpoint: Option<String>,
    /// The UDP port of its tunnel; `None` is the first that is free.
    pub port: Option<u16>,
    /// The rest.
    pub settings: Settings,
}

/// Reads where a host is reached; `port` is taken where none is named.
///
/// # Errors
///
/// If it is neither HOST nor HOST:PORT.
pub fn endpoint(text: &str, port: u16) -> Result<Endpoint, String> {
    if let Ok(endpoint) = text.parse() {
        return Ok(endpoint);
    }
    let host = text.trim_start_matches('[').trim_end_matches(']').parse::<Host>();
    let host = host.map_err(|error| format!("{text}: {error}; it is HOST or HOST:PORT"))?;
    Ok(Endpoint { host, port })
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// It is done, and here is a token.
    Token(Invited),
    /// This host is in.
    Joined(Joined),
    /// It is done; what is still to be known.
    Done {
        /// In words, a line each.
        notes: Vec<String>,
    },
    /// How links are.
    Status {
        /// Each.
        links: Vec<LinkStatus>,
    },
    /// It is not done.
    Failed {
        /// Why, and what would mend it.
        why: String,
    },
}

/// A token for another host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invited {
    /// The link.
    pub link: LinkName,
    /// The token, for the person alone.
    pub token: String,
    /// How long it may be used, in seconds.
    pub lifetime: u64,
    /// What is still to be known, a line each.
    pub notes: Vec<String>,
}

/// This host is in a link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joined {
    /// The link.
    pub link: LinkName,
    /// Whose token it was.
    pub host: String,
    /// Until that answered, in seconds.
    pub handshake: f64,
    /// This host's network.
    pub here: Ipv4Net,
    /// The other's.
    pub there: Ipv4Net,
    /// What is still to be known, a line each.
    pub notes: Vec<String>,
}

/// The daemon cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("no adit link daemon runs: nobody listens at {} ({cause}); start it (adit link run)", path.display())]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The socket is root's.
    #[error("{} may not be opened: ask as root", path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// The connection broke.
    #[error("the answer of the adit link daemon: {0}; its log says more")]
    Broken(#[from] io::Error),
    /// It is another version's.
    #[error("the answer of the adit link daemon makes no sense, it may be of another version: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It was not done.
    #[error("{0}")]
    Failed(String),
}

/// Has the daemon at `path` carry out a command.
///
/// # Errors
///
/// [`ControlError`].
pub fn ask(path: &Path, command: &Command) -> Result<Answer, ControlError> {
    let mut stream = UnixStream::connect(path).map_err(|cause| {
        let path = path.to_owned();
        if cause.kind() == io::ErrorKind::PermissionDenied {
            ControlError::Forbidden { path }
        } else {
            ControlError::Nobody { path, cause }
        }
    })?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let mut line = serde_json::to_vec(command)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut text = String::new();
    BufReader::new(stream).read_line(&mut text)?;
    if text.is_empty() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    match serde_json::from_str(&text)? {
        Answer::Failed { why } => Err(ControlError::Failed(why)),
        answer @ (Answer::Token(_) | Answer::Joined(_) | Answer::Done { .. } | Answer::Status { .. }) => Ok(answer),
    }
}

/// A command, and the way back.
pub(crate) type Asked = (Command, oneshot::Sender<Answer>);

/// The socket, which goes with this.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`, for root alone. What a killed daemon left is replaced.
    ///
    /// # Errors
    ///
    /// If another daemon listens, or the socket cannot be made.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another adit link daemon runs: end it, or give this one another --socket",
            ));
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let _was_never_there = fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Gives commands to `hear`, for ever.
    pub(crate) async fn serve(&self, hear: mpsc::UnboundedSender<Asked>) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let hear = hear.clone();
            tokio::spawn(async move {
                let (reader, mut writer) = stream.into_split();
                let mut line = String::new();
                let mut reader = tokio::io::BufReader::new(reader.take(MAX_COMMAND));
                let read = timeout(LIMIT, reader.read_line(&mut line)).await;
                let answer = match (read, serde_json::from_str(&line)) {
                    (Ok(Ok(1..)), Ok(command)) => {
                        let (sender, answer) = oneshot::channel();
                        let _ends_with_the_daemon = hear.send((command, sender));
                        match answer.await {
                            Ok(answer) => answer,
                            Err(_) => return,
                        }
                    }
                    (Ok(Ok(1..)), Err(error)) => Answer::Failed {
                        why: format!(
                            "the daemon does not understand the command, it may be of another version: {error}"
                        ),
                    },
                    // Whoever only looks says nothing.
                    (Ok(Ok(0) | Err(_)) | Err(_), _) => return,
                };
                if let Ok(mut text) = serde_json::to_vec(&answer) {
                    text.push(b'\n');
                    let _reader_went = timeout(LIMIT, writer.write_all(&text)).await;
                }
            });
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.path);
    }
}
