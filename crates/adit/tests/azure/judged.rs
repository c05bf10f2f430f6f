//! Microsoft's descriptions of the API between adit and the fake.

use netlab::serve::azure::{Azure, Settings, Way};

use crate::cloud::{INSTANCE, Kind, Lit, launcher, life, quick};
use crate::needs_machines;

#[test]
fn microsoft_s_descriptions_find_no_fault_in_a_life_at_either_place() {
    needs_machines!();
    if let Some(missing) = netlab::missing(&Azure::JUDGED) {
        netlab::skip(&missing);
        return;
    }
    // Addresses of operations would lead past the judge.
    let lit = Lit::new(Settings {
        way: Some(Way::AtOnce),
        ..quick()
    });
    let prism = lit.hub.run(|| lit.azure.judged());
    for kind in Kind::BOTH {
        let before = lit.azure.asked().len();
        lit.live(async || life(&launcher(INSTANCE, vec![lit.place_at(kind, prism.url())])).await);
        assert!(lit.azure.asked().len() > before + 3, "{kind:?}");
        assert_eq!(prism.complaints(), [""; 0], "{kind:?}");
        assert_eq!(lit.left(), [""; 0], "{kind:?}");
    }
}
