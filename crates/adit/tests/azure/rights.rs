//! The least that an account has to be allowed.

use launch::place::Fault;
use launch::place::azure::AzureVm;

use crate::cloud::{INSTANCE, Kind, Lit, quick};
use crate::hand::Hand;
use crate::lanes;
use crate::left::detached;
use crate::needs_machines;

/// The actions of a place that make, ask and remove gateways: all but those of its checks.
fn actions(kind: Kind) -> Vec<&'static str> {
    match kind {
        Kind::Vm => AzureVm::ACTIONS[..AzureVm::MAKING].to_vec(),
        Kind::Container => kind.actions().to_vec(),
    }
}

/// What no life takes by default: it is of the other form of Run Command.
const OF_THE_ACTION: &str = "Microsoft.Compute/virtualMachines/runCommand/action";

/// What only removals take of what outlived its machine.
const LEFT: [&str; 4] = [
    "Microsoft.Compute/disks/read",
    "Microsoft.Compute/disks/delete",
    "Microsoft.Network/networkInterfaces/delete",
    "Microsoft.Network/publicIPAddresses/delete",
];

/// A whole life by an account that may do this in the resource group, with what is left of another beside it where it matters.
fn life(lit: &Lit, kind: Kind, actions: &[&str], missing: Option<&str>) -> Result<(), Fault> {
    let is_of_sweeps = |action: &str| LEFT.contains(&action);
    let beside = (kind == Kind::Vm && missing.is_none_or(is_of_sweeps)).then(|| detached(lit, INSTANCE, 2));
    lit.azure.permit(&lit.group(), actions);
    lit.live(async || {
        let mut hand = Hand::new(lit.place(kind));
        hand.make().await?;
        hand.bring().await?;
        let found = hand.place.list(INSTANCE).await?;
        for mut old in beside.into_iter().filter(|old| found.contains(&old.job.id)) {
            old.remove().await?;
        }
        hand.remove().await
    })
}

#[test]
fn a_life_takes_every_action_that_its_place_names_and_no_other() {
    needs_machines!();
    for kind in Kind::BOTH {
        let all = actions(kind);
        let all: Vec<_> = all.into_iter().filter(|action| *action != OF_THE_ACTION).collect();
        let without = all.iter().map(|action| Some(*action)).chain([None]);
        lanes::each(without, |missing| {
            let lit = Lit::new(quick());
            let granted: Vec<&str> = all.iter().copied().filter(|action| Some(*action) != missing).collect();
            let lived = life(&lit, kind, &granted, missing);
            let Some(missing) = missing else {
                lived.unwrap_or_else(|fault| panic!("{kind:?}: {fault:?}"));
                assert_eq!(lit.left(), [""; 0], "{kind:?}");
                return;
            };
            match lived {
                Err(fault) => {
                    let named = fault
                        .message
                        .to_lowercase()
                        .contains(&format!("'{}'", missing.to_lowercase()));
                    assert!(
                        named && fault.code.contains("AuthorizationFailed"),
                        "{kind:?} without {missing}: {fault:?}"
                    );
                }
                // A list shows what one may see.
                Ok(()) => {
                    assert!(missing.ends_with("/read"), "{kind:?} lives without {missing}");
                    assert_ne!(lit.left(), [""; 0], "{kind:?} lives without {missing}");
                }
            }
        });
    }
}
