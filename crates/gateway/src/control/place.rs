//! Where the sockets of running gateways are.
//!
//! A gateway has its socket in `/run/adit`, or in `$XDG_RUNTIME_DIR/adit`, and where neither can be written in its own
//! directory; there it is known as `.adit.sock` in any case.

use std::{
    env, fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

/// The socket, or a link to it, in a gateway's directory.
pub const LINK: &str = ".adit.sock";

/// Where linuxserver's image has its directory.
const USUAL_DIRECTORY: &str = "/config";

/// What was found of gateways that can be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// None.
    None,
    /// This one.
    One(PathBuf),
    /// These, by their sockets.
    Several(Vec<PathBuf>),
}

/// Directories for sockets, the best first.
pub fn places() -> impl Iterator<Item = PathBuf> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    let users = runtime.map(|path| Path::new(&path).join("adit"));
    [Some(PathBuf::from("/run/adit")), users].into_iter().flatten()
}

/// The socket of the gateway that uses this directory.
pub fn in_directory(directory: &Path) -> PathBuf {
    let path = directory.join(LINK);
    // Not through the link: the path of a socket may not be long.
    fs::read_link(&path).unwrap_or(path)
}

/// The gateways of this machine that answer.
pub fn find() -> Found {
    let mut sockets: Vec<PathBuf> = places().flat_map(|place| sockets_in(&place)).collect();
    sockets.push(in_directory(Path::new(USUAL_DIRECTORY)));
    sockets.sort();
    sockets.dedup();
    sockets.retain(|path| UnixStream::connect(path).is_ok());
    match sockets.len() {
        0 => Found::None,
        1 => Found::One(sockets.remove(0)),
        _ => Found::Several(sockets),
    }
}

fn sockets_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
        .collect()
}
