//! Hears when somebody writes a container's resolvers: the engine does when it starts a container, or adds a network.

use std::{
    collections::BTreeMap,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use docker::watcher::Watcher;
use rustix::{fs::inotify, io::Errno};
use tokio::sync::mpsc;

use super::Event;

/// The files that are watched, on a thread of its own until this is dropped.
#[derive(Debug)]
pub(super) struct Rewrites {
    files: Arc<Files>,
    _watcher: Watcher,
}

#[derive(Debug)]
struct Files {
    inotify: OwnedFd,
    /// By the numbers of their watches, the containers.
    containers: Mutex<BTreeMap<i32, String>>,
}

impl Rewrites {
    /// Tells `events` of each file that was written.
    pub(super) fn start(events: mpsc::UnboundedSender<Event>) -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let files = Arc::new(Files {
            inotify: inotify::init(flags)?,
            containers: Mutex::default(),
        });
        let watcher = Watcher::start("rewrites", Arc::clone(&files), move |files| {
            for id in files.written() {
                let _ends_with_the_daemon = events.send(Event::Rewritten(id));
            }
        })?;
        Ok(Self {
            files,
            _watcher: watcher,
        })
    }

    /// Watches a container's file from now on, if it is not watched. The watch goes with the file.
    pub(super) fn watch(&self, id: &str, path: &Path) {
        let mut containers = self.files.lock();
        // A file that is gone, or one watch too many: it is looked at now and then anyway.
        if let Ok(number) = inotify::add_watch(&self.files.inotify, path, inotify::WatchFlags::CLOSE_WRITE) {
            containers.insert(number, id.to_owned());
        }
    }
}

impl Files {
    /// The containers whose files were written.
    fn written(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut containers = self.lock();
        let mut written = Vec::new();
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(inotify::ReadFlags::IGNORED) => {
                    containers.remove(&event.wd());
                }
                Ok(event) => written.extend(containers.get(&event.wd()).cloned()),
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        written.dedup();
        written
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<i32, String>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Files {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
