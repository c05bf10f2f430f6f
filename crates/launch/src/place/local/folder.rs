//! The folder of a lease on this machine: its lock, its socket, its process, its log.
//!
//! ```text
//!   RUNTIME/INSTANCE/LEASE/   0700
//!     lock      locked by the gateway's process from its first to its last moment
//!     process   its number and when it started, for signals
//!     socket    where it answers
//!     log       its standard error
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::process::Process;
use crate::{
    LeaseId, node,
    place::{Fault, FaultKind},
};

/// Longest path of a socket, in bytes (`sun_path` of unix(7), which ends in a zero).
const MAX_SOCKET: usize = 107;

/// Longest name of an instance, in bytes.
const MAX_INSTANCE: usize = 64;

/// How much of a log is read, in bytes.
const MAX_LOG: u64 = 1 << 20;

/// Longest text of an error that is taken from a log, in characters.
const MAX_ERROR: usize = 500;

/// The folder of a lease, there or not.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

/// Who has the lock.
#[derive(Debug)]
pub(super) enum Hold {
    /// There is no folder.
    Absent,
    /// This one, until it is dropped: no process of the lease lives.
    Ours(File),
    /// The gateway's process, which lives.
    Theirs(File),
}

/// What a log says of a process that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Story {
    /// Whether it took connections before.
    pub(super) was_ready: bool,
    /// Why it did not: a word for programs.
    pub(super) code: Option<String>,
    /// Its last error.
    pub(super) error: Option<String>,
}

/// The folder of an instance.
///
/// # Errors
///
/// A name that is none of a folder.
pub(super) fn of_instance(runtime: &Path, instance: &str) -> Result<PathBuf, Fault> {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name =
        (1..=MAX_INSTANCE).contains(&instance.len()) && instance.bytes().all(is_inner) && !instance.starts_with('.');
    if is_name {
        Ok(runtime.join(instance))
    } else {
        let message = format!("`{}` cannot name an instance", instance.escape_debug());
        let remedy = format!("use 1 to {MAX_INSTANCE} letters, digits, `-`, `_` and `.`, the first no `.`");
        Err(Fault::new(FaultKind::Refused, "bad_instance", message).with_remedy(remedy))
    }
}

impl Folder {
    /// The folder of a lease.
    ///
    /// # Errors
    ///
    /// The instance has no name for a folder, or the path is too long for a socket.
    pub(super) fn new(runtime: &Path, instance: &str, id: LeaseId) -> Result<Self, Fault> {
        let folder = Self {
            path: of_instance(runtime, instance)?.join(id.to_string()),
        };
        let length = folder.socket().as_os_str().len();
        if length > MAX_SOCKET {
            let message = format!(
                "{} has {length} bytes, and the path of a socket has at most {MAX_SOCKET}",
                folder.socket().display()
            );
            let fault = Fault::new(FaultKind::Refused, "runtime_too_long", message);
            return Err(fault.with_remedy("choose a runtime folder with a shorter path, such as /run/adit"));
        }
        Ok(folder)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path.join("socket")
    }

    fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }

    fn process(&self) -> PathBuf {
        self.path.join("process")
    }

    fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Makes the folder, for its owner alone, if it is not there.
    ///
    /// # Errors
    ///
    /// What the file system says, and a folder that is open to others: keys come through its socket.
    pub(super) fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        for path in self.path.ancestors().take(2) {
            let found = fs::symlink_metadata(path)?;
            if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o022 != 0 {
                let message = format!("{} is another user's, or others may write in it", path.display());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
            }
        }
        Ok(())
    }

    /// Looks who has the lock, and takes it if nobody has.
    ///
    /// # Errors
    ///
    /// What the file system says: then nobody can tell.
    pub(super) fn hold(&self) -> io::Result<Hold> {
        loop {
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(self.lock());
            let file = match opened {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Hold::Absent),
                Err(error) => return Err(error),
            };
            match file.try_lock() {
                Ok(()) if self.is_lock(&file)? => return Ok(Hold::Ours(file)),
                // The folder was removed, and perhaps made again, before the file was locked.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Hold::Theirs(file)),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Whether an open file is the one that is there now.
    fn is_lock(&self, file: &File) -> io::Result<bool> {
        let open = file.metadata()?;
        match fs::symlink_metadata(self.lock()) {
            Ok(found) => Ok((found.dev(), found.ino()) == (open.dev(), open.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A log without a line, in place of that of a process before.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(super) fn fresh_log(&self) -> io::Result<File> {
        for path in [self.socket(), self.process(), self.log()] {
            remove_file(&path)?;
        }
        OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(self.log())
    }

    /// Keeps which process it is. Whole, or not at all.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(super) fn keep_process(&self, process: Process) -> io::Result<()> {
        let fresh = self.path.join("process.new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(process.to_string().as_bytes())?;
        fs::rename(fresh, self.process())
    }

    /// The process that has the lock, as far as it can be told. `lock` is the open file that it has locked.
    pub(super) fn kept_process(&self, lock: &File) -> Option<Process> {
        let kept = fs::read_to_string(self.process())
            .ok()
            .and_then(|text| text.parse().ok());
        // Who was killed before it could write that down has left the lock as the process's standard input.
        kept.or_else(|| Process::with_input(&lock.metadata().ok()?))
    }

    /// What the log says.
    pub(super) fn story(&self) -> Story {
        let mut bytes = Vec::new();
        if let Ok(file) = File::open(self.log()) {
            // As far as it can be read.
            let _cut = file.take(MAX_LOG).read_to_end(&mut bytes);
        }
        Story::of(&String::from_utf8_lossy(&bytes))
    }

    /// Removes the folder with all that is in it.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Story {
    fn of(log: &str) -> Self {
        let after = |mark| {
            log.lines()
                .rev()
                .find_map(move |line| Some(line.split_once(mark)?.1.trim()))
        };
        let error = log.lines().rev().find_map(|line| line.strip_prefix(node::ERROR));
        Self {
            was_ready: log.contains(node::READY),
            code: after(node::FAULT).map(str::to_owned).filter(|code| !code.is_empty()),
            error: error.map(|error| error.trim().chars().take(MAX_ERROR).collect()),
        }
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_how_it_ended() {
        let story = |was_ready, code: Option<&str>, error: Option<&str>| Story {
            was_ready,
            code: code.map(str::to_owned),
            error: error.map(str::to_owned),
        };
        for (log, expected) in [
            ("", story(false, None, None)),
            ("T netstack plane, as asked\n", story(false, None, None)),
            (
                "T fault: port_taken\nerror: udp 51820 is taken\n",
                story(false, Some("port_taken"), Some("udp 51820 is taken")),
            ),
            ("T gateway ready in 0.010 s\n", story(true, None, None)),
            (
                "T gateway ready in 0.010 s\nT it ends\nerror: the tunnel ended: gone\n",
                story(true, None, Some("the tunnel ended: gone")),
            ),
            (
                "error: invalid value 'x' for '--mtu'\n\nUsage: adit\n",
                story(false, None, Some("invalid value 'x' for '--mtu'")),
            ),
        ] {
            assert_eq!(Story::of(log), expected, "{log}");
        }
    }

    #[test]
    fn an_instance_is_a_folder_s_name() {
        for (name, is_name) in [
            ("default", true),
            ("hub-1_a.b", true),
            ("", false),
            (".", false),
            ("..", false),
            ("a/b", false),
            ("a b", false),
            (&"a".repeat(65), false),
        ] {
            assert_eq!(of_instance(Path::new("/run"), name).is_ok(), is_name, "{name}");
        }
    }
}
