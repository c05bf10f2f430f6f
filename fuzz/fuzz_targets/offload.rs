//! Super-packets and streams: what is cut and joined is what a plain reference builds packet by packet.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| dataplane::tun::differential::differential(data));
