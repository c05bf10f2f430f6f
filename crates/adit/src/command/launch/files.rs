//! The directory that holds a lease's configurations for as long as they work.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use gateway::Name;
use zeroize::Zeroizing;

/// How the first line of every file begins that a launch wrote.
const MARK: &str = "# adit launch: ";

/// How the first line of every file begins that a launch has left to its person.
const LEFT: &str = "# adit lease: ";

/// The directory, which this lease alone uses, and what it wrote there.
#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    made_directory: bool,
    _lock: File,
    written: Vec<(PathBuf, String)>,
}

impl Files {
    /// Takes the directory, which is made if it does not exist, and clears it of leases that ended without a chance to.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        let shown = directory.display();
        let made_directory = make_directory(directory).with_context(|| format!("cannot make {shown}"))?;
        let lock = File::open(directory).with_context(|| format!("cannot open {shown}"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another launch uses {shown}; give this one its own: --output DIR"),
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("cannot lock {shown}")),
        }
        let files = Self {
            directory: directory.to_owned(),
            made_directory,
            _lock: lock,
            written: Vec::new(),
        };
        files.remove_stale().with_context(|| format!("cannot clear {shown}"))?;
        Ok(files)
    }

    /// Where the configuration of this peer is, or will be.
    pub(crate) fn path(&self, peer: &Name) -> PathBuf {
        self.directory.join(format!("{peer}.conf"))
    }

    /// Refuses if a file that no launch wrote is in the way.
    pub(crate) fn check(&self, peer: &Name) -> anyhow::Result<()> {
        let path = self.path(peer);
        if fs::symlink_metadata(&path).is_ok() {
            bail!(
                "{} is there and is not from a launch; move it, or choose another directory: --output DIR",
                path.display()
            );
        }
        Ok(())
    }

    /// Writes a peer's configuration, for its owner's eyes only (mode 0600), below a line that says whose it is.
    pub(crate) fn write(&mut self, peer: &Name, note: &str, conf: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(peer);
        let first = format!("{MARK}{note}");
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.written.push((path.clone(), first.clone()));
        file.write_all(format!("{first}\n").as_bytes())
            .and_then(|()| file.write_all(conf.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Leaves what was written where it is, for good: it is no launch's any more, whose next one would remove it.
    pub(crate) fn leave(&mut self) -> anyhow::Result<()> {
        self.made_directory = false;
        for (path, first) in self.written.drain(..) {
            let leave = || -> io::Result<()> {
                let text = Zeroizing::new(fs::read_to_string(&path)?);
                let note = first.strip_prefix(MARK).unwrap_or(&first);
                let rest = text.strip_prefix(first.as_str()).unwrap_or(&text);
                let left = path.with_extension("conf.new");
                let mut file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600)
                    .open(&left)?;
                file.write_all(format!("{LEFT}{note}").as_bytes())?;
                file.write_all(rest.as_bytes())?;
                fs::rename(&left, &path)
            };
            leave().with_context(|| format!("cannot keep {}", path.display()))?;
        }
        Ok(())
    }

    /// Removes what was written, but for a file that somebody has put in its place. Says what could not be removed.
    pub(crate) fn remove(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for (path, first) in self.written.drain(..) {
            if first_line(&path).is_some_and(|line| line == first)
                && let Err(error) = fs::remove_file(&path)
            {
                problems.push(format!("cannot remove {}: {error}", path.display()));
            }
        }
        if self.made_directory {
            // It stays if somebody has put something else there.
            let _not_empty = fs::remove_dir(&self.directory);
        }
        problems
    }

    /// With the lock held, every file that bears the mark belongs to a lease that is over.
    fn remove_stale(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let is_conf = path.extension().is_some_and(|extension| extension == "conf");
            if is_conf && first_line(&path).is_some_and(|line| line.starts_with(MARK)) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Whether the directory had to be made.
fn make_directory(directory: &Path) -> io::Result<bool> {
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The first line of a regular file, if it can be read.
fn first_line(path: &Path) -> Option<String> {
    if !fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let mut line = String::new();
    BufReader::new(File::open(path).ok()?).read_line(&mut line).ok()?;
    Some(line.trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn what_a_lease_wrote_is_private_and_goes_with_it() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a/adit");
        let mut files = Files::open(&directory).unwrap();
        let path = files
            .write(&name("phone"), "phone, until then", "[Interface]\n")
            .unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "# adit launch: phone, until then\n[Interface]\n"
        );
        assert!(files.remove().is_empty());
        assert!(!directory.exists());
    }

    #[test]
    fn what_was_left_is_nobodys_to_remove() {
        let parent = tempfile::tempdir().unwrap();
        let mut files = Files::open(parent.path()).unwrap();
        let path = files
            .write(&name("phone"), "phone, until then", "[Interface]\n")
            .unwrap();
        files.leave().unwrap();
        drop(files);
        let mut files = Files::open(parent.path()).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "# adit lease: phone, until then\n[Interface]\n"
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(files.check(&name("phone")).is_err() && files.remove().is_empty());
    }

    #[test]
    fn a_foreign_file_is_neither_overwritten_nor_removed() {
        let parent = tempfile::tempdir().unwrap();
        let mut files = Files::open(parent.path()).unwrap();
        let foreign = parent.path().join("phone.conf");
        fs::write(&foreign, "[Interface]\n").unwrap();
        assert!(
            files
                .check(&name("phone"))
                .unwrap_err()
                .to_string()
                .contains("--output")
        );
        assert!(files.write(&name("phone"), "", "").is_err());
        let own = files.write(&name("laptop"), "laptop", "[Interface]\n").unwrap();
        fs::write(&own, "mine now\n").unwrap();
        drop(files);
        assert!(foreign.exists() && own.exists());
    }

    #[test]
    fn what_a_killed_lease_left_is_cleared_by_the_next() {
        let parent = tempfile::tempdir().unwrap();
        let mut killed = Files::open(parent.path()).unwrap();
        let left = killed.write(&name("phone"), "phone", "[Interface]\n").unwrap();
        killed.written.clear();
        drop(killed);
        assert!(left.exists());
        let files = Files::open(parent.path()).unwrap();
        assert!(!left.exists());
        files.check(&name("phone")).unwrap();
    }

    #[test]
    fn two_leases_do_not_share_a_directory() {
        let parent = tempfile::tempdir().unwrap();
        let _first = Files::open(parent.path()).unwrap();
        assert!(
            Files::open(parent.path())
                .unwrap_err()
                .to_string()
                .contains("another launch")
        );
    }
}
