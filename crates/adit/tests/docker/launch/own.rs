//! Containers of adit's image: made, used, changed and removed; and how they go by themselves.

use std::time::Duration;

use launch::node::{Answer, Question, Report, Terms, WantedPeer};
use launch::order::everything;
use launch::place::docker::{Config, Kind};
use launch::place::{Creation, FaultKind, Place as _};
use netlab::{traffic, wait_until};

use super::{INSTANCE, MINUTES, SOON, Stage, configuration, job};
use crate::client::{setting, uses};
use crate::network::server_v4;
use crate::peer::Peer;

/// How long an echo of a datagram may take that is not to come.
const NEVER: Duration = Duration::from_secs(2);

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
