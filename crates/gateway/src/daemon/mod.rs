//! A gateway for good while it runs: what happens comes in as events, one after the other, and is answered at once.
//!
//! ```text
//!   control socket ─┐                        ┌─▶ Desk: files, tunnel, memory
//!   API ────────────┼─▶ Event ─▶ Daemon ─────┼─▶ replies
//!   edited files ───┤                        └─▶ log
//!   clock, signals ─┘
//! ```
//!
//! The packets have threads of their own: nothing that happens here holds them up.

mod admit;
mod connection;
mod decide;
mod desk;
mod reception;
mod shell;
mod socket;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use linux::signal::Signal;
use zeroize::Zeroizing;

pub use self::{
    desk::{Desk, DeskError},
    reception::{Reception, ReceptionError},
    shell::{RunError, run},
    socket::{Asker, Line, Socket, SocketError},
};
use crate::{
    api::{self, Api},
    client::Terms,
    control::{Reply, Request},
    environment::PeerId,
    http::Pages as _,
    roster::{Roster, Wish},
    server::{Gateway, GatewayError, PeerState},
    watcher::{Board, Watcher},
};

/// How often the gateway is asked how its peers are.
pub const TICK: Duration = Duration::from_secs(2);

/// How long after a change the gateway's own configuration is written: many changes in a row cost one file.
const CONF_DELAY: Duration = Duration::from_secs(1);

/// Something that happens.
#[derive(Debug)]
pub enum Event {
    /// Somebody asks for something, rightly or wrongly.
    Control(Asker, Result<Request, String>),
    /// A client of the API asks for something.
    Api(api::Request),
    /// A person has changed these files.
    FilesChanged(Vec<PathBuf>),
    /// [`TICK`] has passed.
    Tick,
    /// The process was sent a signal.
    Signal(Signal),
}

/// What is to be done after an event.
#[derive(Debug)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Somebody is to be answered.
    Reply(Asker, Reply),
    /// The client of the API is to be answered.
    Answer(api::Answer),
    /// The gateway ends: as it was asked to, or by an error.
    End(Result<(), GatewayError>),
}

/// Where wishes come from, and where they come from again.
pub trait Source {
    /// The directories in which files of it lie.
    fn directories(&self) -> Vec<PathBuf>;

    /// Files of it that may be mounted one by one: they change without a trace in their directory.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// What is wanted of the peers, as the files have it at this moment.
    ///
    /// # Errors
    ///
    /// Says which file is wrong, and in which line.
    fn wish(&mut self) -> Result<Wish, String>;

    /// What clients are told, as the files have it at this moment.
    ///
    /// # Errors
    ///
    /// Says which file is wrong, and in which line.
    fn terms(&mut self, roster: &Roster) -> Result<Terms, String>;

    /// Shows configurations that are new or changed, as they are kept.
    fn show(&mut self, _changed: &[(PeerId, Zeroizing<String>)]) {}

    /// Whether a changed file may be one of the peers'; what else the file is for is done here.
    fn concerns_peers(&mut self, changed: &[PathBuf]) -> bool;
}

/// Looks at the gateway at every [`TICK`].
pub trait Observer {
    /// Looks at the gateway, whose peers are these.
    fn look(&mut self, gateway: &Gateway, peers: &[PeerState], now: Instant);
}

/// A gateway for good while it runs.
pub struct Daemon {
    desk: Desk,
    source: Box<dyn Source>,
    observers: Vec<Box<dyn Observer>>,
    log: fn(&str),
    /// What the gateway's health is judged by.
    board: Option<Arc<Board>>,
    /// For clients that come over the network; `None` if there is none.
    api: Option<Api>,
    /// Why the firewall's rules cannot be put back, as it was last said.
    unmended: Option<String>,
    /// Since when the gateway's own configuration is not that of its peers.
    stale_since: Option<Instant>,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon")
            .field("desk", &self.desk)
            .finish_non_exhaustive()
    }
}

impl Observer for Watcher {
    fn look(&mut self, gateway: &Gateway, peers: &[PeerState], now: Instant) {
        Self::look(self, gateway, peers, now);
    }
}

impl Daemon {
    /// A daemon for a gateway that is open and whose files are written.
    pub fn new(desk: Desk, source: Box<dyn Source>, log: fn(&str)) -> Self {
        Self {
            desk,
            source,
            observers: Vec::new(),
            log,
            board: None,
            api: None,
            unmended: None,
            stale_since: None,
        }
    }

    /// Has somebody look at the gateway at every tick.
    pub fn observe(&mut self, observer: Box<dyn Observer>) {
        self.observers.push(observer);
    }

    /// Has this watcher look at the gateway, and answers by its board how the gateway is.
    pub fn watch(&mut self, watcher: Watcher) {
        self.board = Some(Arc::clone(watcher.board()));
        self.observe(Box::new(watcher));
    }

    /// Has clients of this API served.
    pub fn serve(&mut self, api: Api) {
        self.api = Some(api);
    }

    /// The gateway and its files.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Where files are watched.
    pub fn directories(&self) -> Vec<PathBuf> {
        self.source.directories()
    }

    /// Which files are watched by themselves.
    pub fn files(&self) -> Vec<PathBuf> {
        self.source.files()
    }

    /// Carries on from an event.
    pub fn handle(&mut self, event: Event, now: Instant) -> Action {
        match event {
            Event::Control(asker, request) => Action::Reply(asker, self.answer(request, now)),
            Event::Api(request) => {
                let (answer, line) = self.desk.serve(request);
                self.note(line, now);
                Action::Answer(answer)
            }
            Event::FilesChanged(paths) => {
                self.reload(&paths);
                Action::Nothing
            }
            Event::Tick => match self.look(now) {
                Ok(()) => Action::Nothing,
                Err(error) => Action::End(Err(error)),
            },
            Event::Signal(Signal::Interrupt | Signal::Terminate | Signal::Hangup) => Action::End(Ok(())),
        }
    }

    /// When [`Daemon::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.stale_since.map(|since| since + CONF_DELAY)
    }

    /// Does what has waited for its time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.keep_server_conf();
        }
    }

    /// Writes what is not written yet, and closes the gateway.
    pub fn close(mut self) {
        if self.stale_since.is_some() {
            self.keep_server_conf();
        }
        self.desk.gateway.close();
    }

    fn answer(&mut self, request: Result<Request, String>, now: Instant) -> Reply {
        let request = match request {
            Ok(request) => request,
            Err(message) => return Reply::Refused { message },
        };
        if let (Request::Health {}, Some(board)) = (&request, &self.board) {
            let health = board.health();
            return Reply::Health { health };
        }
        if let (Request::Token { new, host }, Some(api)) = (&request, &self.api) {
            return match api.token(*new, host.as_deref(), &self.desk.terms.endpoint.0) {
                Ok(token) => Reply::Token {
                    token: token.danger_text().to_string(),
                },
                Err(error) => Reply::Refused {
                    message: error.to_string(),
                },
            };
        }
        let (reply, line) = self.desk.handle(request);
        self.note(line, now);
        reply
    }

    /// Logs what has changed, and remembers that the gateway's own configuration is to follow.
    fn note(&mut self, line: Option<String>, now: Instant) {
        if let Some(line) = line {
            (self.log)(&line);
            self.stale_since.get_or_insert(now);
        }
    }

    /// Takes changed files to heart. One with an error is reported, and what was before stays.
    fn reload(&mut self, paths: &[PathBuf]) {
        if !self.source.concerns_peers(paths) {
            return;
        }
        let (desk, source) = (&mut self.desk, &mut self.source);
        let reloaded = source.wish().and_then(|wish| {
            desk.reload(&wish, |roster| source.terms(roster))
                .map_err(|error| error.to_string())
        });
        match reloaded {
            Ok(changed) => {
                let count = desk.roster.len();
                (self.log)(&format!(
                    "read changed files again: {count} {}, {} new or changed {}",
                    plural(count, "peer"),
                    changed.len(),
                    plural(changed.len(), "configuration"),
                ));
                let kept = changed.iter().filter_map(|id| {
                    let conf = desk.directory.peer_conf(id).ok().flatten();
                    conf.map(|conf| (id.clone(), conf))
                });
                source.show(&kept.collect::<Vec<_>>());
                for note in changed.iter().filter_map(|id| desk.gateway.dns_note(&id.name())) {
                    (self.log)(&note);
                }
            }
            Err(problem) => (self.log)(&format!("changed files are not taken over: {problem}")),
        }
    }

    fn look(&mut self, now: Instant) -> Result<(), GatewayError> {
        self.mend();
        let peers = self.desk.gateway.peers()?;
        for observer in &mut self.observers {
            observer.look(&self.desk.gateway, &peers, now);
        }
        Ok(())
    }

    /// Puts the firewall's rules back if somebody has removed them.
    fn mend(&mut self) {
        let problem = match self.desk.gateway.mend() {
            Ok(mended) => {
                if mended {
                    (self.log)("somebody removed the gateway's rules from nf_tables; they were made again");
                }
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem
            .as_ref()
            .filter(|problem| self.unmended.as_ref() != Some(problem))
        {
            (self.log)(&format!(
                "the gateway's rules are gone and cannot be made again: {problem}"
            ));
        }
        if let Some(board) = &self.board {
            board.set_rules(problem.clone());
        }
        self.unmended = problem;
    }

    fn keep_server_conf(&mut self) {
        match self.desk.keep_server_conf() {
            Ok(()) => self.stale_since = None,
            Err(error) => {
                (self.log)(&format!("note: {error}"));
                // Not at every turn of the loop.
                self.stale_since = self.stale_since.map(|_| Instant::now() + CONF_DELAY * 9);
            }
        }
    }
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        word.to_owned()
    } else {
        format!("{word}s")
    }
}
