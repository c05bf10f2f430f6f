//! Data messages of a session, lost, doubled, bent and forged, and inner packets of any content.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::World::with_session().play(data));
