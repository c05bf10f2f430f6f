//! Reads again what a running gateway is asked for, when files have changed.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use gateway::{
    client::Terms,
    daemon::Source,
    environment::PeerId,
    form::Form,
    reach::Host,
    roster::{Roster, Wish},
};

use zeroize::Zeroizing;

use super::{Arguments, Config, server, tunnels::Tunnels};

/// How the name of a variable begins whose value is the name of a file.
const FILE: &str = "FILE__";

/// The files of `adit serve`: templates, tunnels, and those that variables name.
pub(super) struct Files {
    arguments: Arguments,
    config_dir: PathBuf,
    named: Vec<PathBuf>,
    /// Where clients connect to; it does not change while the gateway runs.
    endpoint: (Host, u16),
    /// The templates that the gateway was opened with.
    form: Option<Arc<Form>>,
    /// Beside the gateway.
    tunnels: Rc<RefCell<Tunnels>>,
}

impl Files {
    pub(super) fn new(
        arguments: Arguments,
        config: &Config,
        endpoint: (Host, u16),
        form: Option<Arc<Form>>,
        tunnels: Rc<RefCell<Tunnels>>,
    ) -> Self {
        let is_file = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.starts_with(FILE));
        let named = std::env::vars_os().filter(|(name, _)| is_file(name));
        Self {
            arguments,
            config_dir: config.config_dir.clone(),
            named: named.map(|(_, path)| path.into()).collect(),
            endpoint,
            form,
            tunnels,
        }
    }

    fn config(&self) -> Result<Config, String> {
        super::config(&self.arguments).map_err(|error| format!("{error:#}"))
    }

    fn templates(&self) -> PathBuf {
        self.config_dir.join("templates")
    }

    fn tunnels(&self) -> PathBuf {
        self.config_dir.join("wg_confs")
    }
}

impl Source for Files {
    fn directories(&self) -> Vec<PathBuf> {
        let named = self.named.iter().filter_map(|path| path.parent()).map(Path::to_owned);
        let mut directories: Vec<PathBuf> = named.chain([self.templates(), self.tunnels()]).collect();
        directories.sort();
        directories.dedup();
        directories
    }

    fn files(&self) -> Vec<PathBuf> {
        self.named.clone()
    }

    fn wish(&mut self) -> Result<Wish, String> {
        Ok(self.config()?.wish)
    }

    fn terms(&mut self, roster: &Roster) -> Result<Terms, String> {
        server::terms(&self.config()?, roster, self.endpoint.clone(), self.form.as_deref())
            .map_err(|error| error.to_string())
    }

    fn show(&mut self, changed: &[(PeerId, Zeroizing<String>)]) {
        // It was read a moment ago.
        let Ok(config) = self.config() else { return };
        for (peer, conf) in changed {
            server::show_code(&config, peer, conf);
        }
    }

    fn concerns_peers(&mut self, changed: &[PathBuf]) -> bool {
        let is_tunnel = |path: &PathBuf| path.starts_with(self.tunnels()) && !path.ends_with(server::OWN_CONF);
        if changed.iter().any(is_tunnel) {
            self.tunnels.borrow_mut().bring_in_line();
        }
        // The link by which Kubernetes changes all files of a volume at once.
        let is_volume = |path: &Path| path.file_name().is_some_and(|name| name == "..data");
        changed
            .iter()
            .any(|path| path.starts_with(self.templates()) || self.named.contains(path) || is_volume(path))
    }
}
