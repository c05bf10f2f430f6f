//! A fake Azure in front of light machines, and who uses it: the host `hub`, in whose network this process's places are, too.
//!
//! ```text
//!   hub 192.0.2.8 ── internet ── 203.0.113.N: the light machines
//!    └─ 127.0.0.1: the fake's API, metadata service and sign-in
//! ```

use std::sync::Arc;
use std::time::Duration;

use azure::credential::{Choice, Credential};
use azure::{Arm, Cloud};
use launch::launcher::{Caller, Config, Created};
use launch::order::{PeerRequest, Request};
use launch::place::Place;
use launch::place::azure::{AzureContainer, AzureVm, GROUP, Site, container, vm};
use launch::policy::Policy;
use launch::store::Database;
use launch::{Launcher, LauncherSecret, Lease, LeaseId, State};
use netlab::serve::azure::{Azure, Machines, Settings};
use netlab::{Host, Lab, wait_until};
use serde_json::{Value, json};
use wg::PrivateKey;

use crate::light::Light;
use crate::network;

/// How long what takes a moment may take.
pub(crate) const SOON: Duration = Duration::from_secs(40);

/// The image that gateways have; here every one is the binary of the tests.
pub(crate) const IMAGE: &str = "adit.example/adit:1";

/// The instance of the launchers of these tests.
pub(crate) const INSTANCE: &str = "here";

/// The fake and its machines.
pub(crate) struct Lit {
    pub(crate) azure: Azure,
    pub(crate) light: Light,
    pub(crate) hub: Host,
    secret: LauncherSecret,
    _lab: Lab,
}

/// One of the two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Vm,
    Container,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Vm, Self::Container];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Vm => "azure-vm",
            Self::Container => "azure-container",
        }
    }

    pub(crate) const fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Vm => AzureVm::ACTIONS,
            Self::Container => AzureContainer::ACTIONS,
        }
    }
}

/// A service that keeps nobody waiting.
pub(crate) fn quick() -> Settings {
    Settings {
        looks: 0,
        list_lag: 0,
        ..Settings::default()
    }
}

impl Lit {
    /// A subscription with an empty resource group.
    pub(crate) fn new(settings: Settings) -> Self {
        Self::make(settings, None::<Light>)
    }

    /// One with other machines than light ones.
    pub(crate) fn with(settings: Settings, machines: impl Machines + 'static) -> Self {
        Self::make(settings, Some(machines))
    }

    fn make(settings: Settings, machines: Option<impl Machines + 'static>) -> Self {
        let lab = Lab::new();
        let internet = lab.router("internet");
        let hub = network::connect(&internet, &lab.host("hub"), "192.0.2.8", "2001:db8:1::8");
        let light = Light::behind(&internet);
        let azure = hub.run(|| match machines {
            Some(machines) => Azure::start_with(settings, machines),
            None => Azure::start_with(settings, light.clone()),
        });
        let secret = LauncherSecret::of(hub.folder()).expect("make a secret");
        let lit = Self {
            azure,
            light,
            hub,
            secret,
            _lab: lab,
        };
        let group = format!(
            "/subscriptions/{}/resourcegroups/{GROUP}",
            lit.azure.settings().subscription
        );
        lit.curl("PUT", &group, &json!({ "location": "westeurope" }));
        lit
    }

    /// The resource group.
    pub(crate) fn group(&self) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{GROUP}",
            self.azure.settings().subscription
        )
    }

    /// Asks the fake past adit, by curl, as somebody who may do it.
    #[track_caller]
    pub(crate) fn curl(&self, method: &str, path: &str, body: &Value) {
        let version = if path.contains("/providers/") {
            "2024-11-01"
        } else {
            "2021-04-01"
        };
        let mut curl = self
            .hub
            .command("curl")
            .args(["--silent", "--show-error", "--fail-with-body", "--request", method])
            .arg(format!("{}{path}?api-version={version}", self.azure.url()))
            .args(["--header", &format!("Authorization: Bearer {}", self.azure.token())]);
        if !body.is_null() {
            curl = curl.args(["--header", "Content-Type: application/json", "--data", "@-"]);
        }
        curl.input(body.to_string()).run();
    }

    /// Waits until a resource is gone.
    #[track_caller]
    pub(crate) fn wait_for_end_of(&self, id: &str) {
        wait_until("Azure has removed it", SOON, || {
            let is_there = self.azure.left().iter().any(|found| found.eq_ignore_ascii_case(id));
            (!is_there).then_some(())
        });
    }

    /// What is there of leases: all but the group and what leases share.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut left = self.azure.left();
        left.retain(|id| {
            let id = id.to_lowercase();
            !["/virtualnetworks/", "/networksecuritygroups/"]
                .iter()
                .any(|shared| id.contains(shared))
                && id.contains("/providers/")
        });
        left
    }

    /// Who uses the fake.
    fn account(&self) -> Account {
        let settings = self.azure.settings();
        Account {
            url: self.azure.url(),
            authority: self.azure.url(),
            subscription: settings.subscription.clone(),
            tenant: settings.tenant.clone(),
            client: settings.client.clone(),
            secret: settings.secret.clone(),
        }
    }

    /// A place with its defaults.
    pub(crate) fn place(&self, kind: Kind) -> Arc<dyn Place> {
        place_of(kind, &self.account(), &self.secret)
    }

    /// The same through an address.
    pub(crate) fn place_at(&self, kind: Kind, url: &str) -> Arc<dyn Place> {
        let account = Account {
            url: url.to_owned(),
            ..self.account()
        };
        place_of(kind, &account, &self.secret)
    }

    /// A place of virtual machines.
    pub(crate) fn vm(&self, change: impl FnOnce(&mut vm::Config)) -> Arc<dyn Place> {
        vm_of(&self.account(), &self.secret, change)
    }

    /// Does something in the hub's network.
    pub(crate) fn live<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.hub.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be had").block_on(work())
        })
    }
}

impl Drop for Lit {
    fn drop(&mut self) {
        self.light.rest();
    }
}

/// Who uses a fake, and where it is.
#[derive(Clone, Debug)]
struct Account {
    url: String,
    authority: String,
    subscription: String,
    tenant: String,
    client: String,
    secret: String,
}

impl Account {
    fn arm(&self) -> Arm {
        let cloud = Cloud::default().with_management(&self.url);
        let cloud = cloud.and_then(|cloud| cloud.with_authority(&self.authority));
        let settings = azure::credential::Settings {
            tenant: Some(self.tenant.clone()),
            client: Some(self.client.clone()),
            secret: Some(self.secret.clone().into()),
            ..azure::credential::Settings::default()
        };
        let credential = Credential::choose(Choice::Auto, &settings).expect("a client has a secret");
        Arm::new(cloud.expect("addresses of this machine"), credential).expect("HTTPS can be set up")
    }

    fn site(&self) -> Site {
        Site::new(&self.subscription, GROUP, vec!["westeurope".to_owned()]).expect("a site")
    }
}

/// A place with its defaults.
fn place_of(kind: Kind, account: &Account, secret: &LauncherSecret) -> Arc<dyn Place> {
    match kind {
        Kind::Vm => vm_of(account, secret, |_| {}),
        Kind::Container => {
            let config = container::Config::new(account.site(), IMAGE);
            let place = AzureContainer::new(config, account.arm(), secret.clone());
            Arc::new(place.expect("the place can be had"))
        }
    }
}

fn vm_of(account: &Account, secret: &LauncherSecret, change: impl FnOnce(&mut vm::Config)) -> Arc<dyn Place> {
    let mut config = vm::Config::new(account.site(), vm::GatewayImage::Adit(IMAGE.to_owned()));
    change(&mut config);
    Arc::new(AzureVm::new(config, account.arm(), secret.clone()).expect("the place can be had"))
}

/// A launcher without a store that stays; sweeps are called for.
pub(crate) fn launcher(instance: &str, places: Vec<Arc<dyn Place>>) -> Launcher {
    let config = Config {
        policy: Policy::own(),
        sweep_every: None,
        ..Config::new(instance)
    };
    let store = Arc::new(Database::in_memory().expect("a store in memory"));
    Launcher::start(config, store, places).expect("an empty store can be read")
}

pub(crate) fn admin() -> Caller {
    Caller {
        owner: "anna".to_owned(),
        is_admin: true,
        request_id: "test".to_owned(),
    }
}

/// Asks for a lease with one client.
pub(crate) async fn create(launcher: &Launcher) -> LeaseId {
    let request = Request {
        lifetime_secs: Some(600),
        peers: vec![PeerRequest {
            name: "phone".to_owned(),
            public_key: Some(PrivateKey::from_random([7; 32]).public_key()),
        }],
        ..Request::default()
    };
    match launcher
        .create(&admin(), &request, None)
        .await
        .expect("a lease can be asked for")
    {
        Created::New(lease) | Created::Again(lease) => lease.id,
    }
}

/// Waits until a lease is in one of these states.
pub(crate) async fn reach(launcher: &Launcher, id: LeaseId, states: &[State]) -> Lease {
    let reached = async {
        loop {
            let lease = launcher.read(&admin(), id).await.expect("the lease is there");
            if states.contains(&lease.state) {
                return lease;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(SOON, reached).await {
        Ok(lease) => lease,
        Err(_) => panic!(
            "the lease is never {states:?}: {:#?}",
            launcher.read(&admin(), id).await
        ),
    }
}

/// A lease's whole life: made, asked through its tunnel, ended, removed. Gives it as it was when it was ready.
pub(crate) async fn life(launcher: &Launcher) -> Lease {
    let id = create(launcher).await;
    let ready = reach(launcher, id, &[State::Ready, State::Removed]).await;
    assert_eq!(ready.state, State::Ready, "{ready:#?}");
    launcher.end(&admin(), id).await.expect("a lease can be ended");
    reach(launcher, id, &[State::Removed]).await;
    ready
}
