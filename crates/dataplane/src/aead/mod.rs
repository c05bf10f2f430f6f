//! Seals and opens many data messages of one session at once: ChaCha20-Poly1305, *RFC 8439 2.8*, without additional
//! data.
//!
//! A single message leaves most of a vector processor idle: its cipher is done after a step and a half, and its
//! authenticator is one long chain. Messages that come in batches fill the lanes between them.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod backend;
#[cfg(any(test, fuzzing))]
pub mod differential;
#[cfg(target_arch = "x86_64")]
mod job;
mod library;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vector;

use std::fmt;

use aws_lc_rs::aead::LessSafeKey;
use zeroize::Zeroizing;

pub use self::backend::Backend;
use crate::message::{DATA_HEADER_LEN, TAG_LEN};

const KEY_LEN: usize = 32;

/// Messages that are sealed or opened together.
const GROUP: usize = 16;

/// Messages that are sorted together, so that those of a group have similar lengths.
const BATCH: usize = 64;

/// A key to seal or to open with, wiped when dropped.
pub struct Key {
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only vector code needs it"))]
    words: Zeroizing<[u32; 8]>,
    library: LessSafeKey,
    backend: Backend,
    preference: Preference,
}

/// When the vector code is used, rather than the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preference {
    Faster,
    Always,
}

/// A sealed message in a buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sealed {
    /// The message's counter, from its header.
    pub counter: u64,
    /// Where the sealed packet begins, after its message's header.
    pub start: usize,
    /// Length of the packet and its tag.
    pub len: usize,
    /// Whether the message is authentic, once [`Key::open_batch`] returns.
    pub authentic: bool,
}

impl Sealed {
    /// Where its text lies. `None`: it is too short for a tag.
    fn place(&self) -> Option<Place> {
        Some(Place {
            start: self.start,
            len: self.len.checked_sub(TAG_LEN)?,
            nonce: nonce(self.counter),
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// A message in a buffer: a text, and its tag behind it.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    start: usize,
    /// Length of the text.
    len: usize,
    nonce: [u32; 3],
}

impl Key {
    /// A key for the fastest way that this processor has.
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        Self::build(key, Backend::fastest(), Preference::Faster)
    }

    /// A key that uses one backend, even where another is faster: to compare them.
    pub fn with_backend(key: &[u8; KEY_LEN], backend: Backend) -> Self {
        Self::build(key, backend, Preference::Always)
    }

    fn build(key: &[u8; KEY_LEN], backend: Backend, preference: Preference) -> Self {
        let mut words = Zeroizing::new([0; 8]);
        for (word, bytes) in words.iter_mut().zip(key.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Self {
            words,
            library: library::key(key),
            backend,
            preference,
        }
    }

    /// Seals the packets in `run`: each `segment` bytes, the last perhaps fewer, are a header of 16 bytes, which is
    /// left as it is, a packet, and 16 bytes for its tag. The first has the counter `first_counter`, the next one
    /// more, and so on.
    ///
    /// # Panics
    ///
    /// If `segment` is zero, or a datagram has no room for header and tag.
    pub fn seal_run(&self, first_counter: u64, run: &mut [u8], segment: usize) {
        let place = |start: usize, end: usize, counter: u64| Place {
            start: start + DATA_HEADER_LEN,
            len: (end - start)
                .checked_sub(DATA_HEADER_LEN + TAG_LEN)
                .expect("a datagram has a header and a tag"),
            nonce: nonce(counter),
        };
        assert!(segment > 0, "datagrams have a length");
        // One datagram is as quick as with the library alone.
        if (1..=segment).contains(&run.len()) {
            return self.seal_group(run, &[place(0, run.len(), first_counter)]);
        }
        let (mut start, mut counter) = (0, first_counter);
        while start < run.len() {
            let mut places = [Place::default(); GROUP];
            let mut count = 0;
            while count < GROUP && start < run.len() {
                let end = run.len().min(start.saturating_add(segment));
                places[count] = place(start, end, counter);
                (start, count, counter) = (end, count + 1, counter.wrapping_add(1));
            }
            self.seal_group(run, &places[..count]);
        }
    }

    /// Opens messages in place, and says of each whether it is authentic. The bytes of one that is not are left
    /// arbitrary.
    ///
    /// # Panics
    ///
    /// If a message reaches out of the buffer.
    pub fn open_batch(&self, buffer: &mut [u8], messages: &mut [Sealed]) {
        if let [message] = messages {
            let place = message.place();
            message.authentic = place.is_some_and(|place| self.open_group(buffer, &[place]) == 1);
            return;
        }
        for messages in messages.chunks_mut(BATCH) {
            let mut order = [0_u8; BATCH];
            let order = &mut order[..messages.len()];
            for (place, index) in order.iter_mut().zip(0..) {
                *place = index;
            }
            if !messages.is_sorted_by(|before, after| before.len >= after.len) {
                order.sort_unstable_by_key(|&index| std::cmp::Reverse(messages[usize::from(index)].len));
            }
            for group in order.chunks(GROUP) {
                self.open_sorted(buffer, messages, group);
            }
        }
    }

    fn open_sorted(&self, buffer: &mut [u8], messages: &mut [Sealed], order: &[u8]) {
        let mut places = [Place::default(); GROUP];
        let mut count = 0;
        for &index in order {
            let message = &mut messages[usize::from(index)];
            message.authentic = false;
            // The longest come first, so that all that follow are too short as well.
            let Some(place) = message.place() else {
                continue;
            };
            places[count] = place;
            count += 1;
        }
        let authentic = self.open_group(buffer, &places[..count]);
        for (place, &index) in order[..count].iter().enumerate() {
            messages[usize::from(index)].authentic = authentic >> place & 1 == 1;
        }
    }

    fn seal_group(&self, buffer: &mut [u8], places: &[Place]) {
        match self.backend_for(places) {
            Backend::Library => {
                for place in places {
                    library::seal(&self.library, buffer, place);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => vector::seal(&self.words, buffer, places),
        }
    }

    /// Bit `i` of the result says whether message `i` is authentic.
    fn open_group(&self, buffer: &mut [u8], places: &[Place]) -> u16 {
        match self.backend_for(places) {
            Backend::Library => places.iter().enumerate().fold(0, |mask, (i, place)| {
                mask | u16::from(library::open(&self.library, buffer, place)) << i
            }),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => vector::open(&self.words, buffer, places),
        }
    }

    /// The backend for a group whose longest message comes first.
    fn backend_for(&self, places: &[Place]) -> Backend {
        match (self.backend, self.preference) {
            _ if places.is_empty() => Backend::Library,
            #[cfg(target_arch = "x86_64")]
            (Backend::Avx512, Preference::Faster) if !avx512::is_worthwhile(places.iter().map(|place| place.len)) => {
                Backend::Library
            }
            (backend, _) => backend,
        }
    }
}

/// The nonce of a data message: four zero bytes and its counter. *WireGuard whitepaper 5.4.6*.
#[expect(clippy::cast_possible_truncation, reason = "each is half of the counter")]
fn nonce(counter: u64) -> [u32; 3] {
    [0, counter as u32, (counter >> 32) as u32]
}
