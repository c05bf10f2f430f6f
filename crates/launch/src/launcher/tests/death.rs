//! The launcher dies at every step, and another one goes on; the disk is full at every step.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::oneshot;

use super::*;
use crate::lease::Notice;

/// A store that fails, or whose process dies, at a chosen write.
#[derive(Debug)]
struct Wicked {
    inner: Arc<Database>,
    writes: AtomicU64,
    at: u64,
    what: Wickedness,
    dead: Mutex<Option<oneshot::Sender<()>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wickedness {
    /// The disk is full for five writes.
    Full,
    /// The process dies before the write.
    DiesBefore,
    /// The process dies after it.
    DiesAfter,
}

impl Wicked {
    fn new(inner: &Arc<Database>, at: u64, what: Wickedness) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (dead, died) = oneshot::channel();
        let store = Self {
            inner: Arc::clone(inner),
            writes: AtomicU64::new(0),
            at,
            what,
            dead: Mutex::new(Some(dead)),
        };
        (Arc::new(store), died)
    }

    /// Nothing that is called after this returns: the process is dead.
    fn die(&self) -> StoreError {
        if let Some(dead) = self.dead.lock().unwrap().take() {
            let _gone = dead.send(());
        }
        std::thread::sleep(Duration::from_secs(1));
        StoreError::File(std::io::Error::other("dead"))
    }

    fn write<T>(&self, write: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        match self.what {
            Wickedness::Full if (self.at..self.at + 5).contains(&number) => {
                Err(StoreError::File(std::io::ErrorKind::StorageFull.into()))
            }
            Wickedness::DiesBefore if number >= self.at => Err(self.die()),
            Wickedness::DiesAfter if number == self.at => {
                write()?;
                Err(self.die())
            }
            Wickedness::DiesAfter if number > self.at => Err(self.die()),
            Wickedness::Full | Wickedness::DiesBefore | Wickedness::DiesAfter => write(),
        }
    }
}

impl Store for Wicked {
    fn insert(&self, new: &NewLease<'_>, now: Moment) -> Result<Inserted, StoreError> {
        self.write(|| self.inner.insert(new, now))
    }

    fn update(&self, lease: &mut Lease, notices: &[Notice]) -> Result<(), StoreError> {
        self.write(|| self.inner.update(lease, notices))
    }

    fn read(&self, id: LeaseId) -> Result<Option<Lease>, StoreError> {
        Store::read(self.inner.as_ref(), id)
    }

    fn list(&self, filter: &Filter) -> Result<Page, StoreError> {
        self.inner.list(filter)
    }

    fn unfinished(&self) -> Result<Vec<Lease>, StoreError> {
        self.inner.unfinished()
    }

    fn notices(&self, id: LeaseId, after: u64) -> Result<Vec<Numbered>, StoreError> {
        self.inner.notices(id, after)
    }

    fn usage(&self, owner: Option<&str>, since: Moment, now: Moment) -> Result<Vec<Usage>, StoreError> {
        self.inner.usage(owner, since, now)
    }

    fn forget(&self, before: Moment, most: usize, now: Moment) -> Result<usize, StoreError> {
        self.write(|| self.inner.forget(before, most, now))
    }

    fn check(&self) -> Result<(), StoreError> {
        self.inner.check()
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_holds_every_step_up_and_loses_none() {
    for at in 1..12 {
        let database = memory();
        let place = Simulate::new(quick());
        let (store, _died) = Wicked::new(&database, at, Wickedness::Full);
        let launcher = start(store, &place);
        let anna = caller("anna");
        let lease = loop {
            match launcher.create(&anna, &request("phone"), None).await {
                Ok(Created::New(lease) | Created::Again(lease)) => break lease,
                Err(Refusal::Store(_)) => assert!(place.left().is_empty(), "nothing is made that is not kept"),
                Err(error) => panic!("{error:?}"),
            }
        };
        wait_for(&launcher, lease.id, State::Ready).await;
        while launcher.end(&anna, lease.id).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        wait_for(&launcher, lease.id, State::Removed).await;
        assert!(place.left().is_empty(), "write {at}");
        launcher.stop().await;
    }
}

/// A launcher that dies at each write of a lease's life, before and after it, and another one that goes on.
#[test]
fn who_dies_at_any_step_leaves_nothing_that_a_restart_does_not_mend() {
    for what in [Wickedness::DiesBefore, Wickedness::DiesAfter] {
        let mut at = 1;
        loop {
            let database = memory();
            let place = Simulate::new(quick());
            let (store, mut died) = Wicked::new(&database, at, what);
            let doomed = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let is_dead = doomed.block_on(async {
                let launcher =
                    Launcher::start(Config::new("test"), store, vec![Arc::clone(&place) as Arc<dyn Place>]).unwrap();
                let life = async {
                    let lease = create(&launcher).await;
                    wait_for(&launcher, lease.id, State::Ready).await;
                    launcher.end(&caller("anna"), lease.id).await.unwrap();
                    wait_for(&launcher, lease.id, State::Removed).await;
                };
                tokio::select! {
                    biased;
                    _ = &mut died => true,
                    () = life => false,
                }
            });
            // As kill -9 does: nothing of it goes on.
            doomed.shutdown_background();
            if !is_dead {
                assert!(at > 8, "{what:?}: {at} writes are too few for a life");
                break;
            }
            let next = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            next.block_on(async {
                let config = Config {
                    sweep_every: Some(Duration::from_millis(40)),
                    ..Config::new("test")
                };
                let launcher = Launcher::start(config, database, vec![Arc::clone(&place) as Arc<dyn Place>]).unwrap();
                for lease in launcher.list(&admin(), &Filter::default()).await.unwrap().leases {
                    if lease.state.is_running() {
                        wait_for(&launcher, lease.id, State::Ready).await;
                        launcher.end(&admin(), lease.id).await.unwrap();
                    }
                    let lease = wait_for(&launcher, lease.id, State::Removed).await;
                    assert_eq!(lease.outcome, Some(End::Asked), "{what:?} {at}");
                }
                let limit = Instant::now() + Duration::from_secs(5);
                while !place.left().is_empty() {
                    assert!(Instant::now() < limit, "{what:?} {at}: {:?} is left", place.left());
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                launcher.stop().await;
            });
            at += 1;
        }
    }
}
