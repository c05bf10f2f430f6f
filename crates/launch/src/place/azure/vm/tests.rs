//! The place against the fake of Resource Manager.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::{Instant, SystemTime},
};

use azure::{
    Arm, Cloud, Credential,
    clock::Clock,
    credential::{Choice, Settings as Credentials},
};
use netlab::serve::azure::{Azure, Machine, Machines, Ran, Refusal, Script, Settings};
use serde_json::Value;

use super::*;
use crate::{
    Moment,
    order::Order,
    place::{FaultKind, azure::Site},
};

mod faults;
mod life;
mod linuxserver;
mod look;

/// No life of a gateway takes longer, on however busy a machine.
const LIFE: Duration = Duration::from_secs(120);

pub(super) const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

pub(super) fn job() -> Job {
    Job {
        id: LeaseId::new(Moment::from_millis(1_795_000_000_000), 7),
        instance: "here".to_owned(),
        order: Order::plain("azure-vm", 1_800),
        peers: Vec::new(),
        remaining: Duration::from_secs(1_800),
        refs: Value::Null,
    }
}

fn ready() -> String {
    format!(r#"{{"adit":"ready","public_key":"{KEY}","listen_port":51820,"plane":"kernel"}}"#)
}

/// Machines that say what they are told to say.
#[derive(Clone, Debug, Default)]
struct Rack(Arc<Mutex<Racked>>);

#[derive(Debug, Default)]
struct Racked {
    booted: Vec<Machine>,
    ran: Vec<Script>,
    /// What the next scripts say; then they say that the gateway is ready.
    says: Vec<String>,
    refuses: Option<Refusal>,
}

impl Rack {
    fn says(&self, texts: &[&str]) {
        self.0.lock().unwrap().says = texts.iter().rev().map(|text| (*text).to_owned()).collect();
    }

    fn scripts(&self) -> Vec<Script> {
        self.0.lock().unwrap().ran.clone()
    }

    fn booted(&self) -> Vec<Machine> {
        self.0.lock().unwrap().booted.clone()
    }
}

impl Machines for Rack {
    fn boot(&self, machine: &Machine) -> Result<IpAddr, Refusal> {
        let mut rack = self.0.lock().unwrap();
        rack.booted.push(machine.clone());
        match rack.refuses.clone() {
            Some(refusal) => Err(refusal),
            None => Ok(Ipv4Addr::new(127, 0, 0, 1).into()),
        }
    }

    fn run(&self, _id: &str, script: &Script) -> Ran {
        let mut rack = self.0.lock().unwrap();
        rack.ran.push(script.clone());
        let stdout = rack.says.pop().unwrap_or_else(|| format!("pulled\n{}\n", ready()));
        Ran {
            stdout,
            ..Ran::default()
        }
    }

    fn start(&self, _group: &netlab::serve::azure::ContainerGroup) -> Result<IpAddr, Refusal> {
        Ok(Ipv4Addr::LOCALHOST.into())
    }
}

/// A subscription with a resource group, and a place there.
struct Scene {
    azure: Azure,
    rack: Rack,
    place: AzureVm,
    secret: LauncherSecret,
}

impl Scene {
    async fn new() -> Self {
        Self::with(Settings::default(), |_| {}).await
    }

    async fn with(settings: Settings, change: impl FnOnce(&mut Config)) -> Self {
        let rack = Rack::default();
        let azure = Azure::start_with(Settings { looks: 1, ..settings }, rack.clone());
        let arm = arm(&azure);
        let subscription = azure.settings().subscription.clone();
        let group = azure::Path::new(&["subscriptions", &subscription, "resourcegroups", "adit"]).unwrap();
        let request = azure::Request::new(azure::Method::Put, group, "2022-12-01")
            .with_body(serde_json::json!({ "location": "westeurope" }));
        arm.send(&request).await.unwrap();
        let regions = ["westeurope", "eastus"].map(str::to_owned).to_vec();
        let site = Site::new(&subscription, "adit", regions).unwrap();
        let mut config = Config::new(site, GatewayImage::Adit("ghcr.io/adit-vpn/adit:1".to_owned()));
        change(&mut config);
        let secret = LauncherSecret::of(tempfile::tempdir().unwrap().path()).unwrap();
        let place = AzureVm::new(config, arm, secret.clone()).unwrap();
        Self {
            azure,
            rack,
            place,
            secret,
        }
    }

    /// The same place in another process: nothing is in its memory.
    fn restarted(&self) -> AzureVm {
        AzureVm::new(self.place.config.clone(), self.place.arm.clone(), self.secret.clone()).unwrap()
    }

    /// Makes the gateway, in a process of its own for each step if it is to be so. What was done in each step.
    async fn make(&self, job: &mut Job, restarts: bool) -> Result<Vec<String>, Fault> {
        let mut doings = Vec::new();
        let due = Instant::now() + LIFE;
        while Instant::now() < due {
            let place = if restarts { self.restarted() } else { self.place.clone() };
            match place.create(job).await {
                Ok(Creation::Made { refs }) => {
                    job.refs = refs;
                    return Ok(doings);
                }
                Ok(Creation::Pending { refs, doing, .. }) => {
                    job.refs = refs;
                    doings.push(doing);
                }
                Err(fault) if fault.kind == FaultKind::Unclear => {}
                Err(fault) => return Err(fault),
            }
        }
        panic!("it is not made: {doings:?} {}", job.refs);
    }

    async fn remove(&self, job: &mut Job) -> usize {
        let due = Instant::now() + LIFE;
        let mut step = 0;
        while Instant::now() < due {
            step += 1;
            match self.place.remove(job).await {
                Ok(Removal::Gone) => return step,
                Ok(Removal::Pending { refs, .. }) => job.refs = refs,
                Err(fault) => assert_ne!(fault.kind, FaultKind::Gone, "{fault}"),
            }
        }
        panic!("it is not removed: {}", job.refs);
    }

    /// What is there of leases, without what they share.
    fn left(&self) -> Vec<String> {
        let is_shared = |id: &String| {
            ["/virtualNetworks/", "/networkSecurityGroups/"]
                .iter()
                .any(|kind| id.contains(kind))
                || !id.contains("/providers/")
        };
        self.azure.left().into_iter().filter(|id| !is_shared(id)).collect()
    }
}

fn arm(azure: &Azure) -> Arm {
    let cloud = Cloud::default()
        .with_management(&azure.url())
        .and_then(|cloud| cloud.with_authority(&azure.url()))
        .unwrap();
    let settings = azure.settings();
    let variables = Credentials {
        tenant: Some(settings.tenant.clone()),
        client: Some(settings.client.clone()),
        secret: Some(settings.secret.clone().into()),
        ..Credentials::default()
    };
    let credential = Credential::choose(Choice::Auto, &variables).unwrap();
    Arm::with_clock(cloud, credential, Arc::new(Leap::default())).unwrap()
}

/// A clock that leaps over every wait.
#[derive(Debug)]
struct Leap {
    start: (Instant, SystemTime),
    leapt: Mutex<Duration>,
}

impl Default for Leap {
    fn default() -> Self {
        Self {
            start: (Instant::now(), SystemTime::now()),
            leapt: Mutex::default(),
        }
    }
}

#[async_trait]
impl Clock for Leap {
    fn now(&self) -> Instant {
        self.start.0 + *self.leapt.lock().unwrap()
    }

    fn time_of_day(&self) -> SystemTime {
        self.start.1 + *self.leapt.lock().unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        *self.leapt.lock().unwrap() += duration;
        tokio::task::yield_now().await;
    }
}
