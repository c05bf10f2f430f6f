//! Who is about to have a namespace. A newborn is known by it on the thread that sees it first.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::driver::Endpoint;

/// Containers by their IDs, and endpoints by the names of their namespaces' files.
#[derive(Debug, Default)]
pub(super) struct Expected(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    containers: BTreeSet<String>,
    endpoints: BTreeMap<OsString, Endpoint>,
}

impl Expected {
    /// Notes a container that asks for a tunnel by its labels.
    pub(super) fn add_container(&self, id: String) {
        self.lock().containers.insert(id);
    }

    /// Forgets a container.
    pub(super) fn remove_container(&self, id: &str) {
        self.lock().containers.remove(id);
    }

    /// Notes an endpoint that the engine puts into a namespace.
    pub(super) fn add_endpoint(&self, endpoint: Endpoint) {
        if let Some(name) = Path::new(&endpoint.sandbox).file_name() {
            self.lock().endpoints.insert(name.to_owned(), endpoint);
        }
    }

    /// Forgets an endpoint.
    pub(super) fn remove_endpoint(&self, id: &str) {
        self.lock().endpoints.retain(|_, endpoint| endpoint.id != id);
    }

    /// Whether a container is noted.
    pub(super) fn has_container(&self, id: &str) -> bool {
        self.lock().containers.contains(id)
    }

    /// The endpoint whose namespace has this file. The engine may call the folder by another name.
    pub(super) fn endpoint(&self, file: &Path) -> Option<Endpoint> {
        let name: &OsStr = file.file_name()?;
        self.lock().endpoints.get(name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
