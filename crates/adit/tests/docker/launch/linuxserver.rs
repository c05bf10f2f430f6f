//! Containers of linuxserver's image, or of one that takes its place.

use launch::node::{Question, WantedPeer};
use launch::order::{Keys, Order};
use launch::place::docker::{Config, Kind};
use launch::place::{FaultKind, Job};

use super::{MINUTES, Stage, job};
use crate::client::{setting, uses};
use crate::peer::Peer;

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
