//! Leases from request to removal on the simulated place, in virtual time, with everything that can go wrong.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{sync::oneshot, time::Instant};
use wg::PrivateKey;

use super::*;
use crate::{
    State, conf,
    lease::{End, Notice},
    order::{Keys, PeerRequest},
    place::simulate::{Call, Simulate, Times, Trouble},
    store::Database,
};

fn caller(owner: &str) -> Caller {
    Caller {
        owner: owner.to_owned(),
        is_admin: false,
        request_id: "test".to_owned(),
    }
}

fn admin() -> Caller {
    Caller {
        is_admin: true,
        ..caller("admin")
    }
}

/// The time of tokio's clock, which the tests let pass.
fn clock() -> Clock {
    let start = Instant::now();
    Clock::of(
        move || SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000) + start.elapsed(),
        move || start.elapsed(),
    )
}

fn config() -> Config {
    Config {
        clock: clock(),
        policy: Policy::own(),
        ..Config::new("test")
    }
}

fn request(name: &str) -> Request {
    Request {
        peers: vec![PeerRequest {
            name: name.to_owned(),
            public_key: Some(PrivateKey::from_random([7; 32]).public_key()),
        }],
        ..Request::default()
    }
}

fn start(store: Arc<dyn Store>, place: &Arc<Simulate>) -> Launcher {
    Launcher::start(config(), store, vec![Arc::clone(place) as Arc<dyn Place>]).unwrap()
}

fn memory() -> Arc<Database> {
    Arc::new(Database::in_memory().unwrap())
}

async fn create(launcher: &Launcher) -> Lease {
    match launcher.create(&caller("anna"), &request("phone"), None).await.unwrap() {
        Created::New(lease) | Created::Again(lease) => lease,
    }
}

/// Waits until the lease is in a state; an hour of virtual time at most.
async fn wait_for(launcher: &Launcher, id: LeaseId, state: State) -> Lease {
    let reached = async {
        loop {
            let lease = launcher.read(&admin(), id).await.unwrap();
            if lease.state == state {
                return lease;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(7_200), reached)
        .await
        .unwrap_or_else(|_| panic!("{id} never was {state:?}: {:?}", launcher.running()))
}

#[tokio::test(start_paused = true)]
async fn a_lease_comes_up_and_goes_by_itself() {
    let place = Simulate::new(Times::default());
    let launcher = start(memory(), &place);
    let anna = caller("anna");
    let id = create(&launcher).await.id;
    let error = launcher.configuration(&anna, id, "phone").await.unwrap_err();
    assert!(matches!(error, Refusal::NotReady { .. }), "{error:?}");
    let lease = wait_for(&launcher, id, State::Ready).await;
    let took = lease.ready_at.unwrap().since(lease.created_at);
    assert!(
        took >= Duration::from_secs(4) && took < Duration::from_secs(6),
        "{took:?}"
    );
    let configuration = launcher.configuration(&anna, id, "phone").await.unwrap();
    assert!(
        configuration.is_sample && configuration.text.contains("Endpoint = 192.0.2."),
        "{configuration:?}"
    );
    assert!(configuration.text.contains(conf::PRIVATE_KEY));
    assert!(
        configuration.text.lines().all(|line| line.ends_with(conf::SAMPLE)),
        "{}",
        configuration.text
    );
    assert_eq!(place.left(), [id]);
    let lease = wait_for(&launcher, id, State::Removed).await;
    assert_eq!(lease.outcome, Some(End::Expired));
    let lived = lease.removed_at.unwrap().since(lease.ready_at.unwrap());
    assert!(
        lived >= Duration::from_secs(1_800) && lived < Duration::from_secs(1_810),
        "{lived:?}"
    );
    assert!(place.left().is_empty());
    let notices = launcher.notices(&anna, id, 0).await.unwrap();
    let kinds: Vec<&str> = notices.iter().map(|numbered| numbered.notice.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "requested",
            "provisioning",
            "configuring",
            "ready",
            "removing",
            "removed"
        ]
    );
    let numbers: Vec<u64> = notices.iter().map(|numbered| numbered.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    let meters = launcher.meters();
    assert_eq!(meters.ready["simulate"].count, 1);
    assert!(launcher.running().is_empty() && meters.failures.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nobody_sees_or_ends_the_lease_of_another() {
    let place = Simulate::new(Times::default());
    let launcher = start(memory(), &place);
    let id = create(&launcher).await.id;
    wait_for(&launcher, id, State::Ready).await;
    let bert = caller("bert");
    let peer = &request("laptop").peers[0];
    let refusals = [
        launcher.read(&bert, id).await.err(),
        launcher.extend(&bert, id, Duration::from_secs(60)).await.err(),
        launcher.end(&bert, id).await.err(),
        launcher.add_peer(&bert, id, peer).await.err(),
        launcher.remove_peer(&bert, id, "phone").await.err(),
        launcher.configuration(&bert, id, "phone").await.err(),
        launcher.hand_over(&bert, id, "phone").await.err(),
        launcher.notices(&bert, id, 0).await.err(),
        launcher.traffic(&bert, id).await.err(),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Some(Refusal::NotFound)), "{refusal:?}");
    }
    assert!(
        launcher
            .list(&bert, &Filter::default())
            .await
            .unwrap()
            .leases
            .is_empty()
    );
    let of_anna = Filter {
        owner: Some("anna".to_owned()),
        ..Filter::default()
    };
    assert!(launcher.list(&bert, &of_anna).await.unwrap().leases.is_empty());
    assert_eq!(launcher.list(&admin(), &of_anna).await.unwrap().leases.len(), 1);
    assert!(launcher.usage(&bert, Some("anna")).await.unwrap().is_empty());
    launcher.end(&admin(), id).await.unwrap();
    assert_eq!(wait_for(&launcher, id, State::Removed).await.outcome, Some(End::Asked));
}

#[tokio::test(start_paused = true)]
async fn peers_and_time_change_while_it_runs() {
    let place = Simulate::new(Times::default());
    let launcher = start(memory(), &place);
    let anna = caller("anna");
    let id = create(&launcher).await.id;
    wait_for(&launcher, id, State::Ready).await;
    let mut laptop = request("laptop").peers.remove(0);
    let error = launcher.add_peer(&anna, id, &laptop).await.unwrap_err();
    assert!(
        error.to_string().starts_with("public_key: another peer has this key"),
        "{error}"
    );
    laptop.public_key = Some(PrivateKey::from_random([8; 32]).public_key());
    for _twice in 0..2 {
        assert_eq!(launcher.add_peer(&anna, id, &laptop).await.unwrap().peers.len(), 2);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let text = launcher.configuration(&anna, id, "laptop").await.unwrap().text;
    assert!(text.contains("Address = 10.13.13.3/32"), "{text}");
    let other = PrivateKey::from_random([9; 32]).public_key();
    let phones = launcher.read(&anna, id).await.unwrap().peers[0].public_key.unwrap();
    assert!(launcher.replace_key(&anna, id, "laptop", phones).await.is_err());
    launcher.replace_key(&anna, id, "laptop", other).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let replaced = launcher.configuration(&anna, id, "laptop").await.unwrap();
    assert_eq!((replaced.public_key, replaced.text), (other, text));
    assert!(launcher.remove_peer(&anna, id, "nobody").await.is_err());
    launcher.remove_peer(&anna, id, "phone").await.unwrap();
    let error = launcher.remove_peer(&anna, id, "laptop").await.unwrap_err();
    assert!(
        matches!(error, Refusal::Conflict { code: "last_peer", .. }),
        "{error:?}"
    );
    let before = launcher.read(&anna, id).await.unwrap().ends_at;
    let lease = launcher.extend(&anna, id, Duration::from_secs(600)).await.unwrap();
    assert_eq!(lease.ends_at, before + Duration::from_secs(600));
    assert!(
        launcher
            .extend(&anna, id, Duration::from_secs(40 * 86_400))
            .await
            .is_err()
    );
    assert!(launcher.extend(&anna, id, Duration::ZERO).await.is_err());
    for _twice in 0..2 {
        launcher.end(&anna, id).await.unwrap();
    }
    wait_for(&launcher, id, State::Removed).await;
    launcher.end(&anna, id).await.unwrap();
    let error = launcher.extend(&anna, id, Duration::from_secs(60)).await.unwrap_err();
    assert!(matches!(error, Refusal::Over), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn more_time_counts_against_the_minutes_of_a_day() {
    let place = Simulate::new(Times::default());
    let config = Config {
        policy: Policy {
            minutes_a_day: Some(40),
            ..Policy::own()
        },
        ..config()
    };
    let launcher = Launcher::start(config, memory(), vec![place as Arc<dyn Place>]).unwrap();
    let id = create(&launcher).await.id;
    let anna = caller("anna");
    launcher.extend(&anna, id, Duration::from_secs(600)).await.unwrap();
    let error = launcher.extend(&anna, id, Duration::from_secs(60)).await.unwrap_err();
    assert!(matches!(error, Refusal::Limit { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_a_lease_that_is_driven() {
    let place = Simulate::new(Times::default());
    let database = memory();
    let launcher = start(Arc::clone(&database) as Arc<dyn Store>, &place);
    let asking = {
        let launcher = launcher.clone();
        tokio::spawn(async move { create(&launcher).await })
    };
    tokio::task::yield_now().await;
    asking.abort();
    let settled = async {
        while database.unfinished().unwrap().len() != launcher.running().len() || launcher.running().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), settled).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_the_gateway_made_is_handed_over_once() {
    let fails_once = |call, _, number| {
        // The 5th question is the first hand-over: four reports are before it.
        (call == Call::Ask && number == 5).then_some(Trouble::LosesAnswer)
    };
    let place = Simulate::with_troubles(
        Times {
            start: Duration::ZERO,
            ..Times::default()
        },
        fails_once,
    );
    let launcher = start(memory(), &place);
    let anna = caller("anna");
    let wanted = Request {
        keys: Some(Keys::Gateway),
        peers: vec![PeerRequest {
            name: "phone".to_owned(),
            public_key: None,
        }],
        ..Request::default()
    };
    let Created::New(lease) = launcher.create(&anna, &wanted, None).await.unwrap() else {
        panic!("not new")
    };
    wait_for(&launcher, lease.id, State::Ready).await;
    assert!(matches!(
        launcher.configuration(&anna, lease.id, "phone").await,
        Err(Refusal::Conflict { .. })
    ));
    let mut texts = Vec::new();
    for _attempt in 0..10 {
        match launcher.hand_over(&anna, lease.id, "phone").await {
            Ok(secret) => texts.push(secret),
            Err(Refusal::AlreadyHandedOver) => assert_eq!(texts.len(), 1),
            Err(Refusal::Place(_)) => assert!(texts.is_empty()),
            Err(error) => panic!("{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    assert_eq!(texts.len(), 1);
    let text = texts[0].danger_text();
    assert!(text.lines().all(|line| line.ends_with(conf::SAMPLE)), "{text}");
    let kept = serde_json::to_string(&launcher.read(&anna, lease.id).await.unwrap()).unwrap();
    assert!(
        !kept.contains("PrivateKey") && kept.contains("handed_over_at"),
        "{kept}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_place_that_fails_leaves_no_configuration_and_nothing_else() {
    let refuse = Fault::new(FaultKind::Refused, "quota", "the quota is used up").with_remedy("ask for more");
    let refuse = move |call, _, _| (call == Call::Create).then(|| Trouble::Fails(refuse.clone()));
    let place = Simulate::with_troubles(Times::default(), refuse);
    let launcher = start(memory(), &place);
    let id = create(&launcher).await.id;
    let lease = wait_for(&launcher, id, State::Removed).await;
    assert_eq!(
        (lease.outcome, lease.fault.unwrap().code.as_str()),
        (Some(End::Failed), "quota")
    );
    let error = launcher.configuration(&caller("anna"), id, "phone").await.unwrap_err();
    assert!(matches!(error, Refusal::Over), "{error:?}");
    assert!(place.left().is_empty());
    assert_eq!(
        launcher.meters().failures[&("simulate".to_owned(), "quota".to_owned())],
        1
    );
}

#[tokio::test(start_paused = true)]
async fn whatever_a_place_does_with_calls_nothing_is_left_in_the_end() {
    let unclear = || Trouble::Fails(Fault::new(FaultKind::Unclear, "busy", "the place is busy"));
    for call in [Call::Create, Call::Ask, Call::Remove] {
        for trouble in [
            unclear(),
            Trouble::LosesAnswer,
            Trouble::Hangs(Duration::from_secs(300)),
        ] {
            for every in [2, 3] {
                let planned = trouble.clone();
                let plan =
                    move |seen: Call, _, number: u64| (seen == call && number % every == 1).then(|| planned.clone());
                let place = Simulate::with_troubles(Times::default(), plan);
                let launcher = start(memory(), &place);
                let id = create(&launcher).await.id;
                let lease = wait_for(&launcher, id, State::Ready).await;
                assert!(lease.fault.is_none(), "{call:?} {trouble:?}: {:?}", lease.fault);
                launcher.end(&caller("anna"), id).await.unwrap();
                wait_for(&launcher, id, State::Removed).await;
                assert!(place.left().is_empty(), "{call:?} {trouble:?}");
                launcher.stop().await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_waits_for_a_creation_that_is_under_way() {
    let slow = |call, _, number| (call == Call::Create && number == 1).then(|| Trouble::Hangs(Duration::from_secs(60)));
    let place = Simulate::with_troubles(Times::default(), slow);
    let launcher = start(memory(), &place);
    let id = create(&launcher).await.id;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let lease = launcher.end(&caller("anna"), id).await.unwrap();
    assert_eq!(lease.state, State::Removing);
    let lease = wait_for(&launcher, id, State::Removed).await;
    assert!(lease.removed_at.unwrap().since(lease.created_at) >= Duration::from_secs(60));
    assert!(place.left().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_sweep_removes_what_no_lease_knows_in_the_second_round() {
    let place = Simulate::new(Times::default());
    let stranded = LeaseId::new(Moment::from_millis(1), 1);
    let foreign = LeaseId::new(Moment::from_millis(1), 2);
    place.strand("test", stranded);
    place.strand("another", foreign);
    let launcher = start(memory(), &place);
    let id = create(&launcher).await.id;
    wait_for(&launcher, id, State::Ready).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!((launcher.meters().orphans["simulate"], place.left().len()), (1, 3));
    tokio::time::sleep(Duration::from_secs(120)).await;
    let mut left = place.left();
    left.sort();
    assert_eq!(left, [foreign, id]);
    assert_eq!(launcher.meters().removed_orphans["simulate"], 1);
    assert_eq!(launcher.read(&admin(), id).await.unwrap().state, State::Ready);
}

#[tokio::test(start_paused = true)]
async fn an_empty_store_finds_what_a_lost_one_has_left() {
    let place = Simulate::new(Times::default());
    let lost = start(memory(), &place);
    let id = create(&lost).await.id;
    wait_for(&lost, id, State::Ready).await;
    lost.stop().await;
    let launcher = start(memory(), &place);
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert!(place.left().is_empty());
    assert!(matches!(launcher.read(&admin(), id).await, Err(Refusal::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_goes_by_itself_is_said_to_be_lost() {
    let place = Simulate::new(Times::default());
    let launcher = start(memory(), &place);
    let id = create(&launcher).await.id;
    wait_for(&launcher, id, State::Ready).await;
    place.crash(id);
    let lease = wait_for(&launcher, id, State::Removed).await;
    assert_eq!(
        (lease.outcome, lease.fault.unwrap().code.as_str()),
        (Some(End::Lost), "gateway_gone")
    );
}

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

    fn check(&self) -> Result<(), StoreError> {
        self.inner.check()
    }
}

fn quick() -> Times {
    Times {
        creation: Duration::from_millis(30),
        start: Duration::from_millis(10),
        removal: Duration::from_millis(20),
        call: Duration::from_millis(1),
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
