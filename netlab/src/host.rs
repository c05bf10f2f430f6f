//! One host of a lab.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::command::Command;
use crate::namespace::{self, Namespace};
use crate::{account, need, processes_in};

/// A network namespace with its own `/run`, `/sys` and `/etc/resolv.conf`. Clones are the same host.
///
/// When the last clone is dropped, its processes are killed; its links go with it.
#[derive(Clone, Debug)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    namespace: Namespace,
    folder: PathBuf,
    lab: Arc<tempfile::TempDir>,
}

impl Host {
    pub(crate) fn new(name: &str, lab: Arc<tempfile::TempDir>) -> Self {
        let folder = lab.path().join(name);
        std::fs::create_dir(&folder).expect("two hosts of a lab have different names");
        let resolv_conf = folder.join("resolv.conf");
        std::fs::write(&resolv_conf, "").expect("write the host's resolv.conf");
        let shim = lab.path().join("bin/resolvconf");
        let mut binds = vec![(resolv_conf.as_path(), Path::new("/etc/resolv.conf"))];
        let resolvconf = need::tool("resolvconf");
        if let Some(program) = &resolvconf {
            binds.push((&shim, program));
        }
        let namespace = Namespace::new(&binds).unwrap_or_else(|error| panic!("make the host {name}: {error}"));
        let host = Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                namespace,
                folder,
                lab,
            }),
        };
        // Addresses are usable at once, those of one link only included.
        for scope in ["all", "default"] {
            host.sysctl(&format!("net.ipv6.conf.{scope}.accept_dad"), "0");
        }
        // And every error is told: the kernel would tell one a second after the first six.
        for name in ["net.ipv4.icmp_ratelimit", "net.ipv6.icmp.ratelimit"] {
            host.sysctl(name, "0");
        }
        host.ip("link set lo up");
        host
    }

    /// The name that the test gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// A path by which other programs open this host's network namespace.
    #[must_use]
    pub fn namespace_path(&self) -> String {
        self.inner.namespace.path()
    }

    /// The host's folder; its logs are here.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// A new folder that belongs to nobody, for what an unprivileged process writes.
    #[must_use]
    pub fn nobodys_folder(&self, name: &str) -> PathBuf {
        let path = self.inner.folder.join(name);
        std::fs::create_dir(&path).expect("make a folder");
        std::os::unix::fs::chown(&path, Some(namespace::NOBODY), Some(namespace::NOBODY)).expect("give a folder away");
        path
    }

    /// Makes `program` reachable for every user of this host, wherever it was built, and gives the path here.
    #[must_use]
    pub fn install(&self, program: impl AsRef<Path>) -> PathBuf {
        let name = program
            .as_ref()
            .file_name()
            .expect("a program has a name")
            .to_string_lossy()
            .into_owned();
        self.install_as(program, &name)
    }

    /// The same under another name.
    #[must_use]
    pub fn install_as(&self, program: impl AsRef<Path>, name: &str) -> PathBuf {
        let (program, target) = (program.as_ref(), Path::new("/run/bin").join(name));
        let bound = self.inner.namespace.bind(program, &target);
        bound.unwrap_or_else(|error| panic!("install {} on {}: {error}", program.display(), self.name()));
        target
    }

    /// The host's resolv.conf as it is.
    #[must_use]
    pub fn resolv_conf(&self) -> String {
        std::fs::read_to_string(self.inner.folder.join("resolv.conf")).expect("read the host's resolv.conf")
    }

    /// Replaces the host's resolv.conf.
    pub fn set_resolv_conf(&self, text: &str) {
        std::fs::write(self.inner.folder.join("resolv.conf"), text).expect("write the host's resolv.conf");
    }

    /// A command that will run on this host. `program` is a path, or a name that [`crate::tool`] finds.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        let path = match program.to_str() {
            Some(name) if !name.contains('/') => need::tool(name).unwrap_or_else(|| program.to_owned()),
            _ => program.to_owned(),
        };
        let found = std::env::var_os("PATH").unwrap_or_default();
        let first = [self.inner.lab.path().join("bin")];
        let search = first
            .into_iter()
            .chain(std::env::split_paths(&found))
            .chain(["/usr/sbin".into(), "/sbin".into()]);
        Command::new(self.clone(), &path)
            .env("PATH", std::env::join_paths(search).expect("PATH can be extended"))
            .env("TMPDIR", "/tmp")
            .env(account::OWNER, std::process::id().to_string())
    }

    /// Runs `task` on a thread in this host, and gives what it gives.
    ///
    /// # Panics
    ///
    /// If the task does.
    #[track_caller]
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        let answer = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter();
                    task()
                })
                .join()
        });
        answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Starts `task` on a thread in this host.
    pub fn spawn<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
        // The thread holds the namespace by being in it, but not the host: dropping the host stays possible.
        let host = self.clone();
        std::thread::spawn(move || {
            host.enter();
            drop(host);
            task()
        })
    }

    /// The processes of this host.
    #[must_use]
    pub fn processes(&self) -> Vec<crate::Account> {
        processes_in(self.inner.namespace.inode())
    }

    pub(crate) fn enter(&self) {
        self.inner
            .namespace
            .enter()
            .unwrap_or_else(|error| panic!("enter the host {}: {error}", self.name()));
    }

    pub(crate) fn lead(&self, command: &mut std::process::Command, nobody: bool) {
        self.inner.namespace.lead(command, nobody);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A process that forks while we look is seen in the next round.
        for _ in 0..10 {
            let left = processes_in(self.namespace.inode());
            if left.is_empty() {
                break;
            }
            for process in left {
                namespace::kill(process.pid, libc::SIGKILL);
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// Makes `path` readable for every user.
pub(crate) fn readable_by_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("open a file to all");
}
