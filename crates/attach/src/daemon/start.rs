//! Starts the daemon, and runs its loop until it is to end.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::mpsc;

use super::{Daemon, Event, Newborn, Settings, entry::Entry};
use crate::{
    births::{Birth, Births},
    control::Socket,
    docker::Engine,
    inside::{
        Inside,
        guard::{self, Guard},
    },
    metrics,
    saved::Saved,
};

/// The daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Neither plane is to be had.
    #[error(transparent)]
    Plane(#[from] tunnel::Unavailable),
    /// A file or socket of its own.
    #[error("{what}: {cause}")]
    System {
        /// What was tried.
        what: String,
        /// The error.
        cause: io::Error,
    },
}

/// Runs the daemon until `end` is over. `say` gets a line for each thing that a person may want to know.
///
/// # Errors
///
/// [`StartError`]; once it runs, nothing ends it but `end`.
pub async fn run(settings: Settings, say: fn(&str), end: impl Future<Output = ()>) -> Result<(), StartError> {
    let failed = |what: String| move |cause| StartError::System { what, cause };
    let saved = Saved::open(&settings.state);
    let saved = saved.map_err(failed(format!("keeping the state in {}", settings.state.display())))?;
    let socket = Socket::bind(&settings.socket).map_err(failed(settings.socket.display().to_string()))?;
    let page = match settings.metrics {
        Some(address) => Some(
            metrics::bind(address)
                .await
                .map_err(failed(format!("serving metrics on {address}")))?,
        ),
        None => None,
    };
    let engine = Engine::new(&settings.engine);
    let (sender, mut events) = mpsc::unbounded_channel();
    let expected = Arc::new(Mutex::new(BTreeSet::new()));
    let births = watch_births(&settings, &expected, &sender);
    if let Err(cause) = &births {
        say(&format!(
            "note: {}: {cause}: containers are closed when they have started, not before; \
             name the engine's folder of namespaces by --namespaces",
            settings.namespaces.display()
        ));
    }
    let mut daemon = Daemon {
        settings: Arc::new(settings),
        engine: engine.clone(),
        saved,
        entries: BTreeMap::new(),
        expected,
        events: sender.clone(),
        engine_is_up: false,
        root: None,
        turn: 0,
        say,
    };
    let (ask, mut asked) = mpsc::unbounded_channel();
    let watch = engine.watch({
        let sender = sender.clone();
        move |event| {
            let _ends_with_the_daemon = sender.send(Event::Docker(event));
        }
    });
    let serve_page = async {
        match page {
            Some(listener) => metrics::serve(listener, ask.clone()).await,
            None => std::future::pending().await,
        }
    };
    let work = async {
        loop {
            let due = daemon.entries.values().filter_map(Entry::poll_timeout).min();
            let sleep = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(event) = events.recv() => daemon.handle(event),
                Some(asked) = asked.recv() => daemon.handle(Event::Asked(asked)),
                () = sleep => daemon.handle_timeouts(),
            }
        }
    };
    say(&format!("adit attach watches {}", engine.place().display()));
    tokio::select! {
        () = end => {}
        () = watch => {}
        () = socket.serve(ask.clone()) => {}
        () = serve_page => {}
        () = work => {}
    }
    drop(births);
    Ok(())
}

/// Closes namespaces of containers that are expected, on the thread that sees them first.
fn watch_births(
    settings: &Settings,
    expected: &Arc<Mutex<BTreeSet<String>>>,
    events: &mpsc::UnboundedSender<Event>,
) -> io::Result<Births> {
    // The engine makes it with its first container.
    std::fs::create_dir_all(&settings.namespaces)?;
    let (expected, events) = (Arc::clone(expected), events.clone());
    Births::watch(&settings.namespaces, move |birth: Birth| {
        let Some(container) = birth.id else { return };
        let is_expected = expected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&container);
        if !is_expected {
            return;
        }
        let inside = Arc::new(Inside::from(birth.namespace));
        let guarded = guard::set(&inside, &Guard::default());
        let guarded = guarded.map(drop).map_err(|error| error.to_string());
        let _ends_with_the_daemon = events.send(Event::Born(Newborn {
            container,
            inside,
            guarded,
        }));
    })
}
