//! Writes files that only their owner reads, whole or not at all.

use std::{
    cell::RefCell,
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
    /// In [`together`]: what this thread has written under another name, in order.
    static TOGETHER: RefCell<Option<Vec<Written>>> = const { RefCell::new(None) };
}

/// A file that is whole, and is not yet in its place.
#[derive(Debug)]
struct Written {
    temporary: PathBuf,
    path: PathBuf,
}

/// Carries out `write`, whose files come into their places, in the order in which they were written, when all of them
/// are on the disk; that they are there is on the disk before the call returns. Costs two calls for the file system of
/// `path` in place of two a file: worth it for more than a few files. Of a `write` that fails nothing comes.
///
/// # Errors
///
/// What syncing and renaming say.
pub fn together<T, E>(path: &Path, write: impl FnOnce() -> Result<T, E>) -> io::Result<Result<T, E>> {
    let before = TOGETHER.replace(Some(Vec::new()));
    let result = write();
    let written = TOGETHER.replace(before).unwrap_or_default();
    let placed = match &result {
        Ok(_) => place(path, &written),
        Err(_) => Ok(()),
    };
    if result.is_err() || placed.is_err() {
        for Written { temporary, .. } in &written {
            // Those that are in their places have this name no more.
            let _leftover = fs::remove_file(temporary);
        }
    }
    placed.map(|()| result)
}

fn place(path: &Path, written: &[Written]) -> io::Result<()> {
    if written.is_empty() {
        return Ok(());
    }
    let file_system = File::open(path)?;
    rustix::fs::syncfs(&file_system)?;
    for Written { temporary, path } in written {
        fs::rename(temporary, path)?;
    }
    Ok(rustix::fs::syncfs(&file_system)?)
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
    let is_alone = TOGETHER.with_borrow(Option::is_none);
    let is_synced = is_alone && worth == Worth::Kept;
    let result = write_new(&temporary, content, is_synced)
        .and_then(|()| if is_alone { fs::rename(&temporary, path) } else { Ok(()) });
    if result.is_err() {
        // What stopped the writing may stop this too; the next start removes it.
        let _leftover = fs::remove_file(&temporary);
    }
    result?;
    TOGETHER.with_borrow_mut(|together| {
        if let Some(written) = together {
            let path = path.to_owned();
            written.push(Written { temporary, path });
        }
    });
    if is_synced { sync_directory_of(path) } else { Ok(()) }
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

fn write_new(path: &Path, content: &[u8], is_synced: bool) -> io::Result<()> {
    // One program writes in a directory (it holds the lock), so a file of this name is a leftover.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    belong_to_directory_of(path)?;
    if is_synced { file.sync_all() } else { Ok(()) }
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
    fn files_that_are_written_together_come_together_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let [one, two, derived] = ["one", "two", "derived"].map(|name| root.path().join(name));
        write(&one, b"old", Worth::Kept).unwrap();
        let write_all = |last: &Path| {
            write(&one, b"new", Worth::Kept)?;
            write(&derived, b"new", Worth::Derived)?;
            // None is in its place before all are on the disk.
            assert_eq!(fs::read(&one).unwrap(), b"old");
            assert!(!derived.exists());
            write(last, b"new", Worth::Kept)
        };
        let nowhere = root.path().join("nowhere/file");
        together(root.path(), || write_all(&nowhere)).unwrap().unwrap_err();
        assert_eq!(fs::read(&one).unwrap(), b"old");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing is left");
        together(root.path(), || write_all(&two)).unwrap().unwrap();
        for path in [&one, &two, &derived] {
            assert_eq!(fs::read(path).unwrap(), b"new");
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 3, "nothing is left");
        // One that cannot come into its place ends it; what is not in its place is gone.
        let directory = root.path().join("directory");
        fs::create_dir(&directory).unwrap();
        together(root.path(), || write(&directory, b"new", Worth::Kept)).unwrap_err();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 4, "nothing is left");
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
