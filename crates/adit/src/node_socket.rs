//! Where the gateway of a lease answers, if nobody says where: found alike by `adit node` and `adit ask`.
//!
//! A container's file system may be read only, and its user anybody: then memory that is a file system is left.

use std::{
    env,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use rustix::process::geteuid;

/// What the socket is called in its directory.
const SOCKET: &str = "socket";

/// The directories that are tried, the best first.
fn directories() -> impl Iterator<Item = PathBuf> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    let user = format!("adit-node-{}", geteuid().as_raw());
    [
        Some(PathBuf::from("/run/adit/node")),
        runtime.map(|path| Path::new(&path).join("adit/node")),
        Some(Path::new("/tmp").join(&user)),
        Some(Path::new("/dev/shm").join(&user)),
    ]
    .into_iter()
    .flatten()
}

/// Makes the directory of the socket, for its user alone, and gives the socket's path.
pub(crate) fn prepare(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = given {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.ok_or_else(|| anyhow!("--socket {} is in no directory", path.display()))?;
        make(directory).with_context(|| format!("cannot use {} for a socket", directory.display()))?;
        return Ok(path.to_owned());
    }
    let usable = directories().find(|directory| make(directory).is_ok());
    let directory = usable.context("there is no directory for a socket: say with --socket where one may be made")?;
    Ok(directory.join(SOCKET))
}

/// The socket that is there, of a gateway of this user.
pub(crate) fn find() -> anyhow::Result<PathBuf> {
    let mut sockets = directories()
        .filter(|directory| check(directory).is_ok())
        .map(|directory| directory.join(SOCKET));
    let found = sockets.find(|path| path.exists());
    found.context("no gateway of a lease runs here as this user; say with --socket where it answers")
}

fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    check(directory)
}

/// Keys come through the socket: its directory is nobody else's.
fn check(directory: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(directory)?;
    let is_private = found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0;
    if is_private {
        Ok(())
    } else {
        let message = "it is another user's, or others may look into it: it has to have mode 0700";
        Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_that_others_may_look_into_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/socket");
        assert_eq!(prepare(Some(&path)).unwrap(), path);
        let directory = path.parent().unwrap();
        assert_eq!(fs::metadata(directory).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(directory, fs::Permissions::from_mode(0o750)).unwrap();
        let error = format!("{:#}", prepare(Some(&path)).unwrap_err());
        assert!(error.contains("0700"), "{error}");
        prepare(Some(Path::new("socket"))).unwrap_err();
    }
}
