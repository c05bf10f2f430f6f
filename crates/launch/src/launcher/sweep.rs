//! Looks at the places for gateways that no lease knows, and removes them.
//!
//! What is found once is marked; what is found again in the next round is removed: a gateway that was about to be known, or
//! about to go, is left alone. A place that cannot tell changes no mark.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::{Inner, Launcher};
use crate::{
    LeaseId, State,
    lease::SETUP_LIMIT,
    order::Order,
    place::{Description, FaultKind, Job, Place, Removal},
    store::StoreError,
};

/// How long a place may take for its list, and for a removal.
const LIMIT: Duration = Duration::from_secs(120);

/// What a round has found that no lease knows, by place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Marks(BTreeMap<String, HashSet<LeaseId>>);

impl Launcher {
    /// Looks once at the places that are wanted: one round of what [`super::Config::sweep_every`] repeats. What is marked and
    /// found again is removed; `marks` is for the next round then.
    pub async fn sweep(&self, marks: &mut Marks, is_wanted: impl Fn(&Description) -> bool + Send) {
        round(&self.0, marks, is_wanted).await;
    }
}

/// Sweeps until the launcher stops.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut stop = inner.stopping();
    let every = inner.config.sweep_every.unwrap_or(LIMIT);
    let mut marks = Marks::default();
    loop {
        let round = async {
            round(&inner, &mut marks, |_| true).await;
            sleep(every).await;
        };
        tokio::select! {
            _ = stop.changed() => return,
            () = round => {}
        }
    }
}

async fn round(inner: &Arc<Inner>, Marks(marked): &mut Marks, is_wanted: impl Fn(&Description) -> bool + Send) {
    for description in inner.descriptions.iter().filter(|description| is_wanted(description)) {
        let Some(place) = inner.places.get(&description.name) else {
            continue;
        };
        let marks = marked.entry(description.name.clone()).or_default();
        sweep(inner, description, place.as_ref(), marks).await;
    }
}

async fn sweep(inner: &Arc<Inner>, description: &Description, place: &dyn Place, marks: &mut HashSet<LeaseId>) {
    let name = &description.name;
    let listed = timeout(LIMIT, place.list(&inner.config.instance)).await;
    let found = match listed {
        Ok(Ok(found)) => found,
        Ok(Err(fault)) => {
            warn!(
                place = name,
                code = fault.code,
                "cannot look for what is left: {}",
                fault.message
            );
            inner
                .meters
                .count(|meters| *meters.failed_sweeps.entry(name.clone()).or_default() += 1);
            return;
        }
        Err(_) => {
            warn!(place = name, "cannot look for what is left: no answer in time");
            inner
                .meters
                .count(|meters| *meters.failed_sweeps.entry(name.clone()).or_default() += 1);
            return;
        }
    };
    inner
        .meters
        .count(|meters| *meters.sweeps.entry(name.clone()).or_default() += 1);
    let mut orphans = HashSet::new();
    for id in found {
        match is_known(inner, id).await {
            Ok(true) => {}
            Ok(false) => {
                orphans.insert(id);
            }
            // A store that cannot be read knows nothing of anybody: nothing is removed for that.
            Err(error) => {
                warn!(place = name, %error, "the store cannot say whose gateways these are");
                return;
            }
        }
    }
    for id in &orphans {
        if !marks.contains(id) {
            info!(place = name, lease = %id, "a gateway that no lease knows: it is removed if it is still there next time");
            inner
                .meters
                .count(|meters| *meters.orphans.entry(name.clone()).or_default() += 1);
            continue;
        }
        let removal = timeout(LIMIT, place.remove(&job(inner, name, *id))).await;
        // Who says that there is nothing is as sure as who has removed it.
        let removal = removal.map(|removal| match removal {
            Err(fault) if fault.kind == FaultKind::Gone => Ok(Removal::Gone),
            removal => removal,
        });
        match removal {
            Ok(Ok(Removal::Gone)) => {
                info!(place = name, lease = %id, "a gateway that no lease knows was removed");
                inner
                    .meters
                    .count(|meters| *meters.removed_orphans.entry(name.clone()).or_default() += 1);
            }
            Ok(Ok(Removal::Pending { .. })) => {
                debug!(place = name, lease = %id, "a gateway that no lease knows is being removed")
            }
            Ok(Err(fault)) => {
                warn!(place = name, lease = %id, "a gateway that no lease knows stays: {}", fault.message)
            }
            Err(_) => warn!(place = name, lease = %id, "a gateway that no lease knows stays: no answer in time"),
        }
    }
    *marks = orphans;
}

/// Whether a lease that is not over has this id.
async fn is_known(inner: &Arc<Inner>, id: LeaseId) -> Result<bool, StoreError> {
    if inner.living(id).is_some() {
        return Ok(true);
    }
    let store = Arc::clone(&inner.store);
    let lease = inner.blocking(move || store.read(id)).await?;
    Ok(lease.is_some_and(|lease| lease.state != State::Removed))
}

/// What a place has to know to remove what it has of a lease of which nothing else is known.
fn job(inner: &Inner, place: &str, id: LeaseId) -> Job {
    Job {
        id,
        instance: inner.config.instance.clone(),
        order: Order::plain(place, 1),
        peers: Vec::new(),
        remaining: SETUP_LIMIT,
        refs: Value::Null,
    }
}
