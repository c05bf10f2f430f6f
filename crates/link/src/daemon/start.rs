//! Starts the daemon, and runs its loop until it is to end.

use std::{collections::BTreeSet, io, os::unix::net::UnixStream, path::Path, pin::Pin, sync::Arc, time::Instant};

use docker::{Engine, births::Births, driver::Socket as Plugin};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep_until},
};

use super::{Daemon, Entry, Event, Say, Settings, TICK, containers::Rooms};
use crate::{
    control::Socket,
    driver::{Calls, Seats},
    host::{self, firewall::Firewall},
    store::{Store, StoreError},
};

/// The daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Where links are kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or socket of its own.
    #[error("{what}: {cause}")]
    System {
        /// What was tried.
        what: String,
        /// The error.
        cause: io::Error,
    },
}

/// Clears away what a daemon for a while has left that was killed, with the folder that it had.
///
/// # Errors
///
/// If it still runs, or something does not go.
pub fn clear(folder: &Path, socket: &Path) -> Result<(), StartError> {
    if !folder.exists() {
        return Ok(());
    }
    let failed = |what: &Path| {
        let what = what.display().to_string();
        move |cause| StartError::System { what, cause }
    };
    if UnixStream::connect(socket).is_ok() {
        return Err(failed(socket)(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another one runs: end it, or take another --link",
        )));
    }
    let (links, _) = Store::open(folder)?.load()?;
    let mut firewall = Firewall::default();
    for link in links.values() {
        host::remove(link);
        let removed = firewall.remove(&link.name);
        removed.map_err(|error| failed(folder)(io::Error::other(error)))?;
    }
    for name in Store::open(folder)?.pending()? {
        host::remove_interfaces(&name);
    }
    std::fs::remove_dir_all(folder).map_err(failed(folder))
}

/// Runs the daemon until `end` is over. `say` gets a line for each thing that a person may want to know; `ready` is called
/// once the links are there, and Docker may start.
///
/// # Errors
///
/// [`StartError`]; once it runs, nothing ends it but `end`.
pub async fn run(
    settings: Settings,
    say: Say,
    ready: Box<dyn FnOnce()>,
    end: Pin<Box<dyn Future<Output = ()>>>,
) -> Result<(), StartError> {
    let failed = |what: String| move |cause| StartError::System { what, cause };
    let socket = Socket::bind(&settings.socket).map_err(failed(settings.socket.display().to_string()))?;
    let store = Store::open(&settings.folder)?;
    let (links, wrong) = store.load()?;
    for error in wrong {
        say(None, &format!("a link is left as it is: {error}"));
    }
    // What a host that was about to join left; its key is kept for another try.
    for name in store.pending()? {
        if !links.contains_key(&name) {
            host::remove_interfaces(&name);
        }
    }
    let (events, mut happenings) = mpsc::unbounded_channel();
    let engine = settings.engine.as_deref().map(Engine::new);
    let plugin = match &engine {
        Some(_) => Some(Plugin::bind(&settings.driver).map_err(failed(settings.driver.display().to_string()))?),
        None => None,
    };
    let births = engine.as_ref().and_then(|_| {
        let events = events.clone();
        // Docker makes the folder with its first container, whose names would come late.
        let _said_below = std::fs::create_dir_all(&settings.namespaces);
        let births = Births::watch(&settings.namespaces, move |birth| {
            let _ends_with_the_daemon = events.send(Event::Born(birth));
        });
        if let Err(cause) = &births {
            let folder = settings.namespaces.display();
            say(
                None,
                &format!(
                    "note: {folder}: {cause}: containers have names a moment after they have started; name Docker's folder \
                     of namespaces by --namespaces"
                ),
            );
        }
        births.ok()
    });
    let mut daemon = Daemon {
        settings,
        store,
        links: links.into_iter().map(|(name, link)| (name, Entry::new(link))).collect(),
        joining: BTreeSet::new(),
        firewall: Firewall::default(),
        engine: engine.clone(),
        seats: Seats::default(),
        rooms: Rooms::default(),
        events: events.clone(),
        ticks: 0,
        hears_of_births: births.is_some(),
        say,
    };
    for name in daemon.links.keys().cloned().collect::<Vec<_>>() {
        daemon.make(&name);
    }
    let (commands, mut asked) = mpsc::unbounded_channel();
    let (calls, mut called) = mpsc::unbounded_channel();
    let watch = async {
        match &engine {
            Some(engine) => {
                let events = events.clone();
                engine
                    .watch(move |event| {
                        let _ends_with_the_daemon = events.send(Event::Engine(event));
                    })
                    .await;
            }
            None => std::future::pending().await,
        }
    };
    let driver = Arc::new(Calls(calls));
    let serve_driver = async {
        match &plugin {
            Some(plugin) => plugin.serve(&driver).await,
            None => std::future::pending().await,
        }
    };
    ready();
    let count = daemon.links.len();
    let plane = daemon.settings.plane;
    say(None, &format!("adit link keeps {count} links, on the {plane} plane"));
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let work = async {
        loop {
            daemon.beat(Instant::now());
            let due = daemon.due();
            let sleep = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(event) = happenings.recv() => daemon.handle(event),
                Some((command, answer)) = asked.recv() => daemon.handle(Event::Command(command, answer)),
                Some(call) = called.recv() => daemon.handle(Event::Call(call)),
                _ = ticks.tick() => daemon.tick(),
                () = sleep => {}
            }
        }
    };
    {
        let work = std::pin::pin!(work);
        tokio::select! {
            () = end => {}
            () = watch => {}
            () = socket.serve(commands) => {}
            () = serve_driver => {}
            () = work => {}
        }
    }
    daemon.rooms.give_back();
    drop(births);
    Ok(())
}
