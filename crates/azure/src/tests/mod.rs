//! The client against small servers on this machine, in a time of its own.

mod fake;
mod faults;
mod lists;
mod operations;
mod requests;
pub(crate) mod server;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use serde_json::json;

use self::server::{Asked, Play, Server, reply};
use crate::{
    Arm, Cloud, Credential, Method, Path, Request,
    clock::Clock,
    credential::{Choice, Settings, Way},
};

/// A clock that leaps over every wait, and remembers them.
#[derive(Debug)]
pub(crate) struct Leap {
    start: (Instant, SystemTime),
    waits: Mutex<Vec<Duration>>,
}

impl Leap {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: (Instant::now(), SystemTime::now()),
            waits: Mutex::default(),
        })
    }

    pub(crate) fn waits(&self) -> Vec<Duration> {
        self.waits.lock().unwrap().clone()
    }

    pub(crate) fn leap(&self, duration: Duration) {
        self.waits.lock().unwrap().push(duration);
    }
}

#[async_trait]
impl Clock for Leap {
    fn now(&self) -> Instant {
        self.start.0 + self.waits().iter().sum::<Duration>()
    }

    fn time_of_day(&self) -> SystemTime {
        self.start.1 + self.waits().iter().sum::<Duration>()
    }

    async fn sleep(&self, duration: Duration) {
        self.leap(duration);
        tokio::task::yield_now().await;
    }
}

const TOKEN_PATH: &str = "/tenant/oauth2/v2.0/token";

pub(crate) fn settings() -> Settings {
    Settings {
        tenant: Some("tenant".to_owned()),
        client: Some("client".to_owned()),
        secret: Some("s3cret".to_owned().into()),
        ..Settings::default()
    }
}

pub(crate) fn cloud(server: &Server) -> Cloud {
    let cloud = Cloud::default().with_management(&server.address).unwrap();
    cloud.with_authority(&server.address).unwrap()
}

/// A server that gives tokens `t1`, `t2`, …, each for an hour, and otherwise answers as it is told; and a client of it.
async fn arm(mut answer: impl FnMut(&Asked) -> Play + Send + 'static) -> (Arm, Server, Arc<Leap>) {
    let mut tokens = 0;
    let server = Server::start(move |asked| {
        if asked.target == TOKEN_PATH {
            tokens += 1;
            return reply(200)
                .json(json!({"access_token": format!("t{tokens}"), "expires_in": 3600}))
                .into();
        }
        answer(asked)
    })
    .await;
    let clock = Leap::new();
    let arm = client(&server, &clock);
    (arm, server, clock)
}

fn client(server: &Server, clock: &Arc<Leap>) -> Arm {
    let credential = Credential::choose(Choice::Only(Way::ClientSecret), &settings()).unwrap();
    let clock: Arc<dyn Clock> = Arc::<Leap>::clone(clock);
    Arm::with_clock(cloud(server), credential, clock).unwrap()
}

const MACHINE: &str = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm";

fn machine(method: Method) -> Request {
    Request::new(method, Path::try_from(MACHINE.to_owned()).unwrap(), "2024-11-01")
}
