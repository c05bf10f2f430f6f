//! A socket on which lines are answered, and who is connected to it. Nothing here waits.

use std::{
    fs, io,
    net::{IpAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, symlink},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

use super::connection::Connection;
use crate::control::{self, LINK, MAX_LINE, TooLong};

/// Connections that are served at once; more wait.
const MAX_CONNECTIONS: usize = 64;

/// Connections of the launcher's among them.
const MAX_LAUNCHERS: usize = 8;

/// A connection on which nothing moves for so long is closed.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// No socket can be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a control socket in {}: {cause}", path.display())]
pub struct SocketError {
    path: PathBuf,
    cause: io::Error,
}

/// What somebody has sent: a line without its end.
pub type Line = Result<Zeroizing<Vec<u8>>, TooLong>;

/// A socket that listens, and its connections. Dropping it removes it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// The socket's device and inode, so that no other is removed.
    identity: (u64, u64),
    link: Option<PathBuf>,
    /// Longest line that is read, in bytes.
    longest: usize,
    connections: Vec<(u64, Connection)>,
    next: u64,
    /// Where the launcher knocks, and its address.
    launcher: Option<(TcpListener, IpAddr)>,
    /// Whether the last who knocked could not be let in, for want of descriptors.
    is_short: bool,
}

/// Whose line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker(u64);

impl Socket {
    /// Listens for the gateway with this directory: in the first place that can be written.
    ///
    /// # Errors
    ///
    /// [`SocketError`] if there is no place at all.
    pub fn open(directory: &Path) -> Result<Self, SocketError> {
        let link = directory.join(LINK);
        // The directory is ours alone: what is there is of a gateway that was killed.
        let _none = fs::remove_file(&link);
        let name = control::name_of(directory);
        let listened = control::places().find_map(|place| listen_in(&place, &name));
        if let Some((listener, path)) = listened {
            let link = symlink(&path, &link).ok().map(|()| link);
            return Self::new(listener, path, link, MAX_LINE);
        }
        Self::listen_at(directory, link, MAX_LINE)
    }

    /// Listens at `path`, whose directory is there, for lines of at most `longest` bytes. The socket of a process that was
    /// killed is replaced.
    ///
    /// # Errors
    ///
    /// [`SocketError`], also if somebody listens there.
    pub fn at(path: &Path, longest: usize) -> Result<Self, SocketError> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        if !tunnel::uapi::remove_if_stale(path) {
            return Err(SocketError {
                path: directory.to_owned(),
                cause: io::ErrorKind::AddrInUse.into(),
            });
        }
        Self::listen_at(directory, path.to_owned(), longest)
    }

    fn listen_at(directory: &Path, path: PathBuf, longest: usize) -> Result<Self, SocketError> {
        listen(directory, &path)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|cause| SocketError {
                path: directory.to_owned(),
                cause,
            })
            .and_then(|listener| Self::new(listener, path, None, longest))
    }

    fn new(listener: UnixListener, path: PathBuf, link: Option<PathBuf>, longest: usize) -> Result<Self, SocketError> {
        let identity = match fs::symlink_metadata(&path) {
            Ok(found) => (found.dev(), found.ino()),
            Err(cause) => return Err(SocketError { path, cause }),
        };
        Ok(Self {
            listener,
            path,
            identity,
            link,
            longest,
            connections: Vec::new(),
            next: 0,
            launcher: None,
            is_short: false,
        })
    }

    /// Answers the launcher, too, which comes from this address through the tunnel.
    pub fn admit_launcher(&mut self, listener: TcpListener, address: IpAddr) {
        self.launcher = Some((listener, address));
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is still there: without it nobody can ask any more.
    pub fn is_there(&self) -> bool {
        let found = fs::symlink_metadata(&self.path).ok();
        found.is_some_and(|found| (found.dev(), found.ino()) == self.identity)
    }

    /// What to wait for: the listener's descriptor while there is room, and each connection's with what it waits for.
    pub fn waits(&self) -> impl Iterator<Item = (BorrowedFd<'_>, rustix::event::PollFlags)> {
        use rustix::event::PollFlags;
        // Who cannot be let in would be reported again and again; whatever else happens next, the clock at the latest, lets
        // it be tried anew.
        let room = self.connections.len() < MAX_CONNECTIONS && !self.is_short;
        let knock = if room { PollFlags::IN } else { PollFlags::empty() };
        let connections = self.connections.iter();
        let room = room && self.launchers() < MAX_LAUNCHERS;
        let launcher = if room { PollFlags::IN } else { PollFlags::empty() };
        let launcher = self
            .launcher
            .iter()
            .map(move |(listener, _)| (listener.as_fd(), launcher));
        std::iter::once((self.listener.as_fd(), knock))
            .chain(launcher)
            .chain(connections.map(|(_, connection)| (connection.as_fd(), connection.waits_for())))
    }

    /// Takes in who knocks and what they say: at most one line of each, so that nobody is served at others' cost.
    pub fn lines(&mut self, now: Instant) -> Vec<(Asker, Line)> {
        self.is_short = false;
        while self.connections.len() < MAX_CONNECTIONS {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => {
                    self.is_short = error.kind() != io::ErrorKind::WouldBlock;
                    break;
                }
            };
            if let Some(connection) = Connection::new(stream, self.longest, now) {
                self.next += 1;
                self.connections.push((self.next, connection));
            }
        }
        self.take_launcher(now);
        let mut lines = Vec::new();
        self.connections.retain_mut(|(number, connection)| {
            let asker = Asker(*number);
            match connection.next_line(now) {
                Ok(line) => lines.extend(line.map(|line| (asker, line))),
                Err(_) => return false,
            }
            now.duration_since(connection.active()) < IDLE_LIMIT
        });
        lines
    }

    fn take_launcher(&mut self, now: Instant) {
        while self.connections.len() < MAX_CONNECTIONS && self.launchers() < MAX_LAUNCHERS {
            let Some((listener, address)) = &self.launcher else {
                return;
            };
            match listener.accept() {
                // The tunnel vouches for the address.
                Ok((stream, from)) if from.ip() == *address => {
                    if let Some(connection) = Connection::of_launcher(stream, self.longest, now) {
                        self.next += 1;
                        self.connections.push((self.next, connection));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    self.is_short |= error.kind() != io::ErrorKind::WouldBlock;
                    return;
                }
            }
        }
    }

    fn launchers(&self) -> usize {
        self.connections
            .iter()
            .filter(|(_, connection)| connection.is_launchers)
            .count()
    }

    /// Whether a connection has another whole line already.
    pub fn has_more(&self) -> bool {
        self.connections.iter().any(|(_, connection)| connection.has_more())
    }

    /// Answers with a line, its end included. Who has gone in the meantime is not told.
    pub fn reply(&mut self, asker: Asker, reply: Zeroizing<Vec<u8>>, now: Instant) {
        if let Some((_, connection)) = self.connections.iter_mut().find(|(number, _)| Asker(*number) == asker) {
            connection.reply(reply, now);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_there() {
            let _gone_already = fs::remove_file(&self.path);
        }
        if let Some(link) = &self.link {
            let _gone_already = fs::remove_file(link);
        }
    }
}

/// Listens in a place, if it can be written. A socket of that name is of a gateway that was killed.
fn listen_in(place: &Path, name: &str) -> Option<(UnixListener, PathBuf)> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(place).ok()?;
    let path = place.join(name);
    if !tunnel::uapi::remove_if_stale(&path) {
        return None;
    }
    let listener = listen(place, &path).ok()?;
    listener.set_nonblocking(true).ok()?;
    Some((listener, path))
}

/// Listens on a socket that only its owner can reach, from its first moment on: it gets its mode under another name.
fn listen(directory: &Path, path: &Path) -> io::Result<UnixListener> {
    let fresh = directory.join(format!(".{}.new", std::process::id()));
    let _stale = fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    let placed = fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).and_then(|()| fs::rename(&fresh, path));
    if placed.is_err() {
        let _best_effort = fs::remove_file(&fresh);
    }
    placed.map(|()| listener)
}
