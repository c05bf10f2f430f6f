//! What a launcher leaves that has lost its store, and what may outlive machines.

use launch::Launcher;
use launch::launcher::Marks;
use netlab::wait_until;
use serde_json::{Value, json};

use crate::cloud::{INSTANCE, Kind, Lit, SOON, launcher, quick};
use crate::hand::Hand;
use crate::lanes;
use crate::needs_machines;

/// Interface, address and disk of a machine that is gone, as if it had not taken them along; and its lease.
pub(crate) fn detached(lit: &Lit, instance: &str, number: u8) -> Hand {
    lit.live(async || {
        let mut hand = Hand::of(lit.place(Kind::Vm), instance, number);
        // Elsewhere than the others: it shares nothing with them.
        hand.job.order.region = Some("northeurope".to_owned());
        hand.make().await.expect("it can be made");
        let machine = format!(
            "{}/providers/Microsoft.Compute/virtualMachines/{}",
            lit.group(),
            hand.job.id.resource_name()
        );
        let mut body = lit.azure.wanted(&machine).expect("the machine is there");
        hand.remove().await.expect("it can be removed");
        detach(&mut body);
        let count = lit.light.count();
        lit.curl("PUT", &machine, &body);
        wait_until("it boots", SOON, || (lit.light.count() > count).then_some(()));
        lit.curl("DELETE", &machine, &Value::Null);
        lit.wait_for_end_of(&machine);
        hand.job.refs = Value::Null;
        hand
    })
}

fn detach(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("customData");
            if members.contains_key("deleteOption") {
                members.insert("deleteOption".to_owned(), json!("Detach"));
            }
            members.values_mut().for_each(detach);
        }
        Value::Array(items) => items.iter_mut().for_each(detach),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Two rounds: what is found twice is removed, if need be in further ones.
async fn sweep(lit: &Lit, launcher: &Launcher, stay: usize) {
    let mut marks = Marks::default();
    for _ in 0..40 {
        launcher.sweep(&mut marks, |_| true).await;
        if lit.left().len() == stay {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[test]
fn a_launcher_without_its_store_finds_and_removes_its_own_and_touches_no_other_s() {
    needs_machines!();
    lanes::each(Kind::BOTH, |kind| {
        let lit = Lit::new(quick());
        let (own, others) = lit.live(async || {
            let mut own = Hand::of(lit.place(kind), INSTANCE, 1);
            own.make().await.expect("it can be made");
            let mut others = Hand::of(lit.place(kind), "there", 2);
            others.make().await.expect("it can be made");
            others.bring().await.expect("it answers");
            (own, others)
        });
        if kind == Kind::Vm {
            detached(&lit, INSTANCE, 3);
            detached(&lit, "there", 4);
        }
        let before = lit.left();
        // Of a machine: itself, interface, address, disk; of what one left: the last three.
        assert_eq!(before.len(), if kind == Kind::Vm { 14 } else { 2 }, "{before:#?}");
        let stay = before.len() / 2;
        lit.live(async || {
            let launcher = launcher(INSTANCE, vec![lit.place(kind)]);
            launcher.sweep(&mut Marks::default(), |_| true).await;
            assert_eq!(lit.left(), before, "what is seen for the first time may be under way");
            sweep(&lit, &launcher, stay).await;
            launcher.stop().await;
        });
        let left = lit.left();
        assert_eq!(left.len(), stay, "{left:#?}");
        let gone = own.job.id.to_string();
        assert!(!left.iter().any(|id| id.to_lowercase().contains(&gone)), "{left:#?}");
        assert_eq!(lit.light.gateways(), 1);
        lit.live(async || others.bring().await)
            .expect("the other's gateway answers as before");
    });
}
