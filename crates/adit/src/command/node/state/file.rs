//! What a gateway keeps, as a file of its user's alone.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The file, and the one that takes its place when it is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StateFile {
    folder: PathBuf,
    path: PathBuf,
    next: PathBuf,
}

impl StateFile {
    pub(super) fn new(folder: &Path, name: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            path: folder.join(name),
            next: folder.join(format!("{name}.next")),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it; of a longer one, only the first `most` bytes. `None`: the folder is there and it is not.
    pub(super) fn read(&self, most: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.folder.is_dir() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Writes it, whole or not at all: whatever happens, the one or the other is there.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        // What was begun and not ended may be another's.
        match std::fs::remove_file(&self.next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.next)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&self.next, &self.path)?;
        self.sync_folder()
    }

    /// Removes it, and what was begun.
    pub(super) fn remove(&self) -> io::Result<()> {
        for path in [&self.next, &self.path] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        self.sync_folder()
    }

    fn sync_folder(&self) -> io::Result<()> {
        match File::open(&self.folder)?.sync_all() {
            // Shares of other machines do not know of it.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
            done => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_is_its_user_s_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(folder.path(), "x.state");
        assert_eq!(file.read(9).unwrap(), None);
        // Somebody else's, or what a crash left.
        std::fs::write(&file.next, "half").unwrap();
        for content in ["first", "second, and longer"] {
            file.write(content.as_bytes()).unwrap();
            assert_eq!(file.read(100).unwrap().unwrap(), content.as_bytes());
            let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(!file.next.exists());
        }
        assert_eq!(file.read(6).unwrap().unwrap(), b"second");
        file.remove().unwrap();
        file.remove().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(&folder.path().join("nowhere"), "x.state");
        assert_eq!(file.read(9).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(file.write(b"x").is_err());
    }
}
