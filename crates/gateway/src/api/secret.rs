//! The secret in a token: kept in a file, known to the server by its hash.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};
use wg::token::Secret;

use super::{ApiError, damaged, read, write};
use crate::key;

/// The file, whose owner may print tokens. It lies beside the gateway's own private key and is worth no more.
const FILE_NAME: &str = "secret";

/// Reads the secret, or makes one.
pub(super) fn load(folder: &Path) -> Result<Secret, ApiError> {
    let path = folder.join(FILE_NAME);
    match read(&path)? {
        Some(text) => Secret::from_text(text.trim())
            .ok_or_else(|| damaged(&path, "it is no secret; `adit peer token --new` makes another")),
        None => make(folder),
    }
}

/// Makes a secret in place of the one that may be there.
pub(super) fn make(folder: &Path) -> Result<Secret, ApiError> {
    let secret = Secret::from_bytes(*key::random()?);
    let mut text = secret.danger_text();
    text.push('\n');
    write(&folder.join(FILE_NAME), &text)?;
    Ok(secret)
}

/// Knows the secret when it sees it.
#[derive(Debug)]
pub(super) struct Lock(Mutex<Secret>);

impl Lock {
    pub(super) fn new(secret: &Secret) -> Self {
        Self(Mutex::new(hash(secret)))
    }

    /// Opens to another secret from here on.
    pub(super) fn change(&self, secret: &Secret) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = hash(secret);
    }

    /// Whether `Bearer SECRET` is what opens it. Takes the same time for every secret of the right length.
    pub(super) fn opens_to(&self, authorization: &str) -> bool {
        let bearer = authorization.split_once(' ');
        let text = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let given = text.and_then(|(_, text)| Secret::from_text(text.trim()));
        given.is_some_and(|given| hash(&given) == *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// SHA-256, compared in constant time as a secret is.
fn hash(secret: &Secret) -> Secret {
    Secret::from_bytes(Sha256::digest(secret.danger_text().as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_lock_opens_to_its_own_secret_alone() {
        let secret = |byte| Secret::from_bytes([byte; 32]);
        let text = |byte| secret(byte).danger_text().to_string();
        let lock = Lock::new(&secret(1));
        for (header, opens) in [
            (format!("Bearer {}", text(1)), true),
            (format!("bearer  {}", text(1)), true),
            (format!("Bearer {}", text(2)), false),
            (format!("Basic {}", text(1)), false),
            (text(1), false),
            (format!("Bearer {}", &text(1)[1..]), false),
            ("Bearer ".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(lock.opens_to(&header), opens, "{header}");
        }
        lock.change(&secret(2));
        assert!(!lock.opens_to(&format!("Bearer {}", text(1))));
        assert!(lock.opens_to(&format!("Bearer {}", text(2))));
    }

    #[test]
    fn a_secret_is_kept_for_its_owner_alone_until_a_new_one_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let first = load(folder.path()).unwrap();
        assert_eq!(load(folder.path()).unwrap(), first);
        let path = folder.path().join(FILE_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let second = make(folder.path()).unwrap();
        assert_ne!(first, second);
        assert_eq!(load(folder.path()).unwrap(), second);
        fs::write(&path, "x").unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("--new"), "{error}");
    }
}
