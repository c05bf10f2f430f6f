//! `azure-container` in a real Docker Engine: its gateway is used, comes back with another key, and ends by itself.

use std::time::Duration;

use launch::place::azure::AzureContainer;
use launch::place::azure::container::Config;
use netlab::serve::azure::{Container, ContainerGroup, Life, Machines as _};
use netlab::wait_until;

use crate::engine::{Engine, TAG};
use crate::group::Groups;
use crate::needs_an_engine;
use crate::network::Network;
use crate::stage::{Stage, connect};

/// How long something may take that takes a moment.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_container_serves_a_client_comes_back_with_another_key_after_a_kill_and_is_gone_when_its_lease_is() {
    needs_an_engine!();
    let network = Network::new();
    let engine = Engine::start(&network);
    let groups = Groups::new(&network, &engine);
    let stage = Stage::new(&network, groups.clone());
    let (site, arm, secret) = stage.account();
    let place = AzureContainer::new(Config::new(site, TAG), arm, secret);
    let launcher = stage.launcher(place.expect("the place can be had"));
    let lease = stage.launch(&launcher, SOON);
    let first = lease.gateway.clone().expect("a gateway that is ready is known");
    assert_eq!((&*first.endpoint, &*first.plane), ("203.0.113.65:31820", "netstack"));
    connect(&network, &lease, "phone").down();
    let container = engine.container(&groups.only());
    let facts = "{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}} {{.HostConfig.RestartPolicy.Name}}";
    assert_eq!(container.inspect(facts), "[] [ALL] on-failure");

    // Its keys are in its memory only.
    engine
        .beside("kill")
        .args(["-KILL", &container.inspect("{{.State.Pid}}")])
        .run();
    let again = stage.wait(&launcher, lease.id, SOON, |lease| {
        let key = lease.gateway.as_ref().map(|gateway| gateway.public_key);
        key.is_some_and(|key| key != first.public_key)
    });
    connect(&network, &again, "again").down();

    stage.end(&launcher, lease.id);
    assert_eq!(stage.left(), [""; 0]);
    assert_eq!(groups.count(), 0);
    assert_eq!(engine.docker(&["ps", "--all", "--quiet"]).run(), "");
}

#[test]
fn a_container_whose_time_is_over_ends_by_itself_and_is_not_started_again() {
    needs_an_engine!();
    let network = Network::new();
    let engine = Engine::start(&network);
    let groups = Groups::new(&network, &engine);
    let words = "/usr/bin/adit node --lease 01JZ0000000000000000000000 --lifetime 3 --listen 31820 --plane netstack --launcher \
                 xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    let ports = vec![(31_820, "UDP".to_owned())];
    let group = ContainerGroup {
        id: "/groups/one".to_owned(),
        name: "one".to_owned(),
        location: "westeurope".to_owned(),
        containers: vec![Container {
            name: "adit".to_owned(),
            image: TAG.to_owned(),
            command: words.split_whitespace().map(str::to_owned).collect(),
            environment: Vec::new(),
            ports: ports.clone(),
            cpu: 1.0,
            memory_gb: 1.0,
            mounts: Vec::new(),
        }],
        ports,
        restart: "OnFailure".to_owned(),
    };
    groups.start(&group).expect("it starts");
    let life = wait_until("its time is over", SOON, || match groups.life(&group.id, "adit") {
        Life::Ended(code) => Some(code),
        Life::Waiting | Life::Running(_) => None,
    });
    assert_eq!(life, 0, "{}", groups.logs(&group.id, "adit"));
    wait_until("the Engine has read what it said", SOON, || {
        groups
            .logs(&group.id, "adit")
            .contains(r#"{"adit":"ready""#)
            .then_some(())
    });
}
