//! The secret from which a launcher has its keys, one for each lease.

use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use wg::{PresharedKey, PrivateKey};
use zeroize::Zeroize as _;

use crate::LeaseId;

/// The file that keeps it, of its owner alone.
const FILE: &str = "launcher.key";

/// What else might be made from the secret is something else.
const PURPOSE: &[u8] = b"adit: the launcher's WireGuard key for the lease ";

/// 32 random bytes. They are in their file alone: neither in the database nor in a log nor in arguments.
#[derive(Clone)]
pub struct LauncherSecret(PresharedKey);

/// There is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read or made.
    #[error("cannot keep the launcher's secret in {}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Others may read it.
    #[error("{} can be read by others: whoever has it speaks as the launcher; chmod 600 it, or better remove it", path.display())]
    Open {
        /// Which.
        path: PathBuf,
    },
    /// It holds something else.
    #[error(
        "{} is not a secret of 44 letters and digits: restore it, or remove it, which gives up the gateways of running leases",
        path.display()
    )]
    Foreign {
        /// Which.
        path: PathBuf,
    },
}

impl LauncherSecret {
    /// The secret of the launcher that keeps its leases in this folder, which is made at first use.
    ///
    /// # Errors
    ///
    /// [`SecretError`].
    pub fn of(folder: &Path) -> Result<Self, SecretError> {
        let path = folder.join(FILE);
        let file_error = |cause| SecretError::File {
            path: path.clone(),
            cause,
        };
        match fs::symlink_metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(folder, &path).map_err(file_error)?,
            Err(error) => return Err(file_error(error)),
        }
        if fs::metadata(&path).map_err(file_error)?.mode() & 0o077 != 0 {
            return Err(SecretError::Open { path });
        }
        let mut text = fs::read_to_string(&path).map_err(file_error)?;
        let secret = PresharedKey::from_base64(text.trim());
        text.zeroize();
        secret.map(Self).map_err(|_| SecretError::Foreign { path })
    }

    /// A secret that everybody knows: for plans, which are shown and sent nowhere.
    pub fn danger_known() -> Self {
        Self(PresharedKey::from_bytes([0; 32]))
    }

    /// The launcher's key for a lease: HMAC-SHA-256 of the lease's id (RFC 2104), keyed with the secret.
    pub fn key(&self, lease: LeaseId) -> PrivateKey {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.danger_bytes()).expect("a key of any length will do");
        mac.update(PURPOSE);
        mac.update(lease.to_string().as_bytes());
        let mut bytes: [u8; 32] = mac.finalize().into_bytes().into();
        let key = PrivateKey::from_random(bytes);
        bytes.zeroize();
        key
    }
}

impl fmt::Debug for LauncherSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LauncherSecret(hidden)")
    }
}

/// Makes the file, whole from its first moment on. If somebody else makes it at the same time, it is that one's.
fn make(folder: &Path, path: &Path) -> io::Result<()> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let secret = PresharedKey::from_bytes(bytes);
    bytes.zeroize();
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(io::Error::other)?;
    let fresh = folder.join(format!(".{FILE}.{:016x}", u64::from_ne_bytes(suffix)));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    let made = file
        .write_all(secret.danger_base64().as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .and_then(|()| match fs::hard_link(&fresh, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    let removed = fs::remove_file(&fresh);
    made.and(removed)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, thread};

    use super::*;

    fn lease(last: char) -> LeaseId {
        format!("01kb2w0v9hq3k1yv8s4n6t2m5{last}").parse().unwrap()
    }

    #[test]
    fn a_folder_has_one_secret_and_a_lease_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let both = thread::scope(|scope| {
            let make = || {
                *LauncherSecret::of(folder.path())
                    .unwrap()
                    .key(lease('e'))
                    .danger_bytes()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        });
        assert!(both.windows(2).all(|pair| pair[0] == pair[1]));
        let secret = LauncherSecret::of(folder.path()).unwrap();
        assert_eq!(secret.key(lease('e')).danger_bytes(), &both[0]);
        assert_ne!(secret.key(lease('f')).danger_bytes(), &both[0]);
        let path = folder.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(!format!("{secret:?}").contains(fs::read_to_string(&path).unwrap().trim()));
    }

    #[test]
    fn a_key_is_the_same_in_every_version() {
        let secret = LauncherSecret(PresharedKey::from_bytes([7; 32]));
        // By Python's hmac.
        assert_eq!(
            secret.key(lease('e')).danger_hex().as_str(),
            "b03b4133c74d612182d148a3eec2613147ea62a1b664fb850d59d4e663f66567"
        );
    }

    #[test]
    fn what_is_no_secret_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        LauncherSecret::of(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            LauncherSecret::of(folder.path()),
            Err(SecretError::Open { .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "").unwrap();
        assert!(matches!(
            LauncherSecret::of(folder.path()),
            Err(SecretError::Foreign { .. })
        ));
        let none = LauncherSecret::of(&folder.path().join("none"));
        assert!(matches!(none, Err(SecretError::File { .. })), "{none:?}");
    }
}
