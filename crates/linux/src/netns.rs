//! Network namespaces, and how to open something inside one.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    thread,
};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// A network namespace, kept alive by a descriptor.
#[derive(Debug)]
pub struct Namespace(OwnedFd);

/// What tells two namespaces apart, as long as one of them lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The device of the namespace's file.
    pub device: u64,
    /// The inode of the namespace's file, the number in `net:[4026531840]`.
    pub inode: u64,
}

impl Namespace {
    /// The namespace of a file such as `/var/run/netns/lab` or `/proc/42/ns/net`.
    ///
    /// # Errors
    ///
    /// The file's error. That it is a namespace shows when it is entered.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        File::open(path).map(|file| Self(file.into()))
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// The file's error, if `/proc` is not there.
    pub fn current() -> io::Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// Makes a namespace that nothing else knows; it goes with the last descriptor.
    ///
    /// # Errors
    ///
    /// The kernel's, without `CAP_SYS_ADMIN`.
    pub fn anonymous() -> io::Result<Self> {
        on_own_thread(|| {
            join_new()?;
            Self::current()
        })
    }

    /// What tells this namespace from others.
    ///
    /// # Errors
    ///
    /// The file's error.
    pub fn identity(&self) -> io::Result<Identity> {
        let stat = rustix::fs::fstat(&self.0)?;
        Ok(Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }

    /// Runs `inside` on a thread of its own in this namespace, and waits for it. Meant for opening a socket or a TUN,
    /// which stay in the namespace wherever they are used.
    ///
    /// # Errors
    ///
    /// The kernel's, if this is no network namespace or the process may not enter it.
    pub fn run<R: Send>(&self, inside: impl FnOnce() -> R + Send) -> io::Result<R> {
        on_own_thread(|| {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(inside())
        })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Namespace {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// Moves the calling thread to a new network namespace.
fn join_new() -> io::Result<()> {
    #![allow(unsafe_code, reason = "unshare is unsafe for the sake of its flag FILES")]
    // SAFETY: only the thread's network namespace changes; descriptors and file system stay shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(io::Error::from)
}

fn on_own_thread<R: Send>(work: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A namespace for one test; `None`, said aloud, where the test may not make one.
#[cfg(test)]
pub(crate) fn for_test() -> Option<Namespace> {
    match Namespace::anonymous() {
        Ok(namespace) => Some(namespace),
        Err(error) if std::env::var_os("ADIT_TEST_ALL").is_none() => {
            eprintln!("skipped: no network namespace of its own: {error}");
            None
        }
        Err(error) => panic!("no network namespace: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_stays_where_it_is() {
        let Some(namespace) = for_test() else { return };
        let here = Namespace::current().unwrap().identity().unwrap();
        let there = namespace
            .run(|| Namespace::current().unwrap().identity().unwrap())
            .unwrap();
        assert_eq!(there, namespace.identity().unwrap());
        assert_ne!(there, here);
        assert_eq!(Namespace::current().unwrap().identity().unwrap(), here);
    }

    #[test]
    fn a_file_that_is_no_namespace_is_refused() {
        assert!(Namespace::open("/proc/self/status").unwrap().run(|| ()).is_err());
        assert!(Namespace::open("/no/such/namespace").is_err());
    }
}
