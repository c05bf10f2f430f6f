//! The sockets by which `wg` and other programs see and change tunnels.
//!
//! A tunnel NAME has a socket `NAME.sock` in `/var/run/wireguard`, or in `$XDG_RUNTIME_DIR/wireguard` if it belongs to a
//! user without privileges. It is the user's alone, since it gives the private key away.

mod client;
mod connection;
mod server;

use std::{
    env, fs, io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
};

use rustix::process::PidfdFlags;

pub use client::{Client, ClientError};
pub use server::{Server, ServerError};

/// Where `wg` looks for sockets.
pub const DIRECTORY: &str = "/var/run/wireguard";

/// What a socket shows and changes.
pub trait Interface: Send + Sync {
    /// The interface as it is, with its keys.
    fn status(&self) -> wg::Status;

    /// Changes the interface.
    ///
    /// # Errors
    ///
    /// The number of the error, as Linux has it, which the other end of the socket is told.
    fn apply(&self, update: &wg::Update) -> Result<(), i32>;
}

/// The directory for this process's own sockets: [`DIRECTORY`] for root, else the user's.
///
/// # Errors
///
/// If this is not root and `XDG_RUNTIME_DIR` is not set.
pub fn own_directory() -> io::Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(DIRECTORY.into());
    }
    users_directory().ok_or_else(|| io::Error::other("XDG_RUNTIME_DIR is not set"))
}

fn users_directory() -> Option<PathBuf> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty())?;
    Some(Path::new(&runtime).join("wireguard"))
}

/// The directories in which there may be sockets.
fn directories() -> impl Iterator<Item = PathBuf> {
    [Some(DIRECTORY.into()), users_directory()].into_iter().flatten()
}

/// The path of a tunnel's socket in a directory.
pub fn path_in(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.sock"))
}

/// The socket of the tunnel of this name, if there is one.
pub fn find(name: &str) -> Option<PathBuf> {
    directories()
        .map(|directory| path_in(&directory, name))
        .find(|path| fs::symlink_metadata(path).is_ok())
}

/// The names of all tunnels that have a socket, and its path, in the order of the names.
pub fn list() -> Vec<(String, PathBuf)> {
    let mut found: Vec<_> = directories().flat_map(|directory| list_in(&directory)).collect();
    found.sort();
    found.dedup_by(|(a, _), (b, _)| a == b);
    found
}

fn list_in(directory: &Path) -> Vec<(String, PathBuf)> {
    use std::os::unix::fs::FileTypeExt as _;
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let sockets = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()));
    sockets
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name.strip_suffix(".sock")?.to_owned(), entry.path()))
        })
        .filter(|(name, _)| linux::link::is_name(name))
        .collect()
}

/// Removes a socket whose process has gone without removing it; true if there is none, or none any more.
pub fn remove_if_stale(path: &Path) -> bool {
    match UnixStream::connect(path) {
        Ok(_) => false,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).is_ok(),
        Err(_) => false,
    }
}

/// Whether a socket is one whose process has gone without removing it.
pub(crate) fn is_stale(path: &Path) -> bool {
    UnixStream::connect(path)
        .is_err_and(|error| matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound))
}

/// A descriptor of the process that serves a socket, readable once it has ended; `None` if it cannot be seen from here.
pub fn process_of(path: &Path) -> Option<OwnedFd> {
    let stream = UnixStream::connect(path).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
    if peer.pid == rustix::process::getpid() {
        return None;
    }
    rustix::process::pidfd_open(peer.pid, PidfdFlags::empty()).ok()
}

/// The index of an interface by its name, for link-local endpoints.
pub(crate) fn zone_index(name: &str) -> Option<u32> {
    let mut netlink = linux::netlink::Netlink::route().ok()?;
    linux::link::find(&mut netlink, name).ok()?.map(|link| link.index)
}
