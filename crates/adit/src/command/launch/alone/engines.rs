//! The place `docker` without a hub: containers, each at the engine that its lease was launched at.
//!
//! Which engine that is, and where its clients connect to, is kept beside the lease before anything is made: whoever takes the
//! lease over finds its gateway, and hands out the same endpoint.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::Context as _;
use async_trait::async_trait;
use gateway::reach::Endpoint;
use launch::{
    LeaseId, State,
    node::Question,
    place::{
        Creation, Description, Fault, FaultKind, Job, Place, Reached, Removal,
        docker::{Config, Docker},
    },
    store::Store,
};
use serde::{Deserialize, Serialize};

use super::Book;
use crate::command::launch::places::host_in_docker;

/// How a lease was launched in a container. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Launched {
    /// The engine's socket.
    pub(crate) socket: PathBuf,
    /// The image; `None` is the usual one.
    pub(crate) image: Option<String>,
    /// Where clients connect to, `HOST[:PORT]`; `None` is found out.
    pub(crate) endpoint: Option<String>,
}

/// The engines.
#[derive(Debug)]
pub(crate) struct Engines {
    book: Book,
    /// How new leases are launched.
    given: Launched,
    new: Engine,
    known: Mutex<HashMap<LeaseId, Engine>>,
}

/// One engine, as one lease is at it.
#[derive(Clone, Debug)]
struct Engine {
    docker: Docker,
    /// The port that clients are told, where it is not the container's.
    port: Option<u16>,
}

impl Engines {
    /// Those of the leases in a book, and the one at which new ones are launched.
    pub(crate) fn new(book: Book, given: Launched) -> anyhow::Result<Self> {
        Ok(Self {
            new: Engine::new(&given).context("--on docker")?,
            given,
            book,
            known: Mutex::default(),
        })
    }

    /// The engine of a lease: the one that is kept, else where it was seen, else the one of new leases.
    fn of(&self, id: LeaseId) -> Result<Engine, Fault> {
        let known = |known: &HashMap<LeaseId, Engine>| known.get(&id).cloned();
        if let Some(engine) = known(&self.known.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(engine);
        }
        let engine = match self.book.engine::<Launched>(id).map_err(|error| unreadable(&error))? {
            Some(launched) => Engine::new(&launched).map_err(|error| {
                Fault::new(
                    FaultKind::Unclear,
                    "engine_unknown",
                    format!("what is kept of the lease: {error:#}"),
                )
            })?,
            None => return Ok(self.new.clone()),
        };
        self.know(id, &engine);
        Ok(engine)
    }

    fn know(&self, id: LeaseId, engine: &Engine) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(id).or_insert_with(|| engine.clone());
    }

    /// Forgets the engines of leases that are over and of which nothing is there.
    fn forget(&self, ids: &[LeaseId], found: &[LeaseId]) {
        let store: &dyn Store = self.book.database.as_ref();
        for id in ids.iter().filter(|id| !found.contains(id)) {
            let is_over = |lease: Option<launch::Lease>| lease.is_none_or(|lease| lease.state == State::Removed);
            if store.read(*id).is_ok_and(is_over) {
                self.book.forget_engine(*id);
            }
        }
    }
}

impl Engine {
    fn new(launched: &Launched) -> anyhow::Result<Self> {
        let endpoint = launched.endpoint.as_deref().map(str::parse::<Endpoint>).transpose()?;
        let usual = Config::new(host_in_docker(endpoint.as_ref().map(|endpoint| &endpoint.host)));
        let config = Config {
            socket: launched.socket.clone(),
            image: launched.image.clone().unwrap_or(usual.image),
            ..usual
        };
        Ok(Self {
            docker: Docker::new(config)?,
            port: endpoint.and_then(|endpoint| endpoint.port),
        })
    }
}

#[async_trait]
impl Place for Engines {
    fn describe(&self) -> Description {
        self.new.docker.describe()
    }

    async fn create(&self, job: &Job) -> Result<Creation, Fault> {
        if self
            .book
            .engine::<Launched>(job.id)
            .map_err(|error| unreadable(&error))?
            .is_none()
        {
            self.book
                .keep_engine(job.id, &self.given)
                .map_err(|error| unreadable(&error))?;
        }
        self.of(job.id)?.docker.create(job).await
    }

    async fn ask(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        let engine = self.of(job.id)?;
        let reached = engine.docker.ask(job, question).await?;
        Ok(Reached {
            endpoint: with_port(reached.endpoint, engine.port),
            ..reached
        })
    }

    /// The engine is remembered until the row says that nothing is left: whoever takes the removal over asks it again.
    async fn remove(&self, job: &Job) -> Result<Removal, Fault> {
        self.of(job.id)?.docker.remove(job).await
    }

    /// What is at the engines that answer; a fault if none does.
    async fn list(&self, instance: &str) -> Result<Vec<LeaseId>, Fault> {
        let kept = self.book.with_engine().map_err(|error| unreadable(&error))?;
        let mut at: HashMap<PathBuf, (Engine, Vec<LeaseId>)> = HashMap::new();
        at.insert(self.given.socket.clone(), (self.new.clone(), Vec::new()));
        for id in kept.iter().copied() {
            // One that cannot be read is of no engine that could be asked.
            let Ok(Some(launched)) = self.book.engine::<Launched>(id) else {
                continue;
            };
            let Ok(engine) = Engine::new(&launched) else { continue };
            let (_, leases) = at.entry(launched.socket).or_insert_with(|| (engine, Vec::new()));
            leases.push(id);
        }
        let (mut all, mut silent, mut answers) = (Vec::new(), None, 0);
        for (socket, (engine, leases)) in at {
            // Where there is no socket, nobody is waited for.
            let found = if is_absent(&socket) {
                Err(Fault::new(
                    FaultKind::Unclear,
                    "engine_absent",
                    format!("there is no {}", socket.display()),
                ))
            } else {
                engine.docker.list(instance).await
            };
            match found {
                Ok(found) => {
                    answers += 1;
                    let unkept = found.iter().filter(|id| !kept.contains(id));
                    unkept.for_each(|id| self.know(*id, &engine));
                    self.forget(&leases, &found);
                    all.extend(found);
                }
                // What is there cannot be told: nothing of it is named, so nothing of it is removed.
                Err(fault) => silent = Some(fault),
            }
        }
        match silent {
            Some(fault) if answers == 0 => Err(fault),
            Some(_) | None => Ok(all),
        }
    }
}

fn is_absent(socket: &Path) -> bool {
    !socket.to_string_lossy().contains("://") && !socket.try_exists().unwrap_or(true)
}

fn with_port(endpoint: String, port: Option<u16>) -> String {
    match (endpoint.rsplit_once(':'), port) {
        (Some((host, _)), Some(port)) => format!("{host}:{port}"),
        (None, _) | (_, None) => endpoint,
    }
}

fn unreadable(error: &io::Error) -> Fault {
    Fault::new(
        FaultKind::Unclear,
        "engine_unknown",
        format!("what is kept of the leases' engines cannot be used: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use launch::Moment;

    use super::*;

    fn launched(socket: &str, endpoint: Option<&str>) -> Launched {
        Launched {
            socket: socket.into(),
            image: None,
            endpoint: endpoint.map(str::to_owned),
        }
    }

    #[test]
    fn a_lease_stays_at_the_engine_that_it_was_launched_at() {
        let folder = tempfile::tempdir().unwrap();
        let book = Book::open(folder.path()).unwrap();
        let id = |number: u128| LeaseId::new(Moment::from_millis(1), number);
        let first = launched("/run/first.sock", Some("192.0.2.1:443"));
        book.keep_engine(id(1), &first).unwrap();
        // Another command, for another engine.
        let engines = Engines::new(book.clone(), launched("/run/second.sock", None)).unwrap();
        for (lease, port) in [(1, Some(443)), (2, None)] {
            assert_eq!(engines.of(id(lease)).unwrap().port, port, "{lease}");
        }
        assert_eq!(book.engine(id(1)).unwrap(), Some(first));
        assert_eq!(book.with_engine().unwrap(), [id(1)]);
        // Nothing is there of a lease that no row knows.
        engines.forget(&[id(1)], &[id(1)]);
        assert_eq!(book.with_engine().unwrap(), [id(1)]);
        engines.forget(&[id(1)], &[]);
        assert_eq!(book.with_engine().unwrap(), []);
    }

    #[test]
    fn what_is_kept_and_makes_no_sense_is_no_other_engine() {
        let folder = tempfile::tempdir().unwrap();
        let book = Book::open(folder.path()).unwrap();
        let id = LeaseId::new(Moment::from_millis(1), 1);
        let engines = Engines::new(book, launched("/run/second.sock", None)).unwrap();
        for text in ["{", r#"{"socket":"/x","image":null,"endpoint":"a b"}"#] {
            std::fs::write(folder.path().join(format!("engines/{id}")), text).unwrap();
            assert_eq!(engines.of(id).unwrap_err().kind, FaultKind::Unclear, "{text}");
        }
    }

    #[tokio::test]
    async fn engines_that_do_not_answer_cannot_tell() {
        let folder = tempfile::tempdir().unwrap();
        let book = Book::open(folder.path()).unwrap();
        let id = LeaseId::new(Moment::from_millis(1), 1);
        // One that is there, and behind which nobody is.
        let silent = folder.path().join("silent.sock");
        drop(std::os::unix::net::UnixListener::bind(&silent).unwrap());
        book.keep_engine(id, &launched(silent.to_str().unwrap(), None)).unwrap();
        let engines = Engines::new(book.clone(), launched("/nowhere.sock", None)).unwrap();
        assert!(engines.list("x").await.is_err());
        assert_eq!(book.with_engine().unwrap(), [id]);
    }

    #[test]
    fn clients_are_told_the_port_that_a_person_named() {
        for (endpoint, port, told) in [
            ("192.0.2.1:32768", None, "192.0.2.1:32768"),
            ("192.0.2.1:32768", Some(443), "192.0.2.1:443"),
            ("[2001:db8::1]:32768", Some(443), "[2001:db8::1]:443"),
        ] {
            assert_eq!(with_port(endpoint.to_owned(), port), told);
        }
    }
}
