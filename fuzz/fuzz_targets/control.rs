//! The lines of the control socket: however they are cut, and as they read when they are written again.
#![no_main]

use gateway::control::{Lines, Reply, Request, line};
use libfuzzer_sys::fuzz_target;

/// Every line of the input, which comes in pieces of this size.
fn lines(bytes: &[u8], size: usize) -> Result<Vec<Vec<u8>>, ()> {
    let (mut lines, mut found) = (Lines::new(256), Vec::new());
    for piece in bytes.chunks(size) {
        lines.feed(piece);
        while let Some(line) = lines.next_line().map_err(|_| ())? {
            found.push(line.to_vec());
        }
    }
    Ok(found)
}

fuzz_target!(|bytes: &[u8]| {
    let size = usize::from(bytes.first().copied().unwrap_or(0) % 16) + 1;
    let whole = lines(bytes, usize::MAX);
    // A line that is too long may be found out before or behind its end, but it is found out.
    assert_eq!(whole, lines(bytes, size));
    for text in whole.unwrap_or_default() {
        if let Ok(request) = Request::read(&text) {
            let again = line(&request);
            assert_eq!(Request::read(again.trim_ascii_end()), Ok(request));
        }
        if let Ok(reply) = serde_json::from_slice::<Reply>(&text) {
            let again = line(&reply);
            assert_eq!(serde_json::from_slice::<Reply>(&again).ok(), Some(reply));
        }
    }
});
