//! Leases of this user on this machine, without a hub: a store, and whoever launches drives his lease himself.
//!
//! A lease whose driver lives is asked through its desk. One whose driver was killed is taken over by the next command that
//! looks: it goes on if its gateway does, and is removed if it does not.

mod attended;
mod book;
mod desk;
mod docker;
mod kept;
mod sweep;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::bail;
use async_trait::async_trait;
use hub::api::words::{Configuration, Lease, LeaseRequest, Notice, PeerRequest};
use launch::{
    LeaseId, State,
    launcher::{Adopt, Caller, Config, Created, Filter, Launcher, Refusal},
    node::Secret,
    order,
    place::Place,
    policy::Policy,
    store::Store,
};
use tokio::{runtime::Handle, task::JoinHandle};
use wg::PublicKey;

pub(crate) use self::{
    attended::{Attended, Facts, Gone, Member, PLACE, Wanted},
    book::{Book, Hold},
    desk::{Ask, Asked, Desk, Reply},
    docker::InDocker,
    kept::Kept,
    sweep::beside as sweep_beside,
};
use super::leases::Leases;

/// Who has the leases of a user without a hub.
pub(crate) const OWNER: &str = "local";

/// How long a lease that was taken over may take until its gateway is known to be there or not.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// How long the end of a lease is waited for.
const REMOVAL_LIMIT: Duration = Duration::from_secs(60);

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
    /// Those of them that another process has launched.
    taken_over: Vec<LeaseId>,
    /// The look at the places for what no lease knows.
    sweep: Mutex<Option<JoinHandle<()>>>,
}

impl Alone {
    /// Takes over what nobody drives, and looks for what no lease knows.
    pub(super) fn open(book: Book, places: Places, output: &Path) -> anyhow::Result<Self> {
        let mut holds = Vec::new();
        {
            let _nobody_creates = book.lock()?;
            for lease in book.database.unfinished()? {
                if let Some(hold) = book.hold(lease.id)? {
                    holds.push((lease.id, hold));
                }
            }
        }
        let taken_over: Vec<LeaseId> = holds.iter().map(|(id, _)| *id).collect();
        let config = Config {
            policy: Policy::own(),
            // A command is too short for more than the one round below.
            sweep_every: None,
            // Its own are those that it drives; others' drivers know theirs.
            adopt: Adopt::Only(taken_over.clone()),
            ..Config::new(book.instance()?)
        };
        let launcher = Launcher::start(config, Arc::clone(&book.database) as _, places)?;
        let sweep = Handle::current().spawn(sweep::round(book.clone(), launcher.clone()));
        let alone = Self {
            book,
            launcher,
            output: std::path::absolute(output).unwrap_or_else(|_| output.to_owned()),
            holds: Mutex::new(holds),
            taken_over,
            sweep: Mutex::new(Some(sweep)),
        };
        // Whoever else asks finds a driver in this process for as long as it lives.
        alone.taken_over.iter().for_each(|id| alone.serve(*id, None));
        Ok(alone)
    }

    fn drives(&self, id: LeaseId) -> bool {
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.iter().any(|(held, _)| *held == id)
    }

    /// Waits until what was taken over is known to be there or not.
    async fn settle(&self) {
        let is_open = |lease: &launch::Lease| self.taken_over.contains(&lease.id) && !is_settled(lease);
        let settled = async {
            while self.launcher.running().iter().any(is_open) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _late = tokio::time::timeout(LOOK_LIMIT, settled).await;
    }

    /// Answers other commands for a lease that this process drives, whose configurations are in this folder. It goes on where
    /// that cannot be.
    fn serve(&self, id: LeaseId, folder: Option<PathBuf>) {
        let Ok(desk) = Desk::open(&self.book.socket(id)) else {
            return;
        };
        let (launcher, runtime) = (self.launcher.clone(), Handle::current());
        let serve = move || {
            while let Some(Asked { ask, reply }) = desk.wait() {
                let answer = match runtime.block_on(grant(&launcher, id, ask)) {
                    Ok(Granted::Lease(lease)) => Reply::Lease {
                        lease,
                        folder: folder.clone(),
                    },
                    Ok(Granted::Configuration(text)) => Reply::Configuration { text },
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

    /// Asks the lease's driver: the launcher of this process, once it knows what it has taken over, or else another process.
    async fn wish(&self, id: LeaseId, ask: Ask) -> anyhow::Result<Granted> {
        if self.drives(id) {
            self.settle().await;
            return grant(&self.launcher, id, ask).await.map_err(explain);
        }
        let (socket, asked) = (self.book.socket(id), ask.clone());
        let refusal = match tokio::task::spawn_blocking(move || desk::ask(&socket, &asked)).await? {
            Some(Reply::Lease { lease, .. }) => return Ok(Granted::Lease(lease)),
            Some(Reply::Configuration { text }) => return Ok(Granted::Configuration(text)),
            Some(Reply::Refused { message }) => Some(message),
            None => None,
        };
        // The driver of a lease that ends refuses, and then is gone: its row tells what became of it.
        let row = self.launcher.read(&caller(), id).await.map_err(explain)?;
        if is_told_by_row(&ask, row.state, refusal.is_some()) {
            return Ok(Granted::Lease(Box::new(row.into())));
        }
        match refusal {
            Some(message) => bail!("{message}"),
            None if row.state == State::Removed => Err(explain(Refusal::Over)),
            None => bail!("the process that drives the lease does not answer; try again in a moment"),
        }
    }

    /// The lease once what is asked is done.
    async fn wish_of_lease(&self, id: LeaseId, ask: Ask) -> anyhow::Result<Lease> {
        match self.wish(id, ask).await? {
            Granted::Lease(lease) => Ok(*lease),
            Granted::Configuration(_) => bail!("the process that drives the lease is of another version of adit"),
        }
    }
}

/// What came of a wish.
enum Granted {
    /// The lease as it is then.
    Lease(Box<Lease>),
    /// A configuration with its private key.
    Configuration(Secret),
}

async fn grant(launcher: &Launcher, id: LeaseId, ask: Ask) -> Result<Granted, Refusal> {
    let lease = match ask {
        Ask::Read {} => launcher.read(&caller(), id).await,
        Ask::Extend { by_secs } => launcher.extend(&caller(), id, Duration::from_secs(by_secs)).await,
        Ask::End {} => launcher.end(&caller(), id).await,
        Ask::AddPeer { name, public_key } => {
            let peer = order::PeerRequest { name, public_key };
            launcher.add_peer(&caller(), id, &peer).await
        }
        Ask::ReplaceKey { name, public_key } => launcher.replace_key(&caller(), id, &name, public_key).await,
        Ask::RemovePeer { name } => launcher.remove_peer(&caller(), id, &name).await,
        Ask::HandOver { name } => {
            let text = launcher.hand_over(&caller(), id, &name).await?;
            return Ok(Granted::Configuration(text));
        }
    };
    Ok(Granted::Lease(Box::new(lease?.into())))
}

/// Whether the row of a lease answers what its driver, another process, has refused or left unanswered.
fn is_told_by_row(ask: &Ask, state: State, is_refused: bool) -> bool {
    match ask {
        Ask::Read {} => true,
        // Whoever refuses to end a lease that runs no more is about to.
        Ask::End {} => state == State::Removed || (is_refused && !state.is_running()),
        Ask::Extend { .. }
        | Ask::AddPeer { .. }
        | Ask::ReplaceKey { .. }
        | Ask::RemovePeer { .. }
        | Ask::HandOver { .. } => false,
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
        // Until it is held, its row looks like one that nobody drives.
        let nobody_takes_over = self.book.lock()?;
        let created = self
            .launcher
            .create(&caller(), &request.clone().into(), None)
            .await
            .map_err(explain)?;
        let (Created::New(lease) | Created::Again(lease)) = created;
        let hold = self.book.hold(lease.id)?;
        drop(nobody_takes_over);
        if let Some(hold) = hold {
            self.holds
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((lease.id, hold));
            self.serve(lease.id, Some(self.output.clone()));
        }
        Ok(lease.into())
    }

    async fn read(&self, id: LeaseId) -> anyhow::Result<Lease> {
        self.wish_of_lease(id, Ask::Read {}).await
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
            leases.push(if lease.state == State::Removed || self.drives(lease.id) {
                lease.into()
            } else {
                self.wish_of_lease(lease.id, Ask::Read {}).await?
            });
        }
        Ok(leases)
    }

    async fn extend(&self, id: LeaseId, by_secs: u64) -> anyhow::Result<Lease> {
        let lease = self.wish_of_lease(id, Ask::Extend { by_secs }).await?;
        // The gateway is told before this process ends.
        self.settle().await;
        Ok(lease)
    }

    async fn end(&self, id: LeaseId) -> anyhow::Result<Lease> {
        let mut lease = self.wish_of_lease(id, Ask::End {}).await?;
        let started = std::time::Instant::now();
        // Whoever drives it keeps its row, where it is read.
        while lease.state != State::Removed && started.elapsed() < REMOVAL_LIMIT {
            tokio::time::sleep(Duration::from_millis(50)).await;
            lease = self.launcher.read(&caller(), id).await.map_err(explain)?.into();
        }
        Ok(lease)
    }

    async fn add_peer(&self, id: LeaseId, peer: &PeerRequest) -> anyhow::Result<Lease> {
        let (name, public_key) = (peer.name.clone(), peer.public_key);
        let lease = self.wish_of_lease(id, Ask::AddPeer { name, public_key }).await?;
        self.settle().await;
        Ok(lease)
    }

    async fn replace_key(&self, id: LeaseId, name: &str, public_key: PublicKey) -> anyhow::Result<Lease> {
        let name = name.to_owned();
        let lease = self.wish_of_lease(id, Ask::ReplaceKey { name, public_key }).await?;
        self.settle().await;
        Ok(lease)
    }

    async fn remove_peer(&self, id: LeaseId, name: &str) -> anyhow::Result<Lease> {
        let name = name.to_owned();
        let lease = self.wish_of_lease(id, Ask::RemovePeer { name }).await?;
        self.settle().await;
        Ok(lease)
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
        let name = peer.to_owned();
        match self.wish(id, Ask::HandOver { name }).await? {
            Granted::Configuration(text) => Ok(text),
            Granted::Lease(_) => bail!("the process that drives the lease is of another version of adit"),
        }
    }

    async fn usual(&self, place: &str) -> Option<Duration> {
        let places = self.launcher.places().iter();
        let place = places.into_iter().find(|description| description.name == place)?;
        Some(Duration::from_secs(place.usual_secs))
    }

    async fn folder(&self, id: LeaseId) -> Option<PathBuf> {
        let socket = self.book.socket(id);
        match tokio::task::spawn_blocking(move || desk::ask(&socket, &Ask::Read {}))
            .await
            .ok()??
        {
            Reply::Lease { folder, .. } => folder,
            Reply::Configuration { .. } | Reply::Refused { .. } => None,
        }
    }

    async fn close(&self) {
        let sweep = self.sweep.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sweep) = sweep {
            let _late = tokio::time::timeout(sweep::LIMIT, sweep).await;
        }
        self.launcher.stop().await;
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, hold) in holds.drain(..) {
            let _gone = std::fs::remove_file(self.book.socket(id));
            let is_over = |row: Option<launch::Lease>| row.is_some_and(|row| row.state == State::Removed);
            let store: &dyn Store = self.book.database.as_ref();
            if store.read(id).is_ok_and(is_over) {
                self.book.forget(id);
            }
            drop(hold);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_silent_driver_is_asked_is_not_said_to_be_done() {
        let folder = tempfile::tempdir().unwrap();
        let book = Book::open(folder.path()).unwrap();
        let wanted = Wanted {
            port: None,
            dns: None,
            allowed_ips: Vec::new(),
            mtu: None,
            peers: Vec::new(),
        };
        // It is held, and answers once its gateway is there.
        let attended = Attended::begin(book.clone(), Duration::from_secs(600), wanted).unwrap();
        let id = attended.lease().id;
        let places: Places = vec![Arc::new(Gone)];
        let alone = Alone::open(book, places, folder.path()).unwrap();
        assert_eq!(alone.read(id).await.unwrap().state, State::Provisioning);
        for refused in [alone.end(id).await, alone.extend(id, 60).await] {
            let problem = refused.unwrap_err().to_string();
            assert!(problem.contains("does not answer"), "{problem}");
        }
        attended.fail(&anyhow::anyhow!("no port is free"));
        assert_eq!(alone.end(id).await.unwrap().state, State::Removed);
        let problem = alone.extend(id, 60).await.unwrap_err().to_string();
        assert!(problem.contains("is over"), "{problem}");
        alone.close().await;
    }

    #[test]
    fn a_row_answers_for_a_driver_that_is_about_to_go() {
        // (what is asked, the row, whether the driver has refused, whether the row tells)
        for (ask, state, is_refused, is_told) in [
            (Ask::Read {}, State::Ready, true, true),
            (Ask::End {}, State::Ready, true, false),
            (Ask::End {}, State::Removing, false, false),
            (Ask::End {}, State::Removing, true, true),
            (Ask::End {}, State::Removed, false, true),
            (Ask::Extend { by_secs: 60 }, State::Removed, true, false),
        ] {
            assert_eq!(is_told_by_row(&ask, state, is_refused), is_told, "{ask:?} {state:?}");
        }
    }
}
