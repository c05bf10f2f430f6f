//! How the daemon is set up.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use tunnel::Plane;

use crate::{Wish, inside::probe::Targets, provider::Provider};

/// How the daemon is set up.
pub struct Settings {
    /// The engine's socket.
    pub engine: PathBuf,
    /// Where the engine keeps the files of network namespaces.
    pub namespaces: PathBuf,
    /// Who handles the packets.
    pub plane: Plane,
    /// Where tunnels come from.
    pub providers: Providers,
    /// Where it keeps what it needs at its next start; a folder that goes at the next boot.
    pub state: PathBuf,
    /// Its own socket, for `adit attach status`.
    pub socket: PathBuf,
    /// Where it serves metrics; `None` is nowhere.
    pub metrics: Option<SocketAddr>,
    /// What is tried through each tunnel.
    pub targets: Targets,
    /// Where it serves as network driver; `None` is nowhere.
    pub driver: Option<DriverPlace>,
    /// Where it writes the numbers of forwarded ports, a file a container; `None` is nowhere.
    pub ports: Option<PathBuf>,
}

/// Where the daemon serves as network driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverPlace {
    /// The socket, in the folder where the engine looks for it.
    pub socket: PathBuf,
    /// What it keeps of its networks over a boot.
    pub networks: PathBuf,
}

/// The providers by their names.
#[derive(Default)]
pub struct Providers {
    all: BTreeMap<&'static str, Arc<dyn Provider>>,
    default: Option<String>,
}

impl Providers {
    /// No provider yet; `default` is the name of that of containers that name none.
    pub fn new(default: Option<String>) -> Self {
        Self {
            all: BTreeMap::new(),
            default,
        }
    }

    /// Adds one.
    pub fn add(&mut self, name: &'static str, provider: Arc<dyn Provider>) {
        self.all.insert(name, provider);
    }

    /// The name of the provider that is wished for.
    pub(super) fn name_of<'a>(&'a self, wish: &'a Wish) -> &'a str {
        let named = wish.provider.as_deref().or(self.default.as_deref());
        named.unwrap_or_else(|| self.all.keys().next().copied().unwrap_or("file"))
    }

    /// The provider that is wished for.
    pub(super) fn of(&self, wish: &Wish) -> Result<Arc<dyn Provider>, String> {
        let name = self.name_of(wish);
        let known = || self.all.keys().copied().collect::<Vec<_>>().join(", ");
        self.find(name).ok_or_else(|| {
            format!(
                "the provider {name} is not set up: adit attach was started with {}",
                known()
            )
        })
    }

    /// Each of them.
    pub(super) fn all(&self) -> Vec<Arc<dyn Provider>> {
        self.all.values().cloned().collect()
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<dyn Provider>> {
        self.all.get(name).cloned()
    }
}

impl Settings {
    /// Writes down the number of a container's forwarded port.
    pub(super) fn write_port(&self, container: &str, port: u16) -> io::Result<()> {
        let Some(path) = self.port_file(container) else {
            return Ok(());
        };
        let text = format!("{port}\n");
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let beside = path.with_extension("new");
        fs::write(&beside, text).and_then(|()| fs::rename(&beside, &path))
    }

    /// Removes the file of a container's forwarded port.
    pub(super) fn remove_port(&self, container: &str) {
        if let Some(path) = self.port_file(container) {
            let _was_never_there = fs::remove_file(path);
        }
    }

    fn port_file(&self, container: &str) -> Option<PathBuf> {
        let is_plain = !container.is_empty() && Path::new(container).file_name()?.to_str()? == container;
        self.ports
            .as_ref()
            .filter(|_| is_plain)
            .map(|folder| folder.join(container))
    }
}
