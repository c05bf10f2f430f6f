//! Inner packets: whatever comes is read or refused, and what is written about it can be read.
#![no_main]

use dataplane::ip::icmp::{self, Echo, Error, Report};
use dataplane::ip::{self, Packet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let envelope = ip::envelope(data);
    let Ok(packet) = Packet::parse(data) else { return };
    let envelope = envelope.expect("a packet has an envelope");
    assert!(envelope.len <= data.len());
    assert!(packet.headers_len() <= envelope.len);
    let _ = (packet.is_payload_intact(), Echo::parse(&packet), Report::parse(&packet));
    if let Some(length) = icmp::error_len(&packet) {
        let mut answer = vec![0; length];
        let written = icmp::write_error(&mut answer, packet.destination, &packet, Error::PortUnreachable);
        let answer = Packet::parse(&answer[..written]).expect("what is written can be read");
        assert!(answer.is_payload_intact());
        let _ = Report::parse(&answer);
    }
    let mut changed = data.to_vec();
    ip::header::decrease_hop_limit(&mut changed);
});
