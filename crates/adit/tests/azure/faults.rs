//! What goes wrong at Azure, and what becomes of leases then.

use std::time::Duration;

use launch::place::azure::vm::VmImage;
use launch::{State, lease::End};
use netlab::serve::azure::{Azure, Fault, Refusal};

use crate::cloud::{INSTANCE, Kind, Lit, create, launcher, life, quick, reach};
use crate::hand::Hand;
use crate::lanes;
use crate::needs_machines;

#[test]
fn a_deletion_that_fails_nine_times_works_at_the_tenth() {
    needs_machines!();
    lanes::each(
        [
            (Kind::Vm, "DELETE **/virtualMachines/*"),
            (Kind::Container, "DELETE **/containerGroups/*"),
        ],
        |(kind, pattern)| {
            let lit = Lit::new(quick());
            lit.live(async || {
                let mut hand = Hand::new(lit.place(kind));
                hand.make().await.expect("it can be made");
                let failed = Refusal::new(500, "InternalOperationError", "It did not work.");
                lit.azure.fail_times(pattern, 9, Fault::OperationFails(failed));
                hand.remove_whatever().await;
                assert_eq!(lit.azure.count(pattern), 10, "{kind:?}");
            });
            assert_eq!(lit.left(), [""; 0], "{kind:?}");
            assert_eq!(lit.light.gateways(), 0);
        },
    );
}

#[test]
fn what_is_lost_late_throttled_or_forgotten_makes_nothing_twice_and_leaves_nothing() {
    needs_machines!();
    let late = || Fault::Late(Duration::from_millis(300));
    let locked = || Fault::Refused(Refusal::locked("adit"));
    let (machine, group) = ("**/virtualMachines/*", "**/containerGroups/*");
    let (network, guard) = ("**/virtualNetworks/*", "**/networkSecurityGroups/*");
    let (command, log) = ("**/runCommands/*", "**/logs");
    lanes::each(
        [
            (Kind::Vm, "PUT", machine, Fault::LostBefore),
            (Kind::Vm, "PUT", machine, Fault::LostAfter),
            (Kind::Vm, "PUT", machine, Fault::CutShort),
            (Kind::Vm, "PUT", machine, Fault::OperationForgotten),
            (Kind::Vm, "PUT", machine, Fault::throttled(1)),
            (Kind::Vm, "PUT", machine, Fault::status(503)),
            (Kind::Vm, "PUT", network, locked()),
            (Kind::Vm, "PUT", network, Fault::LostAfter),
            (Kind::Vm, "PUT", guard, locked()),
            (Kind::Vm, "PUT", guard, Fault::OperationForgotten),
            (Kind::Vm, "PUT", command, Fault::LostAfter),
            (Kind::Vm, "PUT", command, Fault::OperationForgotten),
            (Kind::Vm, "DELETE", machine, Fault::LostAfter),
            (Kind::Vm, "DELETE", machine, Fault::OperationForgotten),
            (Kind::Vm, "DELETE", machine, Fault::throttled(1)),
            (Kind::Container, "PUT", group, Fault::LostBefore),
            (Kind::Container, "PUT", group, Fault::LostAfter),
            (Kind::Container, "PUT", group, Fault::CutShort),
            (Kind::Container, "PUT", group, Fault::OperationForgotten),
            (Kind::Container, "PUT", group, Fault::throttled(1)),
            (Kind::Container, "PUT", group, late()),
            (Kind::Container, "GET", group, Fault::status(502)),
            (Kind::Container, "GET", log, Fault::LostAfter),
            (Kind::Container, "DELETE", group, Fault::LostAfter),
            (Kind::Container, "DELETE", group, Fault::OperationForgotten),
        ],
        |(kind, method, path, fault)| {
            let about = format!("{kind:?} {method} {path} {fault:?}");
            let lit = Lit::new(quick());
            let pattern = format!("{method} {path}");
            lit.azure.fail_next(&pattern, fault);
            let ready = lit.live(async || life(&launcher(INSTANCE, vec![lit.place(kind)])).await);
            assert_eq!(ready.outcome, None, "{about}");
            assert!(lit.azure.count(&pattern) > 0, "{about}: nothing went wrong");
            assert_eq!(lit.light.made(), 1, "{about}");
            assert_eq!((lit.left(), lit.light.count()), (Vec::new(), 0), "{about}");
        },
    );
}

/// An account in trouble, and the place that it troubles.
type Trouble = (Kind, fn(&Azure), &'static str, &'static str);

#[test]
fn whoever_asked_is_told_azure_s_code_its_message_and_what_to_do() {
    needs_machines!();
    const MACHINE: &str = "PUT **/virtualMachines/*";
    const GROUP: &str = "PUT **/containerGroups/*";
    let cases: [Trouble; 10] = [
        (
            Kind::Vm,
            |azure| azure.set_quota("cores", 0),
            "OperationNotAllowed",
            "quota",
        ),
        (
            Kind::Vm,
            |azure| azure.set_quota("PublicIPAddresses", 0),
            "PublicIPCountLimitReached",
            "",
        ),
        (
            Kind::Vm,
            |azure| azure.sell_out("Standard_B1s"),
            "SkuNotAvailable",
            "size",
        ),
        (
            Kind::Vm,
            |azure| azure.fail_next(MACHINE, Fault::Refused(Refusal::policy("adit"))),
            "RequestDisallowedByPolicy",
            "policy",
        ),
        (
            Kind::Vm,
            |azure| azure.unregister("Microsoft.Compute"),
            "MissingSubscriptionRegistration",
            "register",
        ),
        (
            Kind::Vm,
            |azure| azure.permit("/subscriptions/none", &["*"]),
            "AuthorizationFailed",
            "role",
        ),
        (
            Kind::Container,
            |azure| azure.set_quota("StandardCores", 0),
            "ContainerGroupQuotaReached",
            "quota",
        ),
        (
            Kind::Container,
            |azure| azure.fail_next(GROUP, Fault::Refused(Refusal::policy("adit"))),
            "RequestDisallowedByPolicy",
            "policy",
        ),
        (
            Kind::Container,
            |azure| azure.unregister("Microsoft.ContainerInstance"),
            "MissingSubscriptionRegistration",
            "register",
        ),
        (
            Kind::Container,
            |azure| azure.permit("/subscriptions/none", &["*"]),
            "AuthorizationFailed",
            "role",
        ),
    ];
    lanes::each(cases, |(kind, trouble, code, remedy)| {
        let lit = Lit::new(quick());
        trouble(&lit.azure);
        let place = lit.place(kind);
        told(&lit, place, code, remedy);
    });
    let lit = Lit::new(quick());
    let place = lit.vm(|config| config.image = VmImage::FlatcarFree { accept_terms: false });
    told(&lit, place, "MarketplacePurchaseEligibilityFailed", "terms");
}

/// A lease at this place fails, and says why.
fn told(lit: &Lit, place: std::sync::Arc<dyn launch::place::Place>, code: &str, remedy: &str) {
    let lease = lit.live(async || {
        let launcher = launcher(INSTANCE, vec![place]);
        let id = create(&launcher).await;
        let failed = reach(
            &launcher,
            id,
            &[State::Failed, State::Removing, State::Removed, State::Ready],
        )
        .await;
        // Whoever may do nothing cannot remove what is not there either.
        launcher.stop().await;
        failed
    });
    assert_eq!(lease.outcome, Some(End::Failed), "{code}: {lease:?}");
    let fault = lease.fault.expect("a lease that failed says why");
    assert_eq!(fault.code, code, "{fault:?}");
    assert!(fault.message.len() > 20, "{fault:?}");
    assert!(
        !fault.remedy.is_empty() && fault.remedy.to_lowercase().contains(remedy),
        "{fault:?}"
    );
    assert_eq!(lit.light.made(), 0, "{code}");
}
