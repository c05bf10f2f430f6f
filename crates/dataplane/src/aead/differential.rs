//! Every backend against the library, on the same messages.
#![allow(clippy::panic, reason = "a difference ends a test")]

use super::{BATCH, Backend, DATA_HEADER_LEN, GROUP, Key, Place, Sealed, TAG_LEN, nonce};

/// What lies between messages, and must be left as it is.
const GUARD: u8 = 0xa5;

/// A message that is to be sealed, and perhaps changed on its way.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) counter: u64,
    pub(crate) text: Vec<u8>,
    /// The bit of the sealed text and tag that is turned over, counted modulo their length.
    pub(crate) forged: Option<usize>,
    /// Bytes between the message and the next.
    pub(crate) gap: usize,
}

/// Builds a batch from bytes, and compares all backends on it. For a fuzzer.
pub fn differential(mut data: &[u8]) {
    let mut take = |count: usize| {
        let (taken, rest) = data.split_at(count.min(data.len()));
        data = rest;
        let mut bytes = [0; 32];
        bytes[..taken.len()].copy_from_slice(taken);
        (!taken.is_empty()).then_some(bytes)
    };
    let Some(key) = take(32) else {
        return;
    };
    let mut messages = Vec::new();
    while messages.len() < BATCH + 2
        && let Some(bytes) = take(14)
    {
        let [
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
            len_low,
            len_high,
            forged_low,
            forged_high,
            seed,
            gap,
            ..,
        ] = bytes;
        let forged = usize::from(u16::from_le_bytes([forged_low, forged_high]));
        let len = usize::from(u16::from_le_bytes([len_low, len_high]));
        messages.push(Message {
            counter: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            // Most are short, so that there may be many; the fuzzer finds the rest.
            text: text(if len_high & 0x80 == 0 { len % 2048 } else { len % 0x8000 }, seed),
            forged: (forged & 1 == 1).then_some(forged),
            gap: usize::from(gap % 70),
        });
    }
    compare(&key, &messages);
}

/// A text that differs from place to place, or is all ones.
pub(crate) fn text(len: usize, seed: u8) -> Vec<u8> {
    if seed == 0xff {
        return vec![0xff; len];
    }
    (0..len)
        .map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes()[3] ^ seed)
        .collect()
}

/// Seals and opens the messages with each backend: all must agree.
pub(crate) fn compare(key: &[u8; 32], messages: &[Message]) {
    let mut buffer = Vec::new();
    let mut places = Vec::new();
    for message in messages {
        buffer.extend(std::iter::repeat_n(GUARD, message.gap));
        places.push(Place {
            start: buffer.len(),
            len: message.text.len(),
            nonce: nonce(message.counter),
        });
        buffer.extend_from_slice(&message.text);
        buffer.extend_from_slice(&[GUARD; TAG_LEN]);
    }
    let sealed = seal(key, Backend::Library, &buffer, &places);
    let mut sent = sealed.clone();
    for (message, place) in messages.iter().zip(&places) {
        if let Some(bit) = message.forged {
            let bit = bit % ((place.len + TAG_LEN) * 8);
            sent[place.start + bit / 8] ^= 1 << (bit % 8);
        }
    }
    let keys = Backend::available().map(|backend| Key::with_backend(key, backend));
    for key in keys.chain([Key::new(key)]) {
        assert!(
            seal_with(&key, &buffer, &places) == sealed,
            "{:?} seals otherwise",
            key.backend
        );
        let mut opened = sent.clone();
        let mut batch: Vec<Sealed> = messages
            .iter()
            .zip(&places)
            .map(|(message, place)| Sealed {
                counter: message.counter,
                start: place.start,
                len: place.len + TAG_LEN,
                authentic: message.forged.is_some(),
            })
            .collect();
        key.open_batch(&mut opened, &mut batch);
        let mut end = 0;
        for ((message, place), result) in messages.iter().zip(&places).zip(&batch) {
            assert_eq!(
                result.authentic,
                message.forged.is_none(),
                "{:?}: {message:?}",
                key.backend
            );
            assert!(opened[end..place.start].iter().all(|&byte| byte == GUARD));
            end = place.start + place.len;
            if result.authentic {
                assert!(
                    opened[place.start..end] == message.text,
                    "{:?} opens otherwise",
                    key.backend
                );
            }
            end += TAG_LEN;
        }
    }
}

/// Seals datagrams of one length, the last perhaps shorter: each backend must write what the library does.
pub fn compare_run(key: &[u8; 32], first_counter: u64, run: &[u8], segment: usize) {
    let seal = |key: &Key| {
        let mut sealed = run.to_vec();
        key.seal_run(first_counter, &mut sealed, segment);
        sealed
    };
    let expected = seal(&Key::with_backend(key, Backend::Library));
    for (datagram, plain) in expected.chunks(segment).zip(run.chunks(segment)) {
        assert_eq!(
            datagram[..DATA_HEADER_LEN],
            plain[..DATA_HEADER_LEN],
            "a header was written over"
        );
    }
    let keys = Backend::available().map(|backend| Key::with_backend(key, backend));
    for key in keys.chain([Key::new(key)]) {
        assert!(seal(&key) == expected, "{:?} seals otherwise", key.backend);
    }
}

fn seal(key: &[u8; 32], backend: Backend, buffer: &[u8], places: &[Place]) -> Vec<u8> {
    seal_with(&Key::with_backend(key, backend), buffer, places)
}

fn seal_with(key: &Key, buffer: &[u8], places: &[Place]) -> Vec<u8> {
    let mut sealed = buffer.to_vec();
    for group in places.chunks(GROUP) {
        key.seal_group(&mut sealed, group);
    }
    sealed
}
