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
        let file = new_file(&path).with_context(|| format!("cannot write {}", path.display()))?;
        self.written.push((path.clone(), first.clone()));
        fill(file, &first, conf).with_context(|| format!("cannot write {}", path.display()))?;
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
                replace(&path, &format!("{LEFT}{note}"), rest.strip_prefix('\n').unwrap_or(rest))
            };
            leave().with_context(|| format!("cannot keep {}", path.display()))?;
        }
        Ok(())
    }

    /// Removes what was written, here or by others for the same lease, but for a file that somebody has put in its place.
    /// Says what could not be removed.
    pub(crate) fn remove(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for (path, first) in self.written.drain(..) {
            if first_line(&path).is_some_and(|line| line == first)
                && let Err(error) = fs::remove_file(&path)
            {
                problems.push(format!("cannot remove {}: {error}", path.display()));
            }
        }
        match self.remove_stale() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                problems.push(format!("cannot clear {}: {error}", self.directory.display()));
            }
            Ok(()) | Err(_) => {}
        }
        if self.made_directory {
            // It stays if somebody has put something else there.
            let _not_empty = fs::remove_dir(&self.directory);
        }
        problems
    }

    /// With the lock held, every file that bears the mark belongs to a lease that is over, or to the one of this directory.
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

/// Who removes a configuration that is written for a lease that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// The process that drives the lease, whose directory it is, as it removes its own.
    Driver,
    /// The person.
    Person,
}

/// The file of a peer that comes to a lease, or gets another key, while it runs.
#[derive(Debug)]
pub(crate) struct Late {
    path: PathBuf,
    keeper: Keeper,
    /// Whether a launch's file for this peer is there, which is replaced.
    replaces: bool,
}

impl Late {
    /// Finds out whether a peer's configuration can be written, before anything else is done.
    pub(crate) fn new(directory: &Path, peer: &Name, keeper: Keeper, may_replace: bool) -> anyhow::Result<Self> {
        make_directory(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let path = directory.join(format!("{peer}.conf"));
        let is_there = fs::symlink_metadata(&path).is_ok();
        let is_ours = first_line(&path).is_some_and(|line| line.starts_with(MARK) || line.starts_with(LEFT));
        let shown = path.display();
        if is_there && !is_ours {
            bail!("{shown} is there and is not from a launch; move it, or choose another directory: --output DIR");
        }
        if is_there && !may_replace {
            bail!("{shown} is there, of another lease; move it, or choose another directory: --output DIR");
        }
        Ok(Self {
            path,
            keeper,
            replaces: is_there,
        })
    }

    /// Writes it, as [`Files::write`] does. Gives its path.
    pub(crate) fn write(&self, note: &str, conf: &str) -> anyhow::Result<&Path> {
        let mark = match self.keeper {
            Keeper::Driver => MARK,
            Keeper::Person => LEFT,
        };
        let first = format!("{mark}{note}");
        let write = || {
            if self.replaces {
                replace(&self.path, &first, conf)
            } else {
                fill(new_file(&self.path)?, &first, conf)
            }
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(&self.path)
    }
}

/// Removes the file of a peer that is one no more, if a launch wrote it.
pub(crate) fn forget(directory: &Path, peer: &str) -> anyhow::Result<()> {
    let path = directory.join(format!("{peer}.conf"));
    if first_line(&path).is_some_and(|line| line.starts_with(MARK)) {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn fill(mut file: File, first: &str, conf: &str) -> io::Result<()> {
    file.write_all(format!("{first}\n").as_bytes())?;
    file.write_all(conf.as_bytes())
}

/// Whoever reads the file meanwhile reads all of the old one, or all of the new one.
fn replace(path: &Path, first: &str, conf: &str) -> io::Result<()> {
    let new = path.with_extension("conf.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fill(new_file(&new)?, first, conf)?;
    fs::rename(&new, path)
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
        let left = Files::open(parent.path())
            .unwrap()
            .write(&name("phone"), "phone", "[Interface]\n")
            .unwrap();
        assert!(!left.exists(), "one that ends removes it itself");
        fs::write(&left, format!("{MARK}phone\n[Interface]\n")).unwrap();
        let files = Files::open(parent.path()).unwrap();
        assert!(!left.exists());
        files.check(&name("phone")).unwrap();
    }

    #[test]
    fn what_comes_late_is_as_private_and_goes_with_the_lease_or_stays_with_its_person() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("adit");
        let mut files = Files::open(&directory).unwrap();
        let write = |peer: &str, keeper, may_replace, conf: &str| {
            let late = Late::new(&directory, &name(peer), keeper, may_replace)?;
            late.write(peer, conf).map(Path::to_owned)
        };
        let tablet = write("tablet", Keeper::Driver, false, "[Interface]\n").unwrap();
        assert_eq!(fs::metadata(&tablet).unwrap().permissions().mode() & 0o777, 0o600);
        // (peer, who removes it, whether it may replace, what is said)
        for (peer, keeper, may_replace, problem) in [
            ("tablet", Keeper::Driver, false, Some("of another lease")),
            ("tablet", Keeper::Driver, true, None),
            ("laptop", Keeper::Person, false, None),
            ("laptop", Keeper::Person, true, None),
        ] {
            let said = write(peer, keeper, may_replace, "[Peer]\n").map_err(|error| error.to_string());
            match problem {
                Some(problem) => assert!(said.unwrap_err().contains(problem), "{peer}"),
                None => assert!(
                    fs::read_to_string(said.unwrap())
                        .unwrap()
                        .ends_with(&format!("{peer}\n[Peer]\n"))
                ),
            }
        }
        let foreign = directory.join("phone.conf");
        fs::write(&foreign, "[Interface]\n").unwrap();
        assert!(
            write("phone", Keeper::Driver, true, "")
                .unwrap_err()
                .to_string()
                .contains("not from a launch")
        );
        forget(&directory, "phone").unwrap();
        let gone = write("gone", Keeper::Driver, false, "").unwrap();
        forget(&directory, "gone").unwrap();
        assert!(foreign.exists() && !gone.exists());
        assert!(files.remove().is_empty());
        let left: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(
            left.len() == 2 && directory.join("laptop.conf").exists() && foreign.exists(),
            "{left:?}"
        );
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
