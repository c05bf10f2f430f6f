//! A lab: hosts, and the folder for what they write.

use std::path::Path;
use std::sync::Arc;

use crate::Host;

/// The machine's programs that a lab replaces with one of its own: wg-quick calls it for `DNS =` lines.
///
/// `resolvconf -a NAME` reads resolv.conf text, `resolvconf -d NAME` forgets it; each host has a resolv.conf of its own.
const RESOLVCONF: &str = r#"#!/bin/sh
case "$1" in
-a) cat > /etc/resolv.conf ;;
-d) : > /etc/resolv.conf ;;
esac
"#;

/// Hosts that belong to one test. Dropping the lab and its hosts removes everything.
#[derive(Debug)]
pub struct Lab {
    folder: Arc<tempfile::TempDir>,
}

impl Lab {
    /// An empty lab.
    ///
    /// # Panics
    ///
    /// If no temporary folder can be made.
    #[must_use]
    pub fn new() -> Self {
        crate::namespace::allow_descriptors();
        for orphan in crate::account::orphans() {
            crate::namespace::kill(orphan.pid, libc::SIGKILL);
        }
        let folder = tempfile::Builder::new()
            .prefix("netlab-")
            .tempdir()
            .expect("make a folder for the lab");
        open_to_all(folder.path());
        std::fs::create_dir(folder.path().join("bin")).expect("make the lab's program folder");
        let shim = folder.path().join("bin/resolvconf");
        std::fs::write(&shim, RESOLVCONF).expect("write the resolvconf shim");
        open_to_all(&shim);
        Self {
            folder: Arc::new(folder),
        }
    }

    /// A new host with nothing but a loopback interface, which is up.
    ///
    /// # Panics
    ///
    /// If the namespaces cannot be made.
    #[must_use]
    pub fn host(&self, name: &str) -> Host {
        Host::new(name, Arc::clone(&self.folder))
    }

    /// A router: a host that forwards IPv4 and IPv6.
    #[must_use]
    pub fn router(&self, name: &str) -> Host {
        let host = self.host(name);
        host.forward();
        host
    }

    /// The lab's folder, removed with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

/// Lets nobody's processes read and enter `path`.
fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("open a path of the lab to all");
}
