//! The launcher's place `docker`, with a real Engine: gateways that come, serve, change and go.
//!
//! ```text
//!   client ══ tunnel ══ gateway: dockerd ── container: adit node ── server
//! ```

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use launch::node::{Answer, PeerReport, Question, Report, Terms, WantedPeer};
use launch::order::{Keys, Order, everything};
use launch::place::docker::{Config, Docker, Host, Kind};
use launch::place::{Creation, Fault, FaultKind, Job, Place as _, Reached, Removal};
use launch::{LeaseId, Moment};
use netlab::{traffic, wait_until};
use serde_json::Value;
use tokio::runtime::{self, Runtime};

use crate::client::{setting, uses};
use crate::engine::{Engine, TAG};
use crate::network::{Network, server_v4};
use crate::peer::Peer;

/// Whose launcher it is.
const INSTANCE: &str = "test";

/// How clients reach the Engine's machine.
const HOST: &str = "203.0.113.2";

/// How long something may take that takes a moment.
const SOON: Duration = Duration::from_secs(30);

/// How long an echo of a datagram may take that is not to come.
const NEVER: Duration = Duration::from_secs(2);

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
        order: Order {
            place: "docker".to_owned(),
            region: None,
            size: None,
            lifetime_secs: lifetime.as_secs(),
            idle_end_secs: None,
            keys: Keys::Client,
            port: None,
            dns: None,
            allowed_ips: everything(),
            mtu: None,
        },
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

#[test]
fn a_gateway_in_a_container_is_made_used_changed_and_removed() {
    crate::needs_an_engine!();
    let stage = Stage::new(|config| config);
    // Of others, beside it.
    let foreign = stage.job_of_another();
    let job = stage.launch(job(MINUTES));
    let again = stage.create(&job).expect("make it again");
    assert_eq!(again, Creation::Made { refs: job.refs.clone() });
    let name = job.id.resource_name();
    assert_eq!(stage.containers().iter().filter(|found| **found == name).count(), 1);
    let container = stage.engine.container(&name);
    for (fact, expected) in [
        ("{{.Config.User}}", "65534:65534"),
        ("{{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}}", "[ALL] []"),
        ("{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.AutoRemove}}", "true true"),
        (
            "{{.HostConfig.SecurityOpt}} {{.HostConfig.RestartPolicy.Name}}",
            "[no-new-privileges] no",
        ),
        ("{{.Mounts}}", "[]"),
    ] {
        assert_eq!(container.inspect(fact), expected, "{fact}");
    }
    let (phone_key, phone) = stage.peer("phone");
    let (endpoint, report) = stage.bring(&job, std::slice::from_ref(&phone));
    assert_eq!(report.plane, "netstack");
    let phone_file = stage.network.client.folder().join("phone.conf");
    configuration(&phone_file, &phone_key, &endpoint, &report, &report.peers[0]);
    let phone_peer = Peer::up(&stage.network.client, &phone_file);
    uses(&stage.network.client, &phone_file);
    let (tablet_key, tablet) = stage.peer("tablet");
    let (_, report) = stage.bring(&job, &[phone.clone(), tablet.clone()]);
    let of = |report: &Report, name: &str| {
        report
            .peers
            .iter()
            .find(|peer| peer.name == name)
            .cloned()
            .expect("a peer")
    };
    let seen = of(&report, "phone");
    assert!(
        seen.latest_handshake.is_some() && seen.received_bytes > 1_000 && seen.sent_bytes > 5_000_000,
        "{seen:?}"
    );
    let tablet_file = stage.network.other.folder().join("tablet.conf");
    configuration(&tablet_file, &tablet_key, &endpoint, &report, &of(&report, "tablet"));
    let tablet_peer = Peer::up(&stage.network.other, &tablet_file);
    uses(&stage.network.other, &tablet_file);
    let (_, report) = stage.bring(&job, std::slice::from_ref(&tablet));
    assert_eq!(report.peers.len(), 1);
    let is_out = stage
        .network
        .client
        .run(|| traffic::echo_datagram(server_v4(7), b"hello", NEVER));
    assert!(is_out.is_err(), "who was removed is still in");
    uses(&stage.network.other, &tablet_file);
    assert_eq!(stage.wait(stage.place.list(INSTANCE)), Ok(vec![job.id]));
    phone_peer.down();
    tablet_peer.down();
    stage.remove(&job);
    stage.remove(&job);
    assert_eq!(stage.containers(), foreign);
    assert_eq!(stage.wait(stage.place.list(INSTANCE)), Ok(vec![]));
    assert_eq!(stage.engine.docker(&["volume", "ls", "--quiet"]).run(), "");
    let fault = stage.ask(&job, &Question::Report {}).expect_err("it is removed");
    assert_eq!(fault.kind, FaultKind::Gone);
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

#[test]
fn gateways_go_by_a_kill_by_their_own_clock_when_asked_and_with_the_engine() {
    crate::needs_an_engine!();
    let stage = Stage::new(|config| config);
    let killed = stage.launch(job(MINUTES));
    stage.bring(&killed, &[]);
    stage.engine.docker(&["kill", &killed.id.resource_name()]).run();
    let fault = stage.ask(&killed, &Question::Report {}).expect_err("it is killed");
    assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Gone, "container_gone"));
    // Nobody tells this one to end.
    let short = stage.launch(job(Duration::from_secs(4)));
    let name = short.id.resource_name();
    assert!(stage.containers().contains(&name));
    wait_until("its time is over", SOON, || {
        (!stage.containers().contains(&name)).then_some(())
    });
    let fault = stage.ask(&short, &Question::Report {}).expect_err("its time is over");
    assert_eq!(fault.kind, FaultKind::Gone);
    stage.remove(&short);
    // One that is asked to end does.
    let asked = stage.launch(job(MINUTES));
    stage.bring(&asked, &[]);
    let answer = stage.ask(&asked, &Question::End {}).expect("ask it to end").answer;
    assert_eq!(answer, Answer::Ending {});
    wait_until("it has ended", SOON, || stage.containers().is_empty().then_some(()));
    // The Engine takes those that run with it, and removes them when it is back.
    let restarted = stage.launch(job(MINUTES));
    stage.bring(&restarted, &[]);
    stage.engine.restart();
    wait_until("it is gone", SOON, || {
        let fault = stage.ask(&restarted, &Question::Report {}).expect_err("it has ended");
        let is_certain = fault.kind == FaultKind::Gone;
        assert!(is_certain || fault.kind == FaultKind::Unclear, "{fault:?}");
        is_certain.then_some(())
    });
    stage.remove(&restarted);
    assert_eq!(stage.containers(), Vec::<String>::new());
}

#[test]
fn keys_that_a_gateway_makes_are_in_its_answer_and_nowhere_else() {
    crate::needs_an_engine!();
    let stage = Stage::new(|config| config);
    let job = stage.launch(job(MINUTES));
    let wanted = WantedPeer {
        name: "phone".to_owned(),
        public_key: None,
    };
    let (endpoint, _) = stage.bring(&job, std::slice::from_ref(&wanted));
    let file = stage.keys(&job, "phone", &endpoint);
    let _peer = Peer::up(&stage.network.client, &file);
    uses(&stage.network.client, &file);
    let (_, report) = stage.bring(&job, std::slice::from_ref(&wanted));
    assert!(report.peers[0].latest_handshake.is_some(), "{report:?}");
    let private = setting(&file, "PrivateKey");
    let container = stage.engine.container(&job.id.resource_name());
    for text in [container.log(), container.inspect("{{json .}}")] {
        assert!(!text.contains(&private), "{text}");
    }
    let name = Question::Keys {
        name: "nobody".to_owned(),
        terms: Terms {
            endpoint,
            dns: Vec::new(),
            allowed_ips: everything(),
            mtu: None,
        },
    };
    let answer = stage.ask(&job, &name).expect("a refusal is an answer").answer;
    assert!(matches!(answer, Answer::Refused { .. }), "{answer:?}");
}

#[test]
fn with_net_admin_a_gateway_uses_a_better_plane() {
    crate::needs_an_engine!();
    let kind = Kind::Adit { with_net_admin: true };
    let stage = Stage::new(|config| Config { kind, ..config });
    let job = stage.launch(job(MINUTES));
    let (key, wanted) = stage.peer("phone");
    let (endpoint, report) = stage.bring(&job, &[wanted]);
    assert!(matches!(report.plane.as_str(), "kernel" | "tun"), "{}", report.plane);
    let file = stage.network.client.folder().join("phone.conf");
    configuration(&file, &key, &endpoint, &report, &report.peers[0]);
    let _peer = Peer::up(&stage.network.client, &file);
    uses(&stage.network.client, &file);
}

#[test]
fn what_is_in_the_way_is_named_with_its_remedy() {
    crate::needs_an_engine!();
    let stage = Stage::new(|config| config);
    let refused = |job: &Job, place: &Docker| {
        let fault = stage.wait(place.create(job)).expect_err("something is in the way");
        assert_eq!(fault.kind, FaultKind::Refused, "{fault:?}");
        assert!(!fault.remedy.is_empty(), "{fault:?}");
        fault.code
    };
    let first = stage.launch(Job {
        order: Order {
            port: Some(443),
            ..job(MINUTES).order
        },
        ..job(MINUTES)
    });
    let (endpoint, _) = stage.bring(&first, &[]);
    assert_eq!(endpoint, "203.0.113.2:443");
    let second = Job {
        order: first.order.clone(),
        ..job(MINUTES)
    };
    assert_eq!(refused(&second, &stage.place), "port_taken");
    stage.remove(&second);
    let with_image = |image: &str| {
        let image = image.to_owned();
        stage.place(|config| Config { image, ..config })
    };
    assert_eq!(refused(&second, &with_image("example/nothing:1")), "image_missing");
    // An image that knows no `adit node`.
    let other = stage.engine.path("other.tar");
    let root = stage.engine.path("nothing");
    fs::create_dir(&root).expect("make a folder");
    stage
        .engine
        .host
        .command("tar")
        .arg("-C")
        .arg(&root)
        .arg("-cf")
        .arg(&other)
        .arg(".")
        .run();
    stage.engine.docker(&["import"]).arg(&other).arg("empty").run();
    let fault = stage
        .wait(with_image("empty").create(&job(MINUTES)))
        .expect_err("it holds nothing");
    assert_eq!(fault.kind, FaultKind::Refused, "{fault:?}");
    let taken = job(MINUTES);
    let name = taken.id.resource_name();
    stage
        .engine
        .docker(&["create", "--name", &name, "--mount=type=tmpfs,dst=/config", TAG])
        .run();
    assert_eq!(refused(&taken, &stage.place), "name_taken");
    stage.remove(&taken);
    assert!(stage.containers().contains(&name), "another's container is left alone");
    let network = Some("nowhere".to_owned());
    let nowhere = stage.place(|config| Config { network, ..config });
    assert_eq!(refused(&job(MINUTES), &nowhere), "network_missing");
}

/// adit's image honours the environment of linuxserver's.
#[test]
fn linuxserver_s_image_makes_the_keys_and_keeps_its_peers() {
    crate::needs_an_engine!();
    let kind = Kind::Linuxserver { internal_subnet: None };
    let stage = Stage::new(|config| Config { kind, ..config });
    let wanted = ["phone", "laptop"].map(|name| WantedPeer {
        name: name.to_owned(),
        public_key: None,
    });
    let job = job(MINUTES);
    let order = Order {
        keys: Keys::Gateway,
        idle_end_secs: Some(600),
        ..job.order
    };
    let job = stage.launch(Job {
        order,
        peers: wanted.to_vec(),
        ..job
    });
    let (endpoint, report) = stage.bring(&job, &wanted);
    let names: Vec<&str> = report.peers.iter().map(|peer| peer.name.as_str()).collect();
    assert_eq!(names, ["phone", "laptop"]);
    assert!(
        report
            .peers
            .iter()
            .all(|peer| peer.public_key.is_some() && peer.latest_handshake.is_none()),
        "{report:?}"
    );
    let file = stage.keys(&job, "phone", &endpoint);
    assert_eq!(setting(&file, "Endpoint"), endpoint);
    assert_eq!(setting(&file, "MTU"), "1380");
    let _peer = Peer::up(&stage.network.client, &file);
    uses(&stage.network.client, &file);
    let (_, report) = stage.bring(&job, &wanted);
    assert!(
        report.peers[0].latest_handshake.is_some() && report.peers[0].sent_bytes > 5_000_000,
        "{report:?}"
    );
    assert!(report.peers[1].latest_handshake.is_none());
    let private = setting(&file, "PrivateKey");
    let log = stage.engine.container(&job.id.resource_name()).log();
    assert!(!log.contains(&private) && !log.contains('\u{2588}'), "{log}");
    let fewer = Question::Bring {
        peers: wanted[..1].to_vec(),
        remaining_secs: 600,
    };
    let fault = stage.ask(&job, &fewer).expect_err("its peers stay");
    assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Refused, "peers_fixed"));
    stage.remove(&job);
    assert_eq!(stage.containers(), Vec::<String>::new());
    assert_eq!(
        stage.engine.docker(&["volume", "ls", "--quiet"]).run(),
        "",
        "keys are left on the disk"
    );
    let fault = stage.ask(&job, &Question::Report {}).expect_err("it is removed");
    assert_eq!(fault.kind, FaultKind::Gone);
}
