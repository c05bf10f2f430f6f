//! Drives one lease through its life: keeps its row, then takes the step, then keeps what came of it.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tracing::{Instrument as _, debug, info, warn};

use super::{Inner, Living, Refusal, Traffic};
use crate::{
    Lease, Moment, State,
    lease::{Action, Change, Event, Outcome, What, connected},
    place::{Fault, FaultKind, Job, Place},
    store::StoreError,
};

/// Longest sleep: a machine that slept itself wakes up to leases that are due.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How long after a failed write the next is tried.
const STORE_WAIT: Duration = Duration::from_millis(500);

/// Something that is wished of a lease while it lives.
pub(super) struct Wish {
    /// The request that it is of.
    pub(super) request_id: String,
    /// Looks at the lease, and says what is to happen, or why not.
    pub(super) decide: Decide,
    /// What came of it, once it is kept.
    pub(super) reply: oneshot::Sender<Result<Lease, Refusal>>,
}

/// Says what is to happen with a lease; `None` is nothing.
pub(super) type Decide = Box<dyn FnOnce(&Lease) -> Result<Option<Event>, Refusal> + Send>;

/// A step that is under way.
struct UnderWay {
    attempt: u64,
    /// Whether the next step has to wait for it: what it makes could not be found by a removal beside it.
    is_creation: bool,
    future: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

/// Drives a lease until it is removed, or the launcher stops.
pub(super) struct Driver {
    /// The request that the lease is of; `None` if it was found in the store.
    pub(super) request_id: Option<String>,
    pub(super) inner: Arc<Inner>,
    pub(super) place: Option<Arc<dyn Place>>,
    pub(super) lease: Lease,
    pub(super) living: Living,
    pub(super) wishes: mpsc::Receiver<Wish>,
    /// Until when it is counted how long peers were connected.
    pub(super) counted_at: Moment,
}

impl Driver {
    pub(super) async fn run(mut self) {
        let span = tracing::info_span!(
            "lease",
            lease = %self.lease.id,
            place = %self.lease.order.place,
            request_id = self.request_id.take(),
        );
        self.live().instrument(span).await;
    }

    async fn live(&mut self) {
        let mut stop = self.inner.stopping();
        let mut under_way: Option<UnderWay> = None;
        loop {
            let now = self.inner.clock.now();
            let may_step = under_way.as_ref().is_none_or(|step| !step.is_creation);
            if may_step && let Some(action) = self.lease.step(now) {
                if self.keep().await.is_break() {
                    return;
                }
                under_way = Some(self.take(action));
                continue;
            }
            let Some(due) = self.lease.due() else { return };
            let pause = if may_step {
                due.since(self.inner.clock.now()).min(LONGEST_SLEEP)
            } else {
                LONGEST_SLEEP
            };
            tokio::select! {
                biased;
                _ = stop.changed() => return,
                wish = self.wishes.recv() => match wish {
                    Some(wish) => self.grant(wish).await,
                    None => return,
                },
                outcome = finish(&mut under_way) => {
                    let (attempt, outcome) = outcome;
                    under_way = None;
                    let now = self.inner.clock.now();
                    self.note(&outcome);
                    match self.lease.handle(Event::Done { attempt, outcome }, now) {
                        Change::Nothing => debug!(attempt, "came too late"),
                        Change::Counters => self.publish(),
                        Change::Row => if self.keep().await.is_break() {
                            return;
                        },
                    }
                }
                () = sleep(pause) => {}
            }
        }
    }

    /// Begins a step. It ends by its limit, whatever the place does.
    fn take(&self, action: Action) -> UnderWay {
        let Action { attempt, what, limit } = action;
        let job = self.job();
        let is_creation = what == What::Create;
        let place = self.place.clone();
        debug!(attempt, step = name(&what), "step");
        let future = Box::pin(async move {
            let Some(place) = place else {
                return without_place(&what);
            };
            let late = |_| Fault::new(FaultKind::Unclear, "place_timeout", "the place gave no answer in time");
            match what {
                What::Create => Outcome::Created(
                    timeout(limit, place.create(&job))
                        .await
                        .unwrap_or_else(|error| Err(late(error))),
                ),
                What::Ask(question) => Outcome::Asked(
                    timeout(limit, place.ask(&job, &question))
                        .await
                        .unwrap_or_else(|error| Err(late(error))),
                ),
                What::Remove => Outcome::Removed(
                    timeout(limit, place.remove(&job))
                        .await
                        .unwrap_or_else(|error| Err(late(error))),
                ),
            }
        });
        UnderWay {
            attempt,
            is_creation,
            future,
        }
    }

    fn job(&self) -> Job {
        self.inner.job(&self.lease)
    }

    /// Does what is wished, if it can be kept.
    async fn grant(&mut self, wish: Wish) {
        let span = tracing::info_span!("wish", request_id = wish.request_id);
        self.grant_within(wish).instrument(span).await;
    }

    async fn grant_within(&mut self, wish: Wish) {
        let before = self.lease.clone();
        let result = match (wish.decide)(&self.lease) {
            Err(refusal) => Err(refusal),
            Ok(None) => Ok(()),
            Ok(Some(event)) => {
                let now = self.inner.clock.now();
                match self.lease.handle(event, now) {
                    Change::Nothing | Change::Counters => Ok(()),
                    Change::Row => self.keep_once().await.map_err(Refusal::from),
                }
            }
        };
        if result.is_err() {
            self.lease = before;
        }
        // Who asked may have gone.
        let _unheard = wish.reply.send(result.map(|()| self.lease.clone()));
    }

    /// Keeps the row, however long that takes; wishes are refused meanwhile. Breaks if the launcher stops first.
    async fn keep(&mut self) -> std::ops::ControlFlow<()> {
        let mut stop = self.inner.stopping();
        loop {
            let error = match self.keep_once().await {
                Ok(()) => return std::ops::ControlFlow::Continue(()),
                Err(StoreError::Stale) => {
                    warn!("another process has changed the lease: it is left to that one");
                    return std::ops::ControlFlow::Break(());
                }
                Err(error) => error,
            };
            warn!(%error, "the lease cannot be kept; no step is taken until it can");
            self.inner.meters.count(|meters| meters.store_failures += 1);
            let until = sleep(STORE_WAIT);
            tokio::pin!(until);
            loop {
                tokio::select! {
                    _ = stop.changed() => return std::ops::ControlFlow::Break(()),
                    wish = self.wishes.recv() => match wish {
                        Some(wish) => {
                            let refusal = Refusal::NotReady {
                                message: format!("nothing can be kept at the moment: {error}"),
                                retry_after: Duration::from_secs(5),
                            };
                            let _unheard = wish.reply.send(Err(refusal));
                        }
                        None => return std::ops::ControlFlow::Break(()),
                    },
                    () = &mut until => break,
                }
            }
        }
    }

    async fn keep_once(&mut self) -> Result<(), StoreError> {
        let mut lease = self.lease.clone();
        let notices = lease.take_notices();
        let store = Arc::clone(&self.inner.store);
        let kept = self.inner.blocking(move || {
            store.update(&mut lease, &notices)?;
            Ok::<_, StoreError>((lease, notices))
        });
        let (lease, notices) = kept.await?;
        for notice in &notices {
            info!(
                event = notice.kind.as_str(),
                state = notice.state.as_str(),
                "{}",
                notice.message
            );
        }
        self.count(&lease);
        self.lease = lease;
        self.publish();
        Ok(())
    }

    /// Counts what is kept for the first time.
    fn count(&self, lease: &Lease) {
        let before = self.living.view().state;
        if before == lease.state {
            return;
        }
        let place = &lease.order.place;
        match lease.state {
            State::Ready => self
                .inner
                .meters
                .ready(place, self.inner.clock.now().since(lease.created_at)),
            State::Failed | State::Lost => {
                let code = lease
                    .fault
                    .as_ref()
                    .map_or("unknown", |fault| fault.code.as_str())
                    .to_owned();
                let key = (place.clone(), code);
                self.inner
                    .meters
                    .count(|meters| *meters.failures.entry(key).or_default() += 1);
            }
            State::Requested | State::Provisioning | State::Configuring | State::Removing | State::Removed => {}
        }
    }

    /// Shows the lease as it is to whoever asks, and tells that it is another.
    fn publish(&mut self) {
        let before = self.living.show(self.lease.clone());
        let now = self.inner.clock.now();
        let passed = Traffic {
            received_bytes: self.lease.received_bytes().saturating_sub(before.received_bytes()),
            sent_bytes: self.lease.sent_bytes().saturating_sub(before.sent_bytes()),
            connected: connected::time((&before, self.counted_at), (&self.lease, now)),
        };
        self.counted_at = now;
        if passed != Traffic::default() {
            self.inner.meters.count(|meters| {
                let all = meters.traffic.entry(self.lease.order.place.clone()).or_default();
                *all = all.and(passed);
            });
        }
        if self.lease.state == State::Ready {
            self.living.sample(&self.lease, now);
        }
        self.inner.tell(self.lease.id);
    }

    fn note(&self, outcome: &Outcome) {
        let fault = match outcome {
            Outcome::Created(Err(fault)) | Outcome::Asked(Err(fault)) | Outcome::Removed(Err(fault)) => fault,
            Outcome::Created(Ok(_)) | Outcome::Asked(Ok(_)) | Outcome::Removed(Ok(_)) => return,
        };
        debug!(code = fault.code, kind = ?fault.kind, "{}", fault.message);
    }
}

/// What comes of a step that is under way; never, if none is.
async fn finish(under_way: &mut Option<UnderWay>) -> (u64, Outcome) {
    match under_way {
        Some(step) => (step.attempt, step.future.as_mut().await),
        None => std::future::pending().await,
    }
}

/// A lease of a place that is configured no more: it is not forgotten, and mended when the place is back.
fn without_place(what: &What) -> Outcome {
    let fault = |kind| {
        Fault::new(kind, "place_missing", "the lease's place is not configured any more")
            .with_remedy("start the hub with this place again, so that it can remove what it has there")
    };
    match what {
        What::Create => Outcome::Created(Err(fault(FaultKind::Refused))),
        What::Ask(_) => Outcome::Asked(Err(fault(FaultKind::Unclear))),
        What::Remove => Outcome::Removed(Err(fault(FaultKind::Unclear))),
    }
}

fn name(what: &What) -> &'static str {
    match what {
        What::Create => "create",
        What::Ask(_) => "ask",
        What::Remove => "remove",
    }
}
