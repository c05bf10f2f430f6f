//! Tells counters that were seen from those that were not: *RFC 6479*.

use crate::timers::REJECT_AFTER_MESSAGES;

/// Bits that the whole bitmap has.
const BITS: u64 = 8192;

/// How far a counter may be behind the newest. One word less than the bitmap, since words are cleared whole.
const WINDOW: u64 = BITS - WORD;

const WORD: u64 = u64::BITS as u64;

/// Words of a young session: an idle peer's session seldom counts further.
const YOUNG_WORDS: usize = 8;

const WORDS: usize = (BITS / WORD) as usize;

/// The counters that were accepted, as a ring of bits.
///
/// ```text
///   word:     0      1      2    …   127
///          ┌──────┬──────┬──────┬───┬──────┐
///          │ 8192…│  64… │ 128… │   │8128… │    after counter 8192: word 0 was cleared and begins anew
///          └──────┴──────┴──────┴───┴──────┘
/// ```
#[derive(Debug)]
pub(crate) struct Window {
    words: Box<[u64]>,
    /// One more than the largest counter that was accepted.
    next: u64,
}

impl Window {
    /// A window that has seen nothing.
    pub(crate) fn new() -> Self {
        Self {
            words: Box::new([0; YOUNG_WORDS]),
            next: 0,
        }
    }

    /// Takes the counter of an authentic message. False: it was seen before, is too old to tell, or past the limit.
    pub(crate) fn accept(&mut self, counter: u64) -> bool {
        if counter >= REJECT_AFTER_MESSAGES || counter + 1 + WINDOW < self.next {
            return false;
        }
        let word = counter / WORD;
        if counter >= self.next {
            self.advance(word);
            self.next = counter + 1;
        }
        let word = &mut self.words[ring(word)];
        let bit = 1 << (counter % WORD);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Clears the words between the newest counter's and this one, both of them new in the ring.
    fn advance(&mut self, word: u64) {
        if word >= YOUNG_WORDS as u64 && self.words.len() == YOUNG_WORDS {
            let mut words = vec![0; WORDS].into_boxed_slice();
            words[..YOUNG_WORDS].copy_from_slice(&self.words);
            self.words = words;
        }
        let newest = self.next.saturating_sub(1) / WORD;
        for word in (newest + 1..=word).rev().take(WORDS) {
            self.words[ring(word)] = 0;
        }
    }
}

/// Where a word lies. A young window holds only the first words, which lie there in the whole ring too.
fn ring(word: u64) -> usize {
    usize::try_from(word % WORDS as u64).expect("less than the number of words")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counters_are_taken_once_and_only_inside_the_window() {
        // Counters in turn, each with whether it is new.
        for case in [
            &[
                (0, true),
                (0, false),
                (1, true),
                (1, false),
                (9, true),
                (8, true),
                (8, false),
                (9, false),
            ][..],
            &[(WINDOW, true), (0, true), (0, false)],
            &[(WINDOW + 1, true), (0, false), (1, true), (1, false)],
            &[(511, true), (512, true), (511, false), (512, false), (0, true)],
            &[
                (8191, true),
                (8192, true),
                (8192, false),
                (8191, false),
                (64, true),
                (63, false),
            ],
            &[
                (8192, true),
                (8192 * 2, true),
                (8192, false),
                (8193, false),
                (8192 + 64, true),
            ],
            &[
                (1 << 40, true),
                (0, false),
                ((1 << 40) - WINDOW, true),
                ((1 << 40) - WINDOW - 1, false),
            ],
            &[
                (REJECT_AFTER_MESSAGES - 1, true),
                (REJECT_AFTER_MESSAGES - 1, false),
                (5, false),
            ],
            &[(REJECT_AFTER_MESSAGES, false), (u64::MAX, false), (0, true)],
        ] {
            let mut window = Window::new();
            for &(counter, new) in case {
                assert_eq!(window.accept(counter), new, "counter {counter} in {case:?}");
            }
        }
    }

    #[test]
    fn batches_that_step_over_word_boundaries_lose_nothing() {
        for batch in [1, 7, 63, 64, 65, 128, 1000, 8128] {
            let mut window = Window::new();
            // Each batch arrives backwards, so that every word is entered at its end.
            for start in (0..3 * BITS).step_by(batch) {
                let end = start + batch as u64;
                for counter in (start..end).rev() {
                    assert!(window.accept(counter), "counter {counter}, batches of {batch}");
                }
                assert!(
                    (start..end).all(|counter| !window.accept(counter)),
                    "batch {start}..{end} again"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set(steps in prop::collection::vec((0_u64..3, 0_u64..20_000), 1..400)) {
            let (mut window, mut seen, mut newest) = (Window::new(), BTreeSet::new(), 0_u64);
            for (kind, offset) in steps {
                let counter = match kind {
                    0 => newest + offset % 130,
                    1 => newest.saturating_sub(offset % 9000),
                    _ => newest + offset,
                };
                let expected = counter + WINDOW >= newest && seen.insert(counter);
                prop_assert_eq!(window.accept(counter), expected, "counter {} with newest {}", counter, newest);
                newest = newest.max(counter);
            }
        }
    }
}
