//! Leases as a whole: what a hub and a command line ask for.

mod config;
mod configuration;
mod driver;
mod living;
mod meters;
mod refusal;
mod sweep;
#[cfg(test)]
mod tests;
mod wishes;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{broadcast, mpsc, watch},
};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

pub use self::{
    config::{Adopt, Config},
    living::Sample,
    meters::{Histogram, Meters, READY_BOUNDS, Traffic},
    refusal::Refusal,
    sweep::Marks,
    wishes::{adding, removing, replacing_key},
};
use self::{
    driver::{Driver, Wish},
    living::Living,
};
use crate::{
    Clock, Lease, LeaseId, Moment,
    lease::SETUP_LIMIT,
    order::{Order, Profile, Request},
    place::{Description, Fault, FaultKind, Job, Place},
    policy::Policy,
    store::{Inserted, NewLease, Store, StoreError},
};
pub use crate::{
    conf::Configuration,
    store::{Filter, IdempotencyKey, Numbered, Page, Usage},
};

/// Events that a slow listener may be behind.
const BACKLOG: usize = 4_096;

/// How long [`Launcher::stop`] waits for what is being written.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The period of [`Launcher::usage`].
const USAGE_PERIOD: Duration = Duration::from_secs(86_400);

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose leases his are.
    pub owner: String,
    /// Whether he may see and end those of others.
    pub is_admin: bool,
    /// The request, by which logs belong together.
    pub request_id: String,
}

/// What became of a request for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// A new lease.
    New(Lease),
    /// The lease of the same request of before.
    Again(Lease),
}

/// Leases as a whole. A clone is another handle on the same.
#[derive(Clone, Debug)]
pub struct Launcher(Arc<Inner>);

/// What drivers and callers share.
#[derive(Debug)]
struct Inner {
    config: Config,
    clock: Clock,
    store: Arc<dyn Store>,
    places: BTreeMap<String, Arc<dyn Place>>,
    descriptions: Vec<Description>,
    living: RwLock<HashMap<LeaseId, (Living, mpsc::Sender<Wish>)>>,
    changes: broadcast::Sender<LeaseId>,
    meters: meters::Running,
    stop: watch::Sender<bool>,
    tasks: TaskTracker,
    runtime: Handle,
}

impl Launcher {
    /// Goes on with what the store has, and watches the places. The first of them is the one that is taken if none is named.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read.
    ///
    /// # Panics
    ///
    /// Outside a runtime of tokio's.
    pub fn start(config: Config, store: Arc<dyn Store>, places: Vec<Arc<dyn Place>>) -> Result<Self, StoreError> {
        let descriptions: Vec<Description> = places.iter().map(|place| place.describe()).collect();
        let named = descriptions.iter().map(|description| description.name.clone());
        let launcher = Self(Arc::new(Inner {
            clock: config.clock.clone(),
            places: named.zip(places).collect(),
            descriptions,
            living: RwLock::default(),
            changes: broadcast::channel(BACKLOG).0,
            meters: meters::Running::default(),
            stop: watch::channel(false).0,
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            store,
            config,
        }));
        let now = launcher.0.clock.now();
        for mut lease in launcher.0.store.unfinished()? {
            let is_ours = match &launcher.0.config.adopt {
                Adopt::All => true,
                Adopt::Only(ids) => ids.contains(&lease.id),
            };
            if is_ours {
                lease.recover(now);
                launcher.0.drive(lease, None);
            }
        }
        if launcher.0.config.sweep_every.is_some() {
            launcher.0.spawn(sweep::run(Arc::clone(&launcher.0)));
        }
        Ok(launcher)
    }

    /// Asks for a lease. It is kept when this returns, and set up from then on.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub async fn create(
        &self,
        caller: &Caller,
        request: &Request,
        key: Option<&IdempotencyKey>,
    ) -> Result<Created, Refusal> {
        let (launcher, caller, request, key) = (self.clone(), caller.clone(), request.clone(), key.cloned());
        let create = async move { launcher.create_whole(&caller, &request, key.as_ref()).await };
        self.0.whole(create).await
    }

    async fn create_whole(
        &self,
        caller: &Caller,
        request: &Request,
        key: Option<&IdempotencyKey>,
    ) -> Result<Created, Refusal> {
        let inner = &self.0;
        inner.check_running()?;
        let order = Order::new(
            request,
            &inner.config.profiles,
            &inner.descriptions,
            &inner.config.policy,
        )?;
        let is_sample = inner
            .descriptions
            .iter()
            .any(|place| place.name == order.place && place.is_sample);
        let now = inner.clock.now();
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| {
            Fault::new(
                FaultKind::Unclear,
                "no_random",
                format!("cannot read this system's random source: {error}"),
            )
        })?;
        let id = LeaseId::new(now, u128::from_ne_bytes(random));
        let mut lease = Lease::new(id, &caller.owner, order, &request.peers, is_sample, now);
        lease.announce(now);
        let (store, key, policy) = (Arc::clone(&inner.store), key.cloned(), inner.config.policy.clone());
        let (lease, inserted) = inner
            .blocking(move || {
                let notices = lease.take_notices();
                let new = NewLease {
                    lease: &lease,
                    notices: &notices,
                    key: key.as_ref(),
                    policy: &policy,
                };
                let inserted = store.insert(&new, now)?;
                Ok::<_, StoreError>((lease, inserted))
            })
            .await
            .inspect_err(|_| inner.meters.count(|meters| meters.store_failures += 1))?;
        match inserted {
            Inserted::New => {
                tracing::info!(
                    lease = %id,
                    request_id = caller.request_id,
                    place = lease.order.place,
                    owner = lease.owner,
                    "requested"
                );
                inner.drive(lease.clone(), Some(caller.request_id.clone()));
                inner.tell(id);
                Ok(Created::New(lease))
            }
            Inserted::Again(id) => Ok(Created::Again(self.find(caller, id).await?)),
            Inserted::KeyReused => Err(Refusal::KeyReused),
            Inserted::Limit(limit) => Err(Refusal::Limit {
                message: limit.to_string(),
                retry_after: None,
            }),
        }
    }

    /// A lease as it is now.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`] for another's, too.
    pub async fn read(&self, caller: &Caller, id: LeaseId) -> Result<Lease, Refusal> {
        self.find(caller, id).await
    }

    /// Leases that a filter lets through, the newest first; of others only for admins.
    ///
    /// # Errors
    ///
    /// [`Refusal::Store`].
    pub async fn list(&self, caller: &Caller, filter: &Filter) -> Result<Page, Refusal> {
        let mut filter = filter.clone();
        if !caller.is_admin {
            filter.owner = Some(caller.owner.clone());
        }
        let store = Arc::clone(&self.0.store);
        let mut page = self.0.blocking(move || store.list(&filter)).await?;
        for lease in &mut page.leases {
            if let Some(living) = self.0.living(lease.id) {
                *lease = living;
            }
        }
        Ok(page)
    }

    /// What happened with a lease after the notice of this number.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub async fn notices(&self, caller: &Caller, id: LeaseId, after: u64) -> Result<Vec<Numbered>, Refusal> {
        self.find(caller, id).await?;
        let store = Arc::clone(&self.0.store);
        Ok(self.0.blocking(move || store.notices(id, after)).await?)
    }

    /// Tells of every lease that has changed: its row, its history, or its traffic.
    pub fn changes(&self) -> broadcast::Receiver<LeaseId> {
        self.0.changes.subscribe()
    }

    /// The traffic of a lease in the last half hour, a sample every few seconds. None is kept of a lease that is over.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub async fn traffic(&self, caller: &Caller, id: LeaseId) -> Result<Vec<Sample>, Refusal> {
        self.find(caller, id).await?;
        let living = self.0.living.read().unwrap_or_else(PoisonError::into_inner);
        Ok(living.get(&id).map(|(living, _)| living.samples()).unwrap_or_default())
    }

    /// What users have, and had in the last 24 hours. Admins see everybody.
    ///
    /// # Errors
    ///
    /// [`Refusal::Store`].
    pub async fn usage(&self, caller: &Caller, owner: Option<&str>) -> Result<Vec<Usage>, Refusal> {
        let owner = if caller.is_admin {
            owner
        } else {
            Some(caller.owner.as_str())
        };
        let owner = owner.map(str::to_owned);
        let now = self.0.clock.now();
        let since = Moment::from_millis(now.as_millis().saturating_sub(USAGE_PERIOD.as_secs() * 1_000));
        let store = Arc::clone(&self.0.store);
        Ok(self
            .0
            .blocking(move || store.usage(owner.as_deref(), since, now))
            .await?)
    }

    /// What the places offer.
    pub fn places(&self) -> &[Description] {
        &self.0.descriptions
    }

    /// Sets of options by name.
    pub fn profiles(&self) -> &BTreeMap<String, Profile> {
        &self.0.config.profiles
    }

    /// What may be asked for.
    pub fn policy(&self) -> &Policy {
        &self.0.config.policy
    }

    /// What time it is by the clock of the leases.
    pub fn now(&self) -> Moment {
        self.0.clock.now()
    }

    /// Counts since the start.
    pub fn meters(&self) -> Meters {
        self.0.meters.read()
    }

    /// The leases that are not removed, as they are now.
    pub fn running(&self) -> Vec<Lease> {
        let living = self.0.living.read().unwrap_or_else(PoisonError::into_inner);
        living.values().map(|(living, _)| living.view()).collect()
    }

    /// Forgets so many leases at most of which nothing was left before `before`; gives how many it were.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn forget(&self, before: Moment, most: usize) -> Result<usize, StoreError> {
        let (store, now) = (Arc::clone(&self.0.store), self.0.clock.now());
        self.0.blocking(move || store.forget(before, most, now)).await
    }

    /// Whether leases can be kept.
    ///
    /// # Errors
    ///
    /// Why not.
    pub async fn is_well(&self) -> Result<(), String> {
        self.0.check_running().map_err(|refusal| refusal.to_string())?;
        let store = Arc::clone(&self.0.store);
        let checked = self.0.blocking(move || store.check()).await;
        checked.map_err(|error| error.to_string())
    }

    /// Stops driving: what is being written is finished, what is under way at the places is left to the next start. Gateways
    /// go on.
    pub async fn stop(&self) {
        self.0.stop.send_replace(true);
        self.0.tasks.close();
        let _late = tokio::time::timeout(STOP_LIMIT, self.0.tasks.wait()).await;
    }

    async fn find(&self, caller: &Caller, id: LeaseId) -> Result<Lease, Refusal> {
        let lease = match self.0.living(id) {
            Some(lease) => Some(lease),
            None => {
                let store = Arc::clone(&self.0.store);
                self.0.blocking(move || store.read(id)).await?
            }
        };
        lease
            .filter(|lease| caller.is_admin || lease.owner == caller.owner)
            .ok_or(Refusal::NotFound)
    }
}

impl Inner {
    /// Begins to drive a lease, which this request has asked for.
    fn drive(self: &Arc<Self>, lease: Lease, request_id: Option<String>) {
        let (sender, wishes) = mpsc::channel(16);
        let living = Living::new(lease.clone());
        let place = self.places.get(&lease.order.place).cloned();
        let mut all = self.living.write().unwrap_or_else(PoisonError::into_inner);
        if all.contains_key(&lease.id) {
            return;
        }
        all.insert(lease.id, (living.clone(), sender));
        drop(all);
        let id = lease.id;
        let driver = Driver {
            request_id,
            inner: Arc::clone(self),
            place,
            lease,
            living,
            wishes,
            counted_at: self.clock.now(),
        };
        let inner = Arc::clone(self);
        self.spawn(async move {
            driver.run().await;
            inner.living.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
            inner.tell(id);
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// Does all of a task, even if whoever asked goes away meanwhile.
    async fn whole<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        match self.runtime.spawn(task.in_current_span()).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::File(std::io::Error::other(error)).into()),
        }
    }

    /// Runs what blocks on a thread for it.
    async fn blocking<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        match self.runtime.spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::File(std::io::Error::other(error)).into()),
        }
    }

    fn job(&self, lease: &Lease) -> Job {
        let remaining = match lease.ready_at {
            Some(_) => lease.remaining(self.clock.now()),
            None => SETUP_LIMIT + Duration::from_secs(lease.granted_secs),
        };
        Job {
            id: lease.id,
            instance: self.config.instance.clone(),
            order: lease.order.clone(),
            peers: lease.wanted_peers(),
            remaining,
            refs: lease.refs.clone(),
        }
    }

    fn living(&self, id: LeaseId) -> Option<Lease> {
        let living = self.living.read().unwrap_or_else(PoisonError::into_inner);
        living.get(&id).map(|(living, _)| living.view())
    }

    fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    fn check_running(&self) -> Result<(), Refusal> {
        if *self.stop.borrow() {
            Err(Refusal::Stopping)
        } else {
            Ok(())
        }
    }

    /// Nobody may listen.
    fn tell(&self, id: LeaseId) {
        let _unheard = self.changes.send(id);
    }
}
