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

/// What the socket of the gateway with this directory is called: no other gateway's is, not even after its end, so that
/// a link that a killed one has left leads to nobody else.
pub fn name_of(directory: &Path) -> String {
    let path = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    // FNV-1a, 64 bits.
    let hash = path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let last = path.file_name().unwrap_or_default().to_string_lossy();
    let safe = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let slug: String = last.chars().take(24).map(safe).collect();
    format!("{slug}-{hash:016x}.sock")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sockets_name_is_its_directorys() {
        let root = tempfile::tempdir().unwrap();
        let names = ["config", "my config", "conf"].map(|name| {
            let directory = root.path().join(name);
            fs::create_dir(&directory).unwrap();
            assert_eq!(name_of(&directory), name_of(&root.path().join(".").join(name)));
            name_of(&directory)
        });
        assert!(
            names[0].starts_with("config-") && names[1].starts_with("my_config-"),
            "{names:?}"
        );
        assert_ne!(name_of(root.path()), names[2]);
    }
}
