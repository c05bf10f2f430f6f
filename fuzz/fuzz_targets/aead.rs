//! Batches of messages: what seals and opens many at once does what the library does with each.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| dataplane::aead::differential::differential(data));
