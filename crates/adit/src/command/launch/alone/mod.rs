//! Leases of this user on this machine, without a hub: a store, and whoever launches drives his lease himself.
//!
//! A lease whose driver lives is asked through its desk. One whose driver was killed is taken over by the next command that
//! looks: it goes on if its gateway does, and is removed if it does not.

mod attended;
mod book;
mod desk;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use hub::api::words::{Configuration, Lease, LeaseRequest, Notice};
use launch::{
    LeaseId, State,
    launcher::{Adopt, Caller, Config, Created, Filter, Launcher, Refusal},
    node::Secret,
    place::Place,
    policy::Policy,
    store::Store as _,
};
use tokio::runtime::Handle;

pub(crate) use self::{
    attended::{Attended, Facts, Gone, PLACE},
    book::{Book, Hold},
    desk::{Ask, Asked, Desk, Reply},
};
use super::leases::Leases;

/// Who has the leases of a user without a hub.
pub(crate) const OWNER: &str = "local";

/// How long a lease that was taken over may take until its gateway is known to be there or not.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// The places of a user without a hub.
pub(crate) type Places = Vec<Arc<dyn Place>>;

/// The leases of a user without a hub.
pub(crate) struct Alone {
    book: Book,
    launcher: Launcher,
    /// Where configurations of new leases are written.
    output: PathBuf,
    /// Of the leases that this process drives.
    holds: Mutex<Vec<(LeaseId, Hold)>>,
}

impl Alone {
    /// Opens the book, and takes over what nobody drives.
    pub(super) fn open(folder: &Path, mut places: Places, output: &Path) -> anyhow::Result<Self> {
        let book = Book::open(folder)?;
        // Behind those that a lease can be asked for at: what it finds is over.
        places.push(Arc::new(Gone));
        let mut holds = Vec::new();
        for lease in book.database.unfinished()? {
            if let Some(hold) = book.hold(lease.id)? {
                holds.push((lease.id, hold));
            }
        }
        let instance = launch::instance(folder).with_context(|| format!("cannot find {}", folder.display()))?;
        let config = Config {
            policy: Policy::own(),
            // Its own are those that it drives; others' drivers know theirs.
            sweep_every: None,
            adopt: Adopt::Only(holds.iter().map(|(id, _)| *id).collect()),
            ..Config::new(instance)
        };
        let launcher = Launcher::start(config, Arc::clone(&book.database) as _, places)?;
        Ok(Self {
            book,
            launcher,
            output: std::path::absolute(output).unwrap_or_else(|_| output.to_owned()),
            holds: Mutex::new(holds),
        })
    }

    fn drives(&self, id: LeaseId) -> bool {
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.iter().any(|(held, _)| *held == id)
    }

    /// Waits until what was taken over is known to be there or not.
    async fn settle(&self) {
        let settled = async {
            while self.launcher.running().iter().any(|lease| !is_settled(lease)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _late = tokio::time::timeout(LOOK_LIMIT, settled).await;
    }

    /// Answers other commands for a lease that this process drives. It goes on where that cannot be.
    fn serve(&self, id: LeaseId) {
        let Ok(desk) = Desk::open(&self.book.socket(id)) else {
            return;
        };
        let (launcher, folder, runtime) = (self.launcher.clone(), self.output.clone(), Handle::current());
        let serve = move || {
            while let Some(Asked { ask, reply }) = desk.wait() {
                let done = runtime.block_on(async {
                    match ask {
                        Ask::Read {} => launcher.read(&caller(), id).await,
                        Ask::Extend { by_secs } => launcher.extend(&caller(), id, Duration::from_secs(by_secs)).await,
                        Ask::End {} => launcher.end(&caller(), id).await,
                    }
                });
                let answer = match done {
                    Ok(lease) => Reply::Lease {
                        lease: Box::new(lease.into()),
                        folder: folder.clone(),
                    },
                    Err(refusal) => Reply::Refused {
                        message: format!("{:#}", explain(refusal)),
                    },
                };
                // Who asked may have gone.
                let _unheard = reply.send(answer);
            }
        };
        let _without = thread::Builder::new().name("desk".to_owned()).spawn(serve);
    }

    /// The driver's answer; `None` if this process is the driver, or nobody is.
    async fn ask(&self, id: LeaseId, ask: Ask) -> anyhow::Result<Option<Lease>> {
        if self.drives(id) {
            return Ok(None);
        }
        let socket = self.book.socket(id);
        match tokio::task::spawn_blocking(move || desk::ask(&socket, &ask)).await? {
            Some(Reply::Lease { lease, .. }) => Ok(Some(*lease)),
            Some(Reply::Refused { message }) => bail!("{message}"),
            None => Ok(None),
        }
    }
}

/// Whether a lease that was taken over has been looked at.
fn is_settled(lease: &launch::Lease) -> bool {
    match lease.state {
        State::Ready => !lease.is_recovering() && !lease.is_dirty,
        State::Requested | State::Provisioning | State::Configuring | State::Failed | State::Lost | State::Removing => {
            false
        }
        State::Removed => true,
    }
}

fn caller() -> Caller {
    Caller {
        owner: OWNER.to_owned(),
        is_admin: true,
        request_id: std::process::id().to_string(),
    }
}

/// What a person reads of a refusal.
fn explain(refusal: Refusal) -> anyhow::Error {
    if let Refusal::Place(fault) = &refusal
        && !fault.remedy.is_empty()
    {
        return anyhow::anyhow!("{}; {}", fault.message, fault.remedy);
    }
    if matches!(refusal, Refusal::NotFound) {
        return anyhow::anyhow!("there is no such lease; `adit launch list --all` shows them");
    }
    refusal.into()
}

#[async_trait]
impl Leases for Alone {
    async fn create(&self, request: &LeaseRequest) -> anyhow::Result<Lease> {
        let created = self
            .launcher
            .create(&caller(), &request.clone().into(), None)
            .await
            .map_err(explain)?;
        let (Created::New(lease) | Created::Again(lease)) = created;
        if let Some(hold) = self.book.hold(lease.id)? {
            self.holds
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((lease.id, hold));
            self.serve(lease.id);
        }
        Ok(lease.into())
    }

    async fn read(&self, id: LeaseId) -> anyhow::Result<Lease> {
        if let Some(lease) = self.ask(id, Ask::Read {}).await? {
            return Ok(lease);
        }
        self.settle().await;
        Ok(self.launcher.read(&caller(), id).await.map_err(explain)?.into())
    }

    async fn list(&self, all: bool) -> anyhow::Result<Vec<Lease>> {
        self.settle().await;
        let filter = Filter {
            running: (!all).then_some(true),
            limit: 1_000,
            ..Filter::default()
        };
        let page = self.launcher.list(&caller(), &filter).await.map_err(explain)?;
        let mut leases = Vec::new();
        for lease in page.leases {
            let living = if lease.state == State::Removed {
                None
            } else {
                self.ask(lease.id, Ask::Read {}).await?
            };
            leases.push(living.unwrap_or_else(|| lease.into()));
        }
        Ok(leases)
    }

    async fn extend(&self, id: LeaseId, by_secs: u64) -> anyhow::Result<Lease> {
        if let Some(lease) = self.ask(id, Ask::Extend { by_secs }).await? {
            return Ok(lease);
        }
        self.settle().await;
        let by = Duration::from_secs(by_secs);
        let lease = self.launcher.extend(&caller(), id, by).await.map_err(explain)?;
        self.settle().await;
        Ok(lease.into())
    }

    async fn end(&self, id: LeaseId) -> anyhow::Result<Lease> {
        if let Some(lease) = self.ask(id, Ask::End {}).await? {
            return Ok(lease);
        }
        self.settle().await;
        let mut lease = self.launcher.end(&caller(), id).await.map_err(explain)?;
        let started = std::time::Instant::now();
        while lease.state != State::Removed && self.drives(id) && started.elapsed() < Duration::from_secs(60) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            lease = self.launcher.read(&caller(), id).await.map_err(explain)?;
        }
        Ok(lease.into())
    }

    async fn notices(&self, id: LeaseId, after: u64) -> anyhow::Result<Vec<Notice>> {
        let notices = self.launcher.notices(&caller(), id, after).await.map_err(explain)?;
        Ok(notices.into_iter().map(Into::into).collect())
    }

    async fn configuration(&self, id: LeaseId, peer: &str) -> anyhow::Result<Configuration> {
        Ok(self
            .launcher
            .configuration(&caller(), id, peer)
            .await
            .map_err(explain)?
            .into())
    }

    async fn hand_over(&self, id: LeaseId, peer: &str) -> anyhow::Result<Secret> {
        self.launcher.hand_over(&caller(), id, peer).await.map_err(explain)
    }

    async fn folder(&self, id: LeaseId) -> Option<PathBuf> {
        let socket = self.book.socket(id);
        match tokio::task::spawn_blocking(move || desk::ask(&socket, &Ask::Read {}))
            .await
            .ok()??
        {
            Reply::Lease { folder, .. } => Some(folder),
            Reply::Refused { .. } => None,
        }
    }

    async fn close(&self) {
        self.launcher.stop().await;
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, hold) in holds.drain(..) {
            let _gone = std::fs::remove_file(self.book.socket(id));
            drop(hold);
        }
    }
}
