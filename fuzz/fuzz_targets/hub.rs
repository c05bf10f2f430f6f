//! What a hub reads of requests before it knows whose they are, and of exports that somebody brings back.
#![no_main]

use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue};
use hub::{
    api::fuzzing,
    audit::{Head, verify_lines},
    server::{Client, Peer},
    trace_context::TraceContext,
};
use launch::LeaseId;
use libfuzzer_sys::fuzz_target;

/// The input's lines as headers of this name, as far as they can be headers.
fn headers(name: &'static str, bytes: &[u8]) -> HeaderMap {
    let lines = bytes.split(|byte| *byte == b'\n').take(8);
    let values = lines.filter_map(|line| HeaderValue::from_bytes(line).ok());
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(name, value);
    }
    headers
}

/// Whoever is not trusted is believed nothing, and whoever is, no more than that an address in his header is the client's.
fn forwarded(bytes: &[u8]) {
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    let [stranger, proxy] = ["192.0.2.9:1", "10.0.0.1:1"].map(|text| text.parse::<SocketAddr>().expect("an address"));
    for name in ["x-forwarded-for", "forwarded"] {
        let headers = headers(name, bytes);
        let client = Client::of(Some(Peer(stranger)), &headers, &trusted);
        assert_eq!((client.address, client.is_direct), (stranger.ip(), true));
        let client = Client::of(Some(Peer(proxy)), &headers, &trusted);
        assert!(!client.is_direct && !client.is_this_machine());
    }
}

fuzz_target!(|bytes: &[u8]| {
    forwarded(bytes);
    let _none_twice = TraceContext::of(&headers("traceparent", bytes));
    if let Ok(request) = fuzzing::body(bytes) {
        let again = serde_json::to_vec(&request).expect("it can be written");
        assert_eq!(fuzzing::body(&again).ok(), Some(request));
    }
    let request = fuzzing::body(b"{\"peers\":[]}").expect("it is one");
    if let Ok(Some(key)) = fuzzing::idempotency_key(&headers("idempotency-key", bytes), &request) {
        assert!((1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    let _broken = verify_lines(bytes, &[]);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(context) = TraceContext::parse(text) {
        assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
    }
    if let Ok(id) = text.parse::<LeaseId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(head) = text.parse::<Head>() {
        assert_eq!(head.to_string().parse(), Ok(head));
    }
});
