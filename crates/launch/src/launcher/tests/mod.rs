//! Leases from request to removal on the simulated place, in virtual time, with everything that can go wrong.

mod clock;
mod death;
mod disk;
mod faults;
mod life;
mod log;
mod peers;
mod sweep;

use std::time::SystemTime;

use tokio::time::Instant;
use wg::PrivateKey;

use super::*;
use crate::{
    State,
    lease::End,
    order::PeerRequest,
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

/// Ten times as fast as a cloud.
fn brisk() -> Times {
    Times::default().at_speed(10.0)
}

fn quick() -> Times {
    Times {
        creation: Duration::from_millis(30),
        start: Duration::from_millis(10),
        removal: Duration::from_millis(20),
        call: Duration::from_millis(1),
    }
}
