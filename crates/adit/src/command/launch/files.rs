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

use super::login::{self, Login};

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

    /// Writes a peer's configuration, for its owner's eyes only (mode 0600), below a line that says whose it is. It takes the
    /// place of the one that was written before, and of no other file.
    pub(crate) fn write(&mut self, peer: &Name, note: &str, conf: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(peer);
        let first = format!("{MARK}{note}");
        if let Some((_, before)) = self.written.iter_mut().find(|(written, _)| *written == path)
            && first_line(&path).as_ref() == Some(before)
        {
            replace(&path, &first, conf).with_context(|| format!("cannot write {}", path.display()))?;
            *before = first;
            return Ok(path);
        }
        let file = new_file(&path).with_context(|| format!("cannot write {}", path.display()))?;
        self.written.push((path.clone(), first.clone()));
        fill(file, &first, conf).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Where the private key is that logs in by SSH, or will be.
    pub(crate) fn login_path(&self) -> PathBuf {
        self.directory.join(login::FILE)
    }

    /// Writes the private key that logs in by SSH, for its owner's eyes only (mode 0600). No file is overwritten.
    pub(crate) fn write_login(&mut self, note: &str, login: &Login) -> anyhow::Result<PathBuf> {
        let path = self.login_path();
        let first = format!("{MARK}{note}");
        let text = login.private(first.trim_start_matches("# "))?;
        let file = new_file(&path).with_context(|| {
            format!(
                "cannot write {}; choose another directory: --output DIR",
                path.display()
            )
        })?;
        self.written.push((path.clone(), first));
        let mut file = file;
        file.write_all(text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
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
            let is_conf = path.extension().is_some_and(|extension| extension == "conf")
                || path.file_name().is_some_and(|name| name == login::FILE);
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
    if login::comment(&text).is_some() {
        let text = login::relabel(&text, other.trim_start_matches("# ")).map_err(io::Error::other)?;
        return replace_by(path, |mut file| file.write_all(text.as_bytes()));
    }
    let rest = text.strip_prefix(first).unwrap_or(&text);
    replace(path, other, rest.strip_prefix('\n').unwrap_or(rest))
}

/// Whoever reads the file meanwhile reads all of the old one, or all of the new one.
fn replace(path: &Path, first: &str, conf: &str) -> io::Result<()> {
    replace_by(path, |file| fill(file, first, conf))
}

fn replace_by(path: &Path, fill: impl FnOnce(File) -> io::Result<()>) -> io::Result<()> {
    let new = path.with_extension("conf.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fill(new_file(&new)?)?;
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

/// The first line of a regular file, if it can be read; of a private key, which has none that says so, whose it is.
fn first_line(path: &Path) -> Option<String> {
    if !fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let mut line = String::new();
    BufReader::new(File::open(path).ok()?).read_line(&mut line).ok()?;
    if line.starts_with("-----BEGIN") {
        let text = Zeroizing::new(fs::read_to_string(path).ok()?);
        return login::comment(&text).map(|comment| format!("# {comment}"));
    }
    Some(line.trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests;
