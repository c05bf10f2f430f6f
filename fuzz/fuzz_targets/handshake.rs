//! Handshake messages, lost, doubled, bent and forged, from the first datagram on.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::World::new().play(data));
