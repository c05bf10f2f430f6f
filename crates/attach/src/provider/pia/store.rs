//! The files that the provider keeps: each readable by its owner alone, and never half written.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use ring::digest;
use serde::{Serialize, de::DeserializeOwned};

use crate::provider::ProviderError;

/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 8 << 20;

/// A directory of small files.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
}

/// A file that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}: make the directory writable for adit and see that its disk has room", path.display())]
pub(super) struct StoreError {
    path: PathBuf,
    cause: io::Error,
}

impl From<StoreError> for ProviderError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl Store {
    /// Keeps files in `directory`, which is made with mode 0700 if it is not there.
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        let directory = directory.to_owned();
        match made {
            Ok(()) => Ok(Self { directory }),
            Err(cause) => Err(StoreError { path: directory, cause }),
        }
    }

    /// The content of a file, and when it was written; `None` if there is none to be read.
    pub(super) fn read(&self, name: &str) -> Option<(Vec<u8>, SystemTime)> {
        let path = self.directory.join(name);
        let about = fs::metadata(&path).ok()?;
        if about.len() > MAX_FILE {
            return None;
        }
        Some((fs::read(path).ok()?, about.modified().ok()?))
    }

    /// What a file says; `None` if it is not there or says something else.
    pub(super) fn find<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&self.read(name)?.0).ok()
    }

    /// Writes a file in place of one that may be there. At every moment the name has the old content or the new.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let path = self.directory.join(name);
        let beside = self.directory.join(format!("{name}.new"));
        // What a killed process left may have another owner or mode.
        let _was_never_there = fs::remove_file(&beside);
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| file.write_all(content))
            .and_then(|()| fs::rename(&beside, &path));
        written.map_err(|cause| {
            let _was_never_there = fs::remove_file(&beside);
            StoreError { path, cause }
        })
    }

    /// Writes down something as JSON.
    pub(super) fn keep(&self, name: &str, what: &impl Serialize) -> Result<(), StoreError> {
        let text = serde_json::to_vec(what).expect("what is kept has names of text only");
        self.write(name, &text)
    }

    /// Removes a file; nothing if it is not there.
    pub(super) fn remove(&self, name: &str) {
        let _was_never_there = fs::remove_file(self.directory.join(name));
    }

    /// The names of the files that begin with `start`.
    pub(super) fn names(&self, start: &str) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with(start)).collect()
    }
}

/// A part of a file's name for anything that others may name: itself if it is plain, else its SHA-256.
pub(super) fn plain(text: &str) -> String {
    use std::fmt::Write as _;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    if !text.is_empty() && text.len() <= 128 && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    // A plain name has no `=`, so that none looks like a hash.
    hash.as_ref().iter().fold(String::from("="), |mut name, byte| {
        let _infallible = write!(name, "{byte:02x}");
        name
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_its_owner_s_alone_also_where_one_was_left() {
        let here = tempfile::tempdir().unwrap();
        let store = Store::open(&here.path().join("a/b")).unwrap();
        let left = here.path().join("a/b/token.json.new");
        fs::write(&left, "half").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o666)).unwrap();
        store.keep("token.json", &"x").unwrap();
        let mode = |name: &str| fs::metadata(here.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a/b"), mode("a/b/token.json")), (0o700, 0o600));
        assert_eq!(store.find::<String>("token.json").as_deref(), Some("x"));
        assert_eq!(store.names("token"), ["token.json"]);
        assert_eq!(store.find::<u8>("token.json"), None, "it says something else");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let here = tempfile::tempdir().unwrap();
        let store = Store::open(here.path()).unwrap();
        fs::create_dir_all(here.path().join("token.json/x")).unwrap();
        let error = store.write("token.json", b"x").unwrap_err().to_string();
        assert!(error.contains("token.json: ") && error.contains("room"), "{error}");
        assert_eq!(store.names(""), ["token.json"], "nothing is left beside it");
    }

    #[test]
    fn a_name_stays_in_the_directory() {
        for (text, is_kept) in [
            ("web_1.a-b", true),
            ("", false),
            ("../x", false),
            ("a b", false),
            ("=", false),
        ] {
            let name = plain(text);
            assert_eq!(name == text, is_kept, "{text}");
            assert!(!name.contains('/'));
        }
    }
}
