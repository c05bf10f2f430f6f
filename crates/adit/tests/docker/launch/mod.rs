//! The launcher's place `docker`, with a real Engine: gateways that come, serve, change and go.
//!
//! ```text
//!   client ══ tunnel ══ gateway: dockerd ── container: adit node ── server
//! ```

mod linuxserver;
mod own;
mod refusals;

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use launch::node::{Answer, PeerReport, Question, Report, Terms, WantedPeer};
use launch::order::{Order, everything};
use launch::place::docker::{Config, Docker, Host};
use launch::place::{Creation, Fault, FaultKind, Job, Place as _, Reached, Removal};
use launch::{LeaseId, Moment};
use netlab::wait_until;
use serde_json::Value;
use tokio::runtime::{self, Runtime};

use crate::engine::{Engine, TAG};
use crate::network::Network;

/// Whose launcher it is.
const INSTANCE: &str = "test";

/// How clients reach the Engine's machine.
const HOST: &str = "203.0.113.2";

/// How long something may take that takes a moment.
const SOON: Duration = Duration::from_secs(30);

/// An Engine, and a place whose gateways are in it.
struct Stage {
    runtime: Runtime,
    place: Docker,
    engine: Engine,
    network: Network,
}

impl Stage {
    #[track_caller]
    fn new(change: impl FnOnce(Config) -> Config) -> Self {
        let network = Network::new();
        let engine = Engine::start(&network);
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let mut stage = Self {
            runtime: runtime.expect("make a runtime"),
            place: Docker::new(Config::new(host())).expect("a place"),
            engine,
            network,
        };
        stage.place = stage.place(change);
        stage
    }

    /// A place at the same Engine.
    #[track_caller]
    fn place(&self, change: impl FnOnce(Config) -> Config) -> Docker {
        let config = Config {
            socket: self.engine.path("socket"),
            ..Config::new(host())
        };
        Docker::new(change(config)).expect("a place")
    }

    fn wait<T>(&self, task: impl Future<Output = T>) -> T {
        self.runtime.block_on(task)
    }

    fn create(&self, job: &Job) -> Result<Creation, Fault> {
        self.wait(self.place.create(job))
    }

    /// Makes the gateway, and notes what the place says.
    #[track_caller]
    fn launch(&self, mut job: Job) -> Job {
        let made = self.create(&job).expect("make a gateway");
        let Creation::Made { refs } = made else {
            panic!("{made:?}")
        };
        job.refs = refs;
        job
    }

    fn ask(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        self.wait(self.place.ask(job, question))
    }

    /// Makes these the peers, and gives the endpoint and the report.
    #[track_caller]
    fn bring(&self, job: &Job, peers: &[WantedPeer]) -> (String, Report) {
        let question = Question::Bring {
            peers: peers.to_vec(),
            remaining_secs: 600,
        };
        let reached = wait_until("the gateway answers", SOON, || match self.ask(job, &question) {
            Ok(reached) => Some(reached),
            Err(fault) => {
                assert_eq!(fault.kind, FaultKind::NotYet, "{fault:?}");
                None
            }
        });
        match reached.answer {
            Answer::Report(report) => (reached.endpoint, report),
            other @ (Answer::Configuration { .. } | Answer::Ending {} | Answer::Refused { .. }) => panic!("{other:?}"),
        }
    }

    /// The configuration that the gateway makes for a peer, in a file.
    #[track_caller]
    fn keys(&self, job: &Job, name: &str, endpoint: &str) -> PathBuf {
        let question = Question::Keys {
            name: name.to_owned(),
            terms: Terms {
                endpoint: endpoint.to_owned(),
                dns: vec!["10.13.13.1".to_owned()],
                allowed_ips: everything(),
                mtu: Some(1_380),
            },
        };
        let answer = self.ask(job, &question).expect("ask for keys").answer;
        let Answer::Configuration { text, .. } = answer else {
            panic!("{answer:?}")
        };
        let file = self.network.client.folder().join(format!("{name}.conf"));
        fs::write(&file, text.danger_text()).expect("write a configuration");
        file
    }

    #[track_caller]
    fn remove(&self, job: &Job) {
        wait_until("nothing is left", SOON, || {
            let removal = self.wait(self.place.remove(job)).expect("remove a gateway");
            (removal == Removal::Gone).then_some(())
        });
    }

    /// Names of all containers, running or not.
    #[track_caller]
    fn containers(&self) -> Vec<String> {
        let listed = self.engine.docker(&["ps", "--all", "--format", "{{.Names}}"]).run();
        let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// A peer with keys of its own.
    #[track_caller]
    fn peer(&self, name: &str) -> (String, WantedPeer) {
        let host = &self.network.client;
        let private = host.command("wg").arg("genkey").run();
        let public = host.command("wg").arg("pubkey").input(private.clone()).run();
        let wanted = WantedPeer {
            name: name.to_owned(),
            public_key: Some(public.trim().parse().expect("wg makes keys")),
        };
        (private.trim().to_owned(), wanted)
    }
}

fn host() -> Host {
    Host::Named(HOST.to_owned())
}

/// A lease of this test's own.
fn job(lifetime: Duration) -> Job {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("random bytes");
    Job {
        id: LeaseId::new(Moment::from_millis(1_795_000_000_000), u128::from_ne_bytes(random)),
        instance: INSTANCE.to_owned(),
        order: Order::plain("docker", lifetime.as_secs()),
        peers: Vec::new(),
        remaining: lifetime,
        refs: Value::Null,
    }
}

const MINUTES: Duration = Duration::from_secs(600);

/// What a client imports that has made its own key.
#[track_caller]
fn configuration(file: &Path, private: &str, endpoint: &str, report: &Report, peer: &PeerReport) {
    let addresses: Vec<String> = peer.addresses.iter().map(ToString::to_string).collect();
    let dns = report
        .addresses
        .iter()
        .map(|own| own.addr())
        .find(|own| own.is_ipv4())
        .expect("an IPv4 address");
    let text = format!(
        "[Interface]\nPrivateKey = {private}\nAddress = {}\nDNS = {dns}\n[Peer]\nPublicKey = {}\n\
         Endpoint = {endpoint}\nAllowedIPs = 0.0.0.0/0, ::/0\n",
        addresses.join(", "),
        report.public_key,
    );
    fs::write(file, text).expect("write a configuration");
}

impl Stage {
    /// Makes containers that a launcher must not touch, and gives their names.
    #[track_caller]
    fn job_of_another(&self) -> Vec<String> {
        let lease = format!("--label=adit.lease={}", job(MINUTES).id);
        for (name, labels) in [
            ("elsewhere", ["--label=adit.instance=elsewhere", &lease]),
            ("half", ["--label=adit.instance=test", "--label=adit.lease=nonsense"]),
            ("plain", ["--label=a=b", &lease]),
        ] {
            self.engine
                .docker(&["create", "--name", name, "--mount=type=tmpfs,dst=/config"])
                .args(labels)
                .arg(TAG)
                .run();
        }
        self.containers()
    }
}
