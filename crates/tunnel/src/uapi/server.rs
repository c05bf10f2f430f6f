//! The socket of one tunnel, served by one thread.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::{
    DIRECTORY, Interface,
    connection::{Connection, Fate},
    own_directory, path_in, remove_if_stale,
};

/// Connections that are served at once; more wait.
const MAX_CONNECTIONS: usize = 16;

/// A connection on which nothing moves for so long is closed.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// How long a full server waits before it looks again whether there is room.
const FULL_LIMIT: Duration = Duration::from_millis(100);

/// A tunnel's socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another process serves a tunnel of this name.
    #[error("{name} is up already; `adit down {name}` takes it down")]
    Taken {
        /// The tunnel.
        name: String,
    },
    /// A file or socket refused.
    #[error("{action} {}: {cause}", path.display())]
    Refused {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Its error.
        cause: io::Error,
    },
}

/// The socket of one tunnel. Dropping it ends its connections and removes it.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    /// The socket's device and inode, so that no other is removed.
    identity: (u64, u64),
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Makes the socket of the tunnel `name` where `wg` looks for it.
    ///
    /// # Errors
    ///
    /// [`ServerError`]; [`ServerError::Taken`] if another process serves one of this name.
    pub fn start(name: &str, interface: Arc<dyn Interface>) -> Result<Self, ServerError> {
        let refused = |cause| ServerError::Refused {
            action: "choosing a directory for",
            path: name.into(),
            cause,
        };
        Self::start_in(&own_directory().map_err(refused)?, name, interface)
    }

    /// Makes the socket of the tunnel `name` in a directory, which is made if it does not exist.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub fn start_in(directory: &Path, name: &str, interface: Arc<dyn Interface>) -> Result<Self, ServerError> {
        let refused = |action, path: &Path| {
            let path = path.to_owned();
            move |cause| ServerError::Refused { action, path, cause }
        };
        make(directory).map_err(refused("making the directory", directory))?;
        let path = path_in(directory, name);
        if !remove_if_stale(&path) {
            return Err(ServerError::Taken { name: name.to_owned() });
        }
        let listener = listen(directory, &path).map_err(refused("making the socket", &path))?;
        let found = fs::symlink_metadata(&path).map_err(refused("looking at the socket", &path))?;
        let prepare = || {
            listener.set_nonblocking(true)?;
            let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
            let stopped = Arc::clone(&stop);
            let thread = thread::Builder::new().name(format!("uapi-{name}"));
            let thread = thread.spawn(move || serve(&listener, &stopped, &*interface))?;
            Ok((stop, thread))
        };
        let (stop, thread) = prepare().map_err(refused("serving the socket", &path))?;
        Ok(Self {
            path,
            identity: (found.dev(), found.ino()),
            stop,
            thread: Some(thread),
        })
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path).ok();
        if found.is_some_and(|found| (found.dev(), found.ino()) == self.identity) {
            let _gone_already = fs::remove_file(&self.path);
        }
        let _cannot_fail = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Makes the directory: for all to look into if it is the system's, else for the user alone.
fn make(directory: &Path) -> io::Result<()> {
    let mode = if directory == Path::new(DIRECTORY) {
        0o755
    } else {
        0o700
    };
    fs::DirBuilder::new().recursive(true).mode(mode).create(directory)
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

fn serve(listener: &UnixListener, stop: &OwnedFd, interface: &dyn Interface) {
    let mut connections: Vec<Connection> = Vec::new();
    let mut room = true;
    loop {
        let Ok((stopped, knock, ready)) = wait(listener, stop, &connections, room) else {
            return;
        };
        if stopped {
            return;
        }
        let now = Instant::now();
        let mut ready = ready.into_iter();
        connections.retain_mut(|connection| {
            let fate = if ready.next() == Some(true) {
                connection.advance(interface, now)
            } else {
                Fate::Stays
            };
            fate == Fate::Stays && now.duration_since(connection.active) < IDLE_LIMIT
        });
        room = connections.len() < MAX_CONNECTIONS;
        if knock && room {
            match listener.accept().and_then(|(stream, _)| Connection::new(stream, now)) {
                Ok(connection) => connections.push(connection),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Out of descriptors: the next look is a moment later.
                Err(_) => room = false,
            }
        }
    }
}

/// Waits until something can go on: whether to stop, whether somebody knocks, and which connections.
fn wait(
    listener: &UnixListener,
    stop: &OwnedFd,
    connections: &[Connection],
    room: bool,
) -> io::Result<(bool, bool, Vec<bool>)> {
    let mut polled = vec![
        PollFd::new(stop, PollFlags::IN),
        PollFd::new(listener, if room { PollFlags::IN } else { PollFlags::empty() }),
    ];
    polled.extend(connections.iter().map(|connection| {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, connection.wants_input());
        flags.set(PollFlags::OUT, connection.wants_output());
        PollFd::new(connection, flags)
    }));
    let limit = if room { IDLE_LIMIT } else { FULL_LIMIT };
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    match poll(&mut polled, (!room || !connections.is_empty()).then_some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut ready = polled.iter().map(|polled| !polled.revents().is_empty());
    Ok((ready.next() == Some(true), ready.next() == Some(true), ready.collect()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixStream,
        sync::Mutex,
    };

    use super::*;
    use crate::uapi::{Client, list_in};

    /// An interface that only remembers.
    #[derive(Default)]
    struct Memory(Mutex<wg::Device>);

    impl Interface for Memory {
        fn status(&self) -> wg::Status {
            wg::Status {
                device: self.0.lock().unwrap().clone(),
                ..wg::Status::default()
            }
        }

        fn apply(&self, update: &wg::Update) -> Result<(), i32> {
            if update.listen_port == Some(1) {
                return Err(wg::uapi::EADDRINUSE);
            }
            self.0.lock().unwrap().apply(update);
            Ok(())
        }
    }

    fn server(directory: &Path) -> Server {
        Server::start_in(directory, "wg0", Arc::new(Memory::default())).unwrap()
    }

    #[test]
    fn a_client_sees_what_it_has_set() {
        let directory = tempfile::tempdir().unwrap();
        let server = server(directory.path());
        let mut client = Client::connect(server.path()).unwrap();
        let update = wg::Update {
            listen_port: Some(51820),
            fwmark: Some(7),
            ..wg::Update::default()
        };
        client.set(&update).unwrap();
        let device = client.get().unwrap().device;
        assert_eq!((device.listen_port, device.fwmark), (Some(51820), Some(7)));
        let refused = client
            .set(&wg::Update {
                listen_port: Some(1),
                ..wg::Update::default()
            })
            .unwrap_err();
        assert!(refused.to_string().contains("Address already in use"), "{refused}");
        assert_eq!(client.get().unwrap().device, device, "the connection goes on");
    }

    #[test]
    fn the_socket_is_the_users_alone_and_goes_with_the_server() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("wireguard");
        let server = server(&place);
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(server.path()).unwrap().mode() & 0o777, 0o600);
        assert_eq!(list_in(&place), [("wg0".to_owned(), server.path().to_owned())]);
        assert!(matches!(
            Server::start_in(&place, "wg0", Arc::new(Memory::default())),
            Err(ServerError::Taken { .. })
        ));
        drop(server);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    }

    #[test]
    fn a_socket_whose_process_was_killed_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(directory.path().join("wg0.sock")).unwrap());
        let server = server(directory.path());
        Client::connect(server.path()).unwrap().get().unwrap();
    }

    #[test]
    fn a_server_leaves_the_socket_of_its_successor() {
        let directory = tempfile::tempdir().unwrap();
        let first = server(directory.path());
        fs::remove_file(first.path()).unwrap();
        let second = server(directory.path());
        drop(first);
        Client::connect(second.path()).unwrap().get().unwrap();
    }

    #[test]
    fn silent_connections_are_bounded_and_nonsense_is_answered() {
        let directory = tempfile::tempdir().unwrap();
        let server = server(directory.path());
        let mut silent: Vec<_> = (0..MAX_CONNECTIONS + 4)
            .map(|_| UnixStream::connect(server.path()).unwrap())
            .collect();
        let mut first = silent.remove(0);
        first.write_all(b"fly=1\n\n").unwrap();
        let mut answer = [0; 11];
        first.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"errno=-22\n\n");
        drop(silent);
        Client::connect(server.path()).unwrap().get().unwrap();
    }

    #[test]
    fn a_request_that_ends_with_the_connection_is_answered() {
        let directory = tempfile::tempdir().unwrap();
        let server = server(directory.path());
        let mut stream = UnixStream::connect(server.path()).unwrap();
        stream.write_all(b"get=1\n\nset=1\nlisten_port=51820").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "errno=0\n\nerrno=0\n\n");
    }

    #[test]
    fn a_device_with_many_peers_goes_through_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let server = server(directory.path());
        let mut update = wg::Update::default();
        for number in 0..20_000_u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            let mut peer = wg::PeerUpdate::new(wg::PublicKey::from_bytes(key));
            let network = wg::IpNet::from(std::net::IpAddr::from((0x0a00_0000 + number).to_be_bytes()));
            peer.allowed_ips.push(wg::AllowedIpChange::Add(network));
            update.peers.push(peer);
        }
        let mut client = Client::connect(server.path()).unwrap();
        client.set(&update).unwrap();
        assert_eq!(client.get().unwrap().device.peers.len(), 20_000);
    }
}
