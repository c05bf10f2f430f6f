//! `azure-vm` on machines that boot, by Ignition and by Run Command: their gateways are used, and gone when they are ended.

use std::time::Duration;

use launch::place::azure::AzureVm;
use launch::place::azure::vm::{Config, GatewayImage, RunCommand, SetUp};

use crate::engine::{IMAGE, TAG};
use crate::machine::Region;
use crate::needs_guests;
use crate::network::Network;
use crate::stage::{Stage, connect};

/// How long a machine may take to be a gateway: its processor is emulated.
const MADE: Duration = Duration::from_secs(240);

/// How long a connection may take that is not to come.
const NEVER: Duration = Duration::from_secs(1);

/// A gateway's whole life on a machine that is set up in this way.
fn life(setup: SetUp, run_command: RunCommand) {
    let network = Network::new();
    let image = std::env::var_os(IMAGE).expect("asked for before");
    let region = Region::new(&network, image.into());
    let stage = Stage::new(&network, region.clone());
    let (site, arm, secret) = stage.account();
    let mut config = Config::new(site, GatewayImage::Adit(TAG.to_owned()));
    (config.setup, config.run_command) = (setup, run_command);
    let launcher = stage.launcher(AzureVm::new(config, arm, secret).expect("the place can be had"));
    let lease = stage.launch(&launcher, MADE);
    let gateway = lease.gateway.as_ref().expect("a gateway that is ready is known");
    assert_eq!((&*gateway.endpoint, &*gateway.plane), ("203.0.113.17:51820", "kernel"));
    let peer = connect(&network, &lease, "phone");
    peer.down();
    // What no security group lets in stays out, though somebody listens there.
    let (guest, own) = region.only();
    let listen = "busybox nc -ll -p 2222 -e true >/dev/null 2>&1 &";
    assert_eq!(guest.run(listen, NEVER).exit, 0);
    let reached = |host: &netlab::Host, address: std::net::IpAddr| {
        host.run(|| std::net::TcpStream::connect_timeout(&(address, 2222).into(), NEVER).is_ok())
    };
    netlab::wait_until("it listens", Duration::from_secs(20), || {
        reached(&network.gateway, own).then_some(())
    });
    assert!(!reached(&network.client, [203, 0, 113, 17].into()));
    drop(guest);
    stage.end(&launcher, lease.id);
    assert_eq!(stage.left(), [""; 0]);
    assert_eq!(region.count(), 0);
    let emulators = network.gateway.processes();
    assert!(emulators.is_empty(), "{emulators:?}");
}

#[test]
fn a_machine_that_its_first_boot_makes_a_gateway_serves_a_client_and_is_gone_when_its_lease_is() {
    needs_guests!();
    life(SetUp::Ignition, RunCommand::Managed);
}

#[test]
fn a_machine_that_a_script_makes_a_gateway_serves_a_client_and_is_gone_when_its_lease_is() {
    needs_guests!();
    life(SetUp::RunCommand, RunCommand::Action);
}
