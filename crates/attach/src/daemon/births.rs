//! Closes a namespace as soon as it comes to be, if somebody is expected in it.

use std::{io, path::Path, sync::Arc};

use docker::births::{self, Birth, Births};
use tokio::sync::mpsc;

use super::{Event, Newborn, Settings, expected::Expected};

use crate::inside::{
    Inside,
    guard::{self, Guard},
};

/// Closes namespaces on the thread that sees them first.
pub(super) fn watch(
    settings: &Settings,
    expected: &Arc<Expected>,
    events: &mpsc::UnboundedSender<Event>,
) -> io::Result<Births> {
    // The engine makes it with its first container.
    std::fs::create_dir_all(&settings.namespaces)?;
    let (expected, events) = (Arc::clone(expected), events.clone());
    Births::watch(&settings.namespaces, move |birth: Birth| {
        handle(birth, &expected, &events)
    })
}

/// Takes a namespace that there is already, if there is one.
pub(super) fn hear_of(file: &Path, expected: &Expected, events: &mpsc::UnboundedSender<Event>) {
    if let Some(birth) = births::find_now(file) {
        handle(birth, expected, events);
    }
}

fn handle(birth: Birth, expected: &Expected, events: &mpsc::UnboundedSender<Event>) {
    let endpoint = expected.endpoint(&birth.path);
    let Some(container) = birth.id else { return };
    if endpoint.is_none() && !expected.has_container(&container) {
        return;
    }
    let inside = Arc::new(Inside::new(birth.namespace, birth.process));
    let guarded = guard::set(&inside, &Guard::default());
    let guarded = guarded.map(drop).map_err(|error| error.to_string());
    let _ends_with_the_daemon = events.send(Event::Born(Newborn {
        container,
        inside,
        guarded,
        endpoint,
    }));
}
