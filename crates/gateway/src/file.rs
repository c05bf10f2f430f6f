//! Writes files that only their owner reads, whole or not at all.

use std::{
    cell::Cell,
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, lchown},
    path::{Path, PathBuf},
};

/// How the name of a file ends that is still being written.
const TEMPORARY: &str = ".adit-new";

/// Makes a directory that only its owner enters, with its parents. One that exists is left as it is.
///
/// # Errors
///
/// What making it says.
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    belong_to_directory_of(path)
}

/// Makes a directory that others may look into, as far as the umask lets them. One that exists is left as it is.
///
/// # Errors
///
/// What making it says.
pub fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => belong_to_directory_of(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a file is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// It cannot be made again: it is on the disk before the call returns.
    Kept,
    /// It can be made again from what is kept: the kernel writes it in its own time.
    Derived,
}

thread_local! {
    /// In [`together`]: whether anything was written by this thread that it has to sync.
    static TOGETHER: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Carries out `write`, in which what is [kept](Worth::Kept) is not synced file by file: all of it is at the end, by
/// one call for the file system of `path`. Worth it for more than a few files.
///
/// # Errors
///
/// What syncing says.
pub fn together<T>(path: &Path, write: impl FnOnce() -> T) -> io::Result<T> {
    let before = TOGETHER.replace(Some(false));
    let result = write();
    if TOGETHER.replace(before) == Some(true) {
        rustix::fs::syncfs(File::open(path)?)?;
    }
    Ok(result)
}

impl Worth {
    /// Whether a file of this worth is synced on its own; if not, [`together`] knows of it.
    fn is_synced(self) -> bool {
        match self {
            Self::Kept if TOGETHER.get().is_some() => {
                TOGETHER.set(Some(true));
                false
            }
            Self::Kept => true,
            Self::Derived => false,
        }
    }
}

/// Writes a file that only its owner reads (mode 0600), in place of one that may be there.
///
/// At every moment, through a crash of the program, the path has the old content or the new; what is
/// [kept](Worth::Kept) also through a crash of the machine.
///
/// # Errors
///
/// What the file system says; the old content is then still there.
pub fn write(path: &Path, content: &[u8], worth: Worth) -> io::Result<()> {
    let temporary = temporary(path)?;
    let result = write_new(&temporary, content, worth).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // What stopped the writing may stop this too; the next start removes it.
        let _leftover = fs::remove_file(&temporary);
    }
    result?;
    if worth.is_synced() {
        sync_directory_of(path)
    } else {
        Ok(())
    }
}

/// Writes a file without secrets, which others may read as far as the umask lets them. It is replaced whole.
///
/// # Errors
///
/// What the file system says.
pub fn write_open(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = temporary(path)?;
    let result = fs::write(&temporary, content)
        .and_then(|()| belong_to_directory_of(&temporary))
        .and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        let _leftover = fs::remove_file(&temporary);
    }
    result
}

/// What root makes belongs to whom the directory around it belongs.
fn belong_to_directory_of(path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(directory_of(path))?;
    if owner.uid() == 0 && owner.gid() == 0 {
        return Ok(());
    }
    lchown(path, Some(owner.uid()), Some(owner.gid()))
}

/// As [`write()`], but touches nothing if the file has this content already. Says whether it wrote.
///
/// # Errors
///
/// What the file system says.
pub fn write_if_changed(path: &Path, content: &[u8], worth: Worth) -> io::Result<bool> {
    match fs::read(path) {
        Ok(old) if old == content => Ok(false),
        Ok(_) => write(path, content, worth).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => write(path, content, worth).map(|()| true),
        Err(error) => Err(error),
    }
}

/// Removes what an interrupted [`write()`] left in a directory.
///
/// # Errors
///
/// What the file system says.
pub fn remove_leftovers(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(TEMPORARY) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(TEMPORARY);
    Ok(path.with_file_name(hidden))
}

fn write_new(path: &Path, content: &[u8], worth: Worth) -> io::Result<()> {
    // One program writes in a directory (it holds the lock), so a file of this name is a leftover.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    belong_to_directory_of(path)?;
    if worth.is_synced() { file.sync_all() } else { Ok(()) }
}

/// Removes a file, and its name from the disk.
///
/// # Errors
///
/// What the file system says; that there is no such file is none.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_private_and_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("a/b");
        make_private_directory(&inner).unwrap();
        make_private_directory(&inner).unwrap();
        assert_eq!(mode(&inner), 0o700);
        let path = inner.join("key");
        for content in ["long content", "short", ""] {
            write(&path, content.as_bytes(), Worth::Kept).unwrap();
            assert_eq!(
                (fs::read_to_string(&path).unwrap().as_str(), mode(&path)),
                (content, 0o600)
            );
        }
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
    }

    #[test]
    fn an_unchanged_file_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("conf");
        assert!(write_if_changed(&path, b"one", Worth::Derived).unwrap());
        assert!(!write_if_changed(&path, b"one", Worth::Derived).unwrap());
        assert!(write_if_changed(&path, b"two", Worth::Derived).unwrap());
    }

    #[test]
    fn leftovers_are_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let (leftover, other) = (directory.path().join(".conf.adit-new"), directory.path().join("conf"));
        fs::write(&leftover, "half").unwrap();
        fs::write(&other, "whole").unwrap();
        remove_leftovers(directory.path()).unwrap();
        assert!(!leftover.exists() && other.exists());
    }

    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("conf");
        // A directory of that name cannot be replaced by a file.
        fs::create_dir(&path).unwrap();
        assert!(write(&path, b"new", Worth::Kept).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
