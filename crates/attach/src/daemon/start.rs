//! Starts the daemon, and runs its loop until it is to end.

use std::{collections::BTreeMap, io, sync::Arc};

use docker::Engine;
use tokio::sync::mpsc;

use super::{
    Daemon, Event, Say, Settings, births, entry::Entry, expected::Expected, names::Names, network::Networked,
    rewrites::Rewrites,
};
use crate::{
    control::Socket,
    driver::{self, Driver},
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

/// Runs the daemon until `end` is over. `say` gets a line for each thing that a person may want to know; `ready` is called
/// once its sockets are there, the network driver's among them.
///
/// # Errors
///
/// [`StartError`]; once it runs, nothing ends it but `end`.
pub async fn run(
    settings: Settings,
    say: Say,
    ready: impl FnOnce(),
    end: impl Future<Output = ()>,
) -> Result<(), StartError> {
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
    let (settings, expected) = (Arc::new(settings), Arc::<Expected>::default());
    let networked = Networked::new(Arc::clone(&settings), Arc::clone(&expected), sender.clone());
    let networked = Arc::new(networked);
    let plugin = match &settings.driver {
        Some(place) => Some((
            Driver::open(&place.networks, Arc::<Networked>::clone(&networked))
                .map(Arc::new)
                .map_err(failed(format!(
                    "keeping the driver's networks in {}",
                    place.networks.display()
                )))?,
            driver::Socket::bind(&place.socket).map_err(failed(place.socket.display().to_string()))?,
        )),
        None => None,
    };
    let rewrites = Rewrites::start(sender.clone()).map_err(failed("watching files".to_owned()))?;
    let births = births::watch(&settings, &expected, &sender);
    if let Err(cause) = &births {
        say(
            None,
            &format!(
                "note: {}: {cause}: containers are closed when they have started, not before; \
             name the engine's folder of namespaces by --namespaces",
                settings.namespaces.display()
            ),
        );
    }
    let mut daemon = Daemon {
        settings,
        engine: engine.clone(),
        saved,
        entries: BTreeMap::new(),
        expected,
        driver: plugin.as_ref().map(|(driver, _)| Arc::clone(driver)),
        networked,
        events: sender.clone(),
        names: Names::default(),
        rewrites,
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
    let serve_driver = async {
        match plugin {
            Some((driver, socket)) => driver.serve(&socket).await,
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
    ready();
    say(None, &format!("adit attach watches {}", engine.place().display()));
    tokio::select! {
        () = end => {}
        () = watch => {}
        () = socket.serve(ask.clone()) => {}
        () = serve_page => {}
        () = serve_driver => {}
        () = work => {}
    }
    drop(births);
    Ok(())
}
