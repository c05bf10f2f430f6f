//! Lives of leases at both places of Azure, with real gateways on light machines.

use launch::place::azure::vm::{RunCommand, SetUp};
use netlab::serve::azure::{Output, Settings, Way};

use crate::cloud::{INSTANCE, Kind, Lit, launcher, life, quick};
use crate::lanes;
use crate::needs_machines;

#[test]
fn a_gateway_is_made_in_every_way_answers_through_its_tunnel_and_is_removed_with_all_that_came_with_it() {
    needs_machines!();
    let ignition = (SetUp::Ignition, RunCommand::Managed);
    let action = (SetUp::Ignition, RunCommand::Action);
    let shape = |output| Settings { output, ..quick() };
    // As slow as lists and operations of Azure's are, and followed in each of the ways.
    let way = |way| Settings {
        way: Some(way),
        ..Settings::default()
    };
    lanes::each(
        [
            (Kind::Vm, ignition, Settings::default()),
            (Kind::Vm, action, shape(Output::OneEntry)),
            (Kind::Vm, action, shape(Output::TwoEntries)),
            (Kind::Vm, (SetUp::RunCommand, RunCommand::Managed), quick()),
            (Kind::Vm, (SetUp::RunCommand, RunCommand::Action), quick()),
            (Kind::Vm, ignition, way(Way::Location)),
            (Kind::Vm, ignition, way(Way::State)),
            (Kind::Vm, ignition, way(Way::AtOnce)),
            (Kind::Container, ignition, Settings::default()),
            (Kind::Container, ignition, way(Way::Location)),
            (Kind::Container, ignition, way(Way::State)),
        ],
        |(kind, (setup, run_command), settings)| {
            let about = format!("{kind:?} {setup:?} {run_command:?} {:?}", settings.way);
            let lit = Lit::new(settings);
            let place = match kind {
                Kind::Vm => lit.vm(|config| (config.setup, config.run_command) = (setup, run_command)),
                Kind::Container => lit.place(kind),
            };
            let ready = lit.live(async || life(&launcher(INSTANCE, vec![place])).await);
            let gateway = ready.gateway.expect("a gateway that is ready is known");
            assert!(gateway.endpoint.starts_with("203.0.113.1:"), "{about}: {gateway:?}");
            assert_eq!(lit.left(), [""; 0], "{about}");
            assert_eq!(lit.light.count(), 0, "{about}");
        },
    );
}
