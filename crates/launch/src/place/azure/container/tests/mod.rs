//! The place against netlab's Azure, whose containers say and do what a test wants.

mod ends;
mod life;
mod told;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use azure::{
    Arm, Cloud, Credential, Method, Request,
    clock::Clock,
    credential::{Choice, Settings as Account},
};
use netlab::serve::azure::{Azure, ContainerGroup, Fault as Trouble, Life, Machine, Machines, Refusal, Settings};
use serde_json::{Value, json};
use wg::{PrivateKey, PublicKey};

use super::{config::RESERVED, refs::Refs, *};
use crate::{
    node::{Ready, Secret},
    place::{
        FaultKind,
        azure::{EXPIRES_AT, INSTANCE, LEASE, Site},
    },
};

/// No life of a gateway takes longer, on however busy a machine.
const LIFE: Duration = Duration::from_secs(120);

/// A clock that leaps over every wait.
#[derive(Debug)]
struct Leap {
    start: (Instant, SystemTime),
    leapt: Mutex<Duration>,
}

impl Leap {
    fn leapt(&self) -> MutexGuard<'_, Duration> {
        self.leapt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for Leap {
    fn now(&self) -> Instant {
        self.start.0 + *self.leapt()
    }

    fn time_of_day(&self) -> SystemTime {
        self.start.1 + *self.leapt()
    }

    async fn sleep(&self, duration: Duration) {
        *self.leapt() += duration;
        tokio::task::yield_now().await;
    }
}

/// What a group's container says and does.
#[derive(Debug)]
struct Play {
    address: u8,
    log: String,
    life: Life,
    refusal: Option<Refusal>,
    groups: Vec<ContainerGroup>,
    removed: usize,
}

#[derive(Clone, Debug)]
struct Stage(Arc<Mutex<Play>>);

impl Stage {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Play {
            address: 1,
            log: says(1),
            life: Life::Running(0),
            refusal: None,
            groups: Vec::new(),
            removed: 0,
        })))
    }

    fn play(&self) -> MutexGuard<'_, Play> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machines for Stage {
    fn boot(&self, _machine: &Machine) -> Result<IpAddr, Refusal> {
        panic!("no machine is wanted")
    }

    fn start(&self, group: &ContainerGroup) -> Result<IpAddr, Refusal> {
        let mut play = self.play();
        play.groups.push(group.clone());
        let address = Ipv4Addr::new(192, 0, 2, play.address);
        play.refusal.clone().map_or(Ok(address.into()), Err)
    }

    fn logs(&self, _id: &str, _container: &str) -> String {
        self.play().log.clone()
    }

    fn life(&self, _id: &str, _container: &str) -> Life {
        self.play().life
    }

    fn removed(&self, _id: &str) {
        self.play().removed += 1;
    }
}

fn key(number: u8) -> PublicKey {
    PrivateKey::from_random([number; 32]).public_key()
}

/// What a gateway with a key says at its start.
fn says(number: u8) -> String {
    let ready = Ready {
        public_key: key(number),
        listen_port: 31_820,
        plane: "netstack".to_owned(),
    };
    format!("2026-11-18T11:06:40Z gateway ready in 0.004 s\n{}\n", ready.line())
}

fn job() -> Job {
    Job {
        id: LeaseId::new(Moment::from_millis(1_795_000_000_000), 7),
        instance: "here".to_owned(),
        order: Order::plain("azure-container", 1_800),
        peers: Vec::new(),
        remaining: Duration::from_secs(1_800),
        refs: Value::Null,
    }
}

fn with_refs(refs: &Value) -> Job {
    // As a store keeps it.
    let refs = serde_json::from_str(&refs.to_string()).unwrap();
    Job { refs, ..job() }
}

fn config(azure: &Azure) -> Config {
    let site = Site::new(
        &azure.settings().subscription,
        "adit",
        vec!["westeurope".to_owned(), "eastus".to_owned()],
    );
    Config::new(site.unwrap(), "ghcr.io/adit-vpn/adit:1")
}

fn arm(azure: &Azure) -> Arm {
    let known = azure.settings();
    let account = Account {
        tenant: Some(known.tenant.clone()),
        client: Some(known.client.clone()),
        secret: Some(known.secret.clone().into()),
        ..Account::default()
    };
    let credential = Credential::choose(Choice::Auto, &account).unwrap();
    let cloud = Cloud::default().with_management(&azure.url()).unwrap();
    let cloud = cloud.with_authority(&azure.url()).unwrap();
    let clock = Leap {
        start: (Instant::now(), SystemTime::now()),
        leapt: Mutex::default(),
    };
    Arm::with_clock(cloud, credential, Arc::new(clock)).unwrap()
}

fn secret() -> LauncherSecret {
    let folder = tempfile::tempdir().unwrap();
    LauncherSecret::of(folder.path()).unwrap()
}

/// An Azure with a resource group and what stands behind it.
async fn azure(settings: Settings) -> (Azure, Stage) {
    let stage = Stage::new();
    let azure = Azure::start_with(settings, stage.clone());
    let group = config(&azure).site.group_id().clone();
    let made = Request::new(Method::Put, &group, "2021-04-01").with_body(json!({"location": "westeurope"}));
    arm(&azure).carry_out(&made, Duration::from_secs(60)).await.unwrap();
    (azure, stage)
}

fn place(azure: &Azure, config: Config) -> AzureContainer {
    AzureContainer::new(config, arm(azure), secret()).unwrap()
}

/// Takes steps until it is made, each by a launcher that has just been started. Gives what is noted.
async fn make(azure: &Azure, config: &Config) -> Result<Value, Fault> {
    let mut refs = Value::Null;
    let due = Instant::now() + LIFE;
    while Instant::now() < due {
        match place(azure, config.clone()).create(&with_refs(&refs)).await {
            Ok(Creation::Made { refs }) => return Ok(refs),
            Ok(Creation::Pending { refs: noted, doing, .. }) => {
                assert!(!doing.is_empty());
                refs = noted;
            }
            Err(fault) if fault.kind == FaultKind::Unclear => {}
            Err(fault) => return Err(fault),
        }
    }
    panic!("it is never made: {refs}")
}

/// Takes steps until it is removed.
async fn remove(azure: &Azure, config: &Config, refs: &Value) {
    let mut refs = refs.clone();
    let due = Instant::now() + LIFE;
    while Instant::now() < due {
        match place(azure, config.clone()).remove(&with_refs(&refs)).await {
            Ok(Removal::Gone) => return,
            Ok(Removal::Pending { refs: noted, .. }) => refs = noted,
            Err(fault) => assert_eq!(fault.kind, FaultKind::Unclear, "{fault:?}"),
        }
    }
    panic!("it is never removed: {refs}")
}

fn groups(azure: &Azure) -> Vec<String> {
    azure.left_of("Microsoft.ContainerInstance/containerGroups")
}
