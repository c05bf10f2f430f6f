//! The directory that holds a lease's configurations for as long as they work.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use gateway::Name;
use wg::{PrivateKey, PublicKey};
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
    ///
    /// # Errors
    ///
    /// The system's. Then all of it is the launch's as before.
    pub(crate) fn leave(&mut self) -> anyhow::Result<()> {
        for (path, first) in &mut self.written {
            let path: &Path = path;
            let left = format!("{LEFT}{}", first.strip_prefix(MARK).unwrap_or(first.as_str()));
            relabel(path, first.as_str(), &left).with_context(|| format!("cannot keep {}", path.display()))?;
            *first = left;
        }
        self.made_directory = false;
        self.written.clear();
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

/// What may be where a peer's configuration is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Former {
    /// Nothing: the peer is new.
    Nothing,
    /// The configuration that the peer has, with the private key that belongs to this one, if the gateway has told it.
    OfKey(Option<PublicKey>),
}

/// The file of a peer that comes to a lease, or gets another key, while it runs.
#[derive(Debug)]
pub(crate) struct Late {
    path: PathBuf,
    keeper: Keeper,
    /// Whether the peer's former file is there, which is replaced.
    replaces: bool,
    /// The first line of what was written.
    written: Option<String>,
}

impl Late {
    /// Finds out whether a peer's configuration can be written, before anything else is done.
    pub(crate) fn new(directory: &Path, peer: &Name, keeper: Keeper, former: Former) -> anyhow::Result<Self> {
        make_directory(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let path = directory.join(format!("{peer}.conf"));
        let is_there = fs::symlink_metadata(&path).is_ok();
        if is_there {
            check_former(&path, peer, keeper, former)?;
        }
        Ok(Self {
            path,
            keeper,
            replaces: is_there,
            written: None,
        })
    }

    /// Writes it, as [`Files::write`] does. Gives its path.
    pub(crate) fn write(&mut self, note: &str, conf: &str) -> anyhow::Result<&Path> {
        let mark = match self.keeper {
            Keeper::Driver => MARK,
            Keeper::Person => LEFT,
        };
        let first = format!("{mark}{note}");
        let write = || {
            if self.replaces {
                return replace(&self.path, &first, conf);
            }
            let file = new_file(&self.path)?;
            fill(file, &first, conf).inspect_err(|_| {
                let _half_written = fs::remove_file(&self.path);
            })
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))?;
        self.written = Some(first);
        Ok(&self.path)
    }

    /// Removes what was written, but for a file that somebody has put in its place.
    pub(crate) fn take_back(&self) -> io::Result<()> {
        if self.written.is_some() && first_line(&self.path) == self.written {
            fs::remove_file(&self.path)?;
        }
        Ok(())
    }
}

/// Refuses a file that is there and is not what a peer's configuration may replace.
fn check_former(path: &Path, peer: &Name, keeper: Keeper, former: Former) -> anyhow::Result<()> {
    let (shown, remedy) = (path.display(), "move it, or choose another directory: --output DIR");
    let first = first_line(path).filter(|line| line.starts_with(MARK) || line.starts_with(LEFT));
    let Some(first) = first else {
        bail!("{shown} is there and is not from a launch; {remedy}");
    };
    let Former::OfKey(present) = former else {
        bail!("{shown} is there, of another lease; {remedy}");
    };
    // Its driver has the directory to itself.
    if keeper == Keeper::Driver && first.starts_with(MARK) {
        return Ok(());
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let key = public_key(&Zeroizing::new(text));
    if key.is_none() || key != present {
        bail!("{shown} has not the key that {peer} has at the gateway: it may be of another lease; {remedy}");
    }
    Ok(())
}

/// The public key of the client that a configuration is for, by its private one; `None` if it has none.
pub(crate) fn public_key(conf: &str) -> Option<PublicKey> {
    let line = conf.lines().find_map(|line| line.strip_prefix("PrivateKey = "))?;
    // Behind it a sample says what it is.
    let key = line.split_whitespace().next()?;
    Some(PrivateKey::from_base64(key).ok()?.public_key())
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

/// Gives a file another first line.
fn relabel(path: &Path, first: &str, other: &str) -> io::Result<()> {
    let text = Zeroizing::new(fs::read_to_string(path)?);
    let rest = text.strip_prefix(first).unwrap_or(&text);
    replace(path, other, rest.strip_prefix('\n').unwrap_or(rest))
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
    fn what_cannot_all_be_left_goes_with_its_lease() {
        let parent = tempfile::tempdir().unwrap();
        let mut files = Files::open(parent.path()).unwrap();
        let [phone, laptop] = ["phone", "laptop"].map(|peer| files.write(&name(peer), peer, "[Interface]\n").unwrap());
        fs::remove_file(laptop).unwrap();
        assert!(files.leave().is_err() && phone.exists());
        assert!(files.remove().is_empty() && !phone.exists());
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
        let write = |peer: &str, keeper, former, conf: &str| {
            let mut late = Late::new(&directory, &name(peer), keeper, former)?;
            late.write(peer, conf).map(Path::to_owned)
        };
        let tablet = write("tablet", Keeper::Driver, Former::Nothing, "[Interface]\n").unwrap();
        assert_eq!(fs::metadata(&tablet).unwrap().permissions().mode() & 0o777, 0o600);
        // (peer, who removes it, what may be there, what is said)
        for (peer, keeper, former, problem) in [
            ("tablet", Keeper::Driver, Former::Nothing, Some("of another lease")),
            ("tablet", Keeper::Person, Former::OfKey(None), Some("has not the key")),
            ("tablet", Keeper::Driver, Former::OfKey(None), None),
            ("laptop", Keeper::Person, Former::Nothing, None),
            ("laptop", Keeper::Person, Former::OfKey(None), Some("has not the key")),
        ] {
            let said = write(peer, keeper, former, "[Peer]\n").map_err(|error| error.to_string());
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
            write("phone", Keeper::Driver, Former::OfKey(None), "")
                .unwrap_err()
                .to_string()
                .contains("not from a launch")
        );
        forget(&directory, "phone").unwrap();
        let gone = write("gone", Keeper::Driver, Former::Nothing, "").unwrap();
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
    fn only_the_file_with_the_key_that_a_peer_has_is_replaced() {
        let parent = tempfile::tempdir().unwrap();
        let key = |byte| PrivateKey::from_random([byte; 32]);
        let conf = |byte| format!("[Interface]\nPrivateKey = {} # sample\n", *key(byte).danger_base64());
        let path = parent.path().join("phone.conf");
        // (whose key is in the file, which key the peer has, what is said)
        for (there, present, problem) in [
            (None, Some(1), None),
            (Some(1), Some(1), None),
            (Some(2), Some(1), Some("has not the key that phone has")),
            (Some(1), None, Some("--output DIR")),
        ] {
            let _absent = fs::remove_file(&path);
            if let Some(there) = there {
                fs::write(&path, format!("{LEFT}phone\n{}", conf(there))).unwrap();
            }
            let former = Former::OfKey(present.map(|byte| key(byte).public_key()));
            let late = Late::new(parent.path(), &name("phone"), Keeper::Person, former);
            let said = late.map(|mut late| late.write("phone", &conf(3)).map(Path::to_owned));
            match problem {
                None => assert_eq!(said.unwrap().unwrap(), path),
                Some(problem) => assert!(said.unwrap_err().to_string().contains(problem)),
            }
            let left = if problem.is_some() { there } else { Some(3) };
            assert_eq!(
                public_key(&fs::read_to_string(&path).unwrap()),
                left.map(|byte| key(byte).public_key())
            );
        }
    }

    #[test]
    fn what_is_taken_back_is_what_was_written() {
        let parent = tempfile::tempdir().unwrap();
        let late = |peer: &str| Late::new(parent.path(), &name(peer), Keeper::Person, Former::Nothing).unwrap();
        let (unwritten, mut own, mut replaced) = (late("laptop"), late("phone"), late("tablet"));
        fs::write(parent.path().join("laptop.conf"), "of another command\n").unwrap();
        let own_path = own.write("phone", "[Interface]\n").unwrap().to_owned();
        let replaced_path = replaced.write("tablet", "[Interface]\n").unwrap().to_owned();
        fs::write(&replaced_path, "mine now\n").unwrap();
        for late in [&unwritten, &own, &replaced] {
            late.take_back().unwrap();
        }
        assert!(parent.path().join("laptop.conf").exists() && replaced_path.exists());
        assert!(!own_path.exists());
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
