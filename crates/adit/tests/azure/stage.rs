//! A subscription whose machines are real, a launcher on the host `other`, and a client that uses what it hands out.
//!
//! ```text
//!   client: wireguard-go ══ tunnel ══╗
//!   other: launcher, the fake's API ─ internet ── gateway (the region) ── a machine or a container ── server
//! ```

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use azure::credential::{Choice, Credential, Settings as Account};
use azure::{Arm, Cloud};
use launch::launcher::{Caller, Created};
use launch::order::{PeerRequest, Request};
use launch::place::Place;
use launch::place::azure::{GROUP, Site};
use launch::{Launcher, LauncherSecret, Lease, LeaseId, State};
use netlab::serve::azure::{Azure, Machines, Settings};
use netlab::{Host, traffic};
use wg::PrivateKey;

use crate::cloud::{INSTANCE, admin, launcher};
use crate::network::{Network, server_v4};
use crate::peer::Peer;

/// What the client's private key is made of.
const KEY: [u8; 32] = [7; 32];

/// Bytes of the file that is fetched.
const SIZE: u64 = 1_000_003;

/// The subscription and its launcher.
pub(crate) struct Stage {
    pub(crate) azure: Azure,
    pub(crate) hub: Host,
    secret: LauncherSecret,
    /// Of the process's own, for the launcher's life.
    runtime: tokio::runtime::Runtime,
}

impl Stage {
    /// A subscription with an empty resource group, in front of these machines.
    pub(crate) fn new(network: &Network, machines: impl Machines + 'static) -> Self {
        let hub = network.other.clone();
        let azure = hub.run(|| Azure::start_with(Settings::default(), machines));
        let path = format!("subscriptions/{}/resourcegroups/{GROUP}", azure.settings().subscription);
        hub.command("curl")
            .args(["--silent", "--show-error", "--fail", "--request", "PUT"])
            .arg(format!("{}/{path}?api-version=2021-04-01", azure.url()))
            .args(["--header", &format!("Authorization: Bearer {}", azure.token())])
            .args([
                "--header",
                "Content-Type: application/json",
                "--data",
                r#"{"location":"westeurope"}"#,
            ])
            .run();
        let secret = LauncherSecret::of(hub.folder()).expect("make a secret");
        let runtime = hub.run(|| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            // What it starts is in the network of whoever starts it.
            builder.worker_threads(1).enable_all().build()
        });
        Self {
            azure,
            hub,
            secret,
            runtime: runtime.expect("a runtime can be had"),
        }
    }

    /// What a place is told of where it is, by whom, and the launcher's secret.
    pub(crate) fn account(&self) -> (Site, Arm, LauncherSecret) {
        let settings = self.azure.settings();
        let cloud = Cloud::default()
            .with_management(&self.azure.url())
            .and_then(|cloud| cloud.with_authority(&self.azure.url()));
        let account = Account {
            tenant: Some(settings.tenant.clone()),
            client: Some(settings.client.clone()),
            secret: Some(settings.secret.clone().into()),
            ..Account::default()
        };
        let credential = Credential::choose(Choice::Auto, &account).expect("a client has a secret");
        let arm = Arm::new(cloud.expect("addresses of this machine"), credential).expect("HTTPS can be set up");
        let site = Site::new(&settings.subscription, GROUP, vec!["westeurope".to_owned()]).expect("a site");
        (site, arm, self.secret.clone())
    }

    /// What is there of leases: all but the group and what leases share.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut left = self.azure.left();
        left.retain(|id| {
            let id = id.to_lowercase();
            let is_shared = ["/virtualnetworks/", "/networksecuritygroups/"]
                .iter()
                .any(|kind| id.contains(kind));
            id.contains("/providers/") && !is_shared
        });
        left
    }

    /// A launcher with this place.
    pub(crate) fn launcher(&self, place: impl Place + 'static) -> Launcher {
        self.live(async || launcher(INSTANCE, vec![Arc::new(place)]))
    }

    /// Does something in the launcher's network.
    pub(crate) fn live<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.hub.run(|| self.runtime.block_on(work()))
    }

    /// Asks for a gateway for the client, and waits until it is ready.
    pub(crate) fn launch(&self, launcher: &Launcher, limit: Duration) -> Lease {
        let request = Request {
            lifetime_secs: Some(1_800),
            peers: vec![PeerRequest {
                name: "phone".to_owned(),
                public_key: Some(PrivateKey::from_random(KEY).public_key()),
            }],
            ..Request::default()
        };
        let id = self.live(async || {
            match launcher
                .create(&admin(), &request, None)
                .await
                .expect("a lease can be asked for")
            {
                Created::New(lease) | Created::Again(lease) => lease.id,
            }
        });
        self.wait(launcher, id, limit, |lease| {
            assert!(lease.fault.is_none() || lease.state != State::Removed, "{lease:#?}");
            lease.state == State::Ready
        })
    }

    /// Waits until a lease is as it should be.
    pub(crate) fn wait(
        &self,
        launcher: &Launcher,
        id: LeaseId,
        limit: Duration,
        is_so: impl Fn(&Lease) -> bool + Send + Sync,
    ) -> Lease {
        self.live(async || {
            let caller: Caller = admin();
            let reached = async {
                loop {
                    let lease = launcher.read(&caller, id).await.expect("the lease is there");
                    if is_so(&lease) {
                        return lease;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            match tokio::time::timeout(limit, reached).await {
                Ok(lease) => lease,
                Err(_) => panic!("the lease stays {:#?}", launcher.read(&caller, id).await),
            }
        })
    }

    /// Ends a lease and waits until it is removed.
    pub(crate) fn end(&self, launcher: &Launcher, id: LeaseId) {
        self.live(async || launcher.end(&admin(), id).await.expect("a lease can be ended"));
        self.wait(launcher, id, Duration::from_secs(60), |lease| {
            lease.state == State::Removed
        });
    }
}

/// Connects a client with what its lease says, and fetches a file from the server that only the gateway reaches.
#[track_caller]
pub(crate) fn connect(network: &Network, lease: &Lease, name: &str) -> Peer {
    let gateway = lease.gateway.as_ref().expect("a gateway that is ready is known");
    let peer = lease.peers.first().expect("the client has a place");
    let addresses: Vec<_> = peer.addresses.iter().map(ToString::to_string).collect();
    let file: PathBuf = network.client.folder().join(format!("{name}.conf"));
    let text = format!(
        "[Interface]\nPrivateKey = {}\nAddress = {}\n[Peer]\nPublicKey = {}\nEndpoint = {}\nAllowedIPs = 0.0.0.0/0\n",
        *PrivateKey::from_random(KEY).danger_base64(),
        addresses.join(", "),
        gateway.public_key,
        gateway.endpoint,
    );
    fs::write(&file, text).expect("write a configuration");
    let peer = Peer::up(&network.client, &file);
    let fetched = network.client.run(|| traffic::download(server_v4(80), SIZE));
    assert_eq!(fetched.expect("download"), traffic::pattern_digest(SIZE));
    peer
}
