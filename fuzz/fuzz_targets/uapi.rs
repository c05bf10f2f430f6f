//! The text of `wg`'s sockets, both ways: however it is cut, and as it reads when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wg::{
    Device,
    uapi::{Incoming, Request, get_reply, parse_get_reply, parse_set_reply, set_request},
};

fn zone_index(name: &str) -> Option<u32> {
    (name == "eth0").then_some(2)
}

fuzz_target!(|bytes: &[u8]| {
    let mut whole = Incoming::new();
    let mut requests = whole.feed(bytes, &zone_index);
    requests.extend(whole.finish(&zone_index));

    // In pieces whose size the input decides.
    let size = usize::from(bytes.first().copied().unwrap_or(0) % 16) + 1;
    let mut cut = Incoming::new();
    let mut pieces: Vec<_> = bytes
        .chunks(size)
        .flat_map(|piece| cut.feed(piece, &zone_index))
        .collect();
    pieces.extend(cut.finish(&zone_index));
    assert_eq!(pieces, requests);

    let mut device = Device::default();
    for request in requests {
        match request {
            Ok(Request::Get) => {}
            Ok(Request::Set(update)) => {
                let text = set_request(&update);
                let Ok(Request::Set(again)) = Request::parse(&text, &zone_index) else {
                    panic!("what was written is not read");
                };
                assert_eq!(set_request(&again), text);
                let before = device.clone();
                device.apply(&update);
                let mut other = before.clone();
                other.apply(&before.difference(&device));
                assert!(other.difference(&device).is_empty());
            }
            Err(error) => assert!(error.errno() > 0 && error.line > 0 && !error.to_string().is_empty()),
        }
    }

    if let Ok(text) = str::from_utf8(bytes) {
        if let Ok(status) = parse_get_reply(text, &zone_index) {
            assert_eq!(parse_get_reply(&get_reply(&status), &zone_index), Ok(status));
        }
        parse_set_reply(text).ok();
    }
});
