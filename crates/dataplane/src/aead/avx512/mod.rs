//! Groups of up to sixteen messages with AVX-512 and IFMA.
#![allow(unsafe_code, reason = "vectors are loaded from and stored to memory")]

mod chacha;
mod cost;
mod cursor;
#[cfg(test)]
mod fence;
mod parts;
mod poly1305;
#[cfg(test)]
mod tests;
mod transpose;

use core::arch::x86_64::{__m512i, _mm512_setzero_si512};

pub(super) use self::cost::is_worthwhile;
use self::{
    chacha::{LANES, Lanes},
    cursor::{Cursor, Spans},
    poly1305::Authenticator,
    transpose::rows_of_words,
};
use super::{
    GROUP,
    job::{Direction, Job, Tag},
};

// The one-time keys of a group come from one step of the cipher.
const _: () = assert!(GROUP <= LANES && GROUP <= 2 * parts::LANES);

/// Whether this processor has what the code here needs.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512ifma")
        && is_x86_feature_detected!("avx512vbmi2")
}

/// Encrypts or decrypts the texts in place, and returns the tags of what is sealed.
///
/// # Safety
///
/// [`is_available`], and the jobs' texts can be read and written.
///
/// # Panics
///
/// If there are no jobs or more than [`GROUP`].
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
pub(super) unsafe fn process(key: &[u32; 8], direction: Direction, jobs: &[Job]) -> [Tag; GROUP] {
    assert!((1..=GROUP).contains(&jobs.len()), "a group has 1 to 16 messages");
    let mut lanes = Lanes::new();
    let mut words = [_mm512_setzero_si512(); LANES];
    let mut blocks = [_mm512_setzero_si512(); LANES];
    // Those of the step whose blocks become rows of memory, and of the one that is being made meanwhile.
    let mut spans = [Spans::new(); 2];

    for (lane, job) in jobs.iter().enumerate() {
        lanes.set(lane, 1, &job.nonce, 0);
    }
    let mut cursor = Cursor::new(jobs);
    cursor.fill(jobs.len(), &mut lanes, &mut spans[0]);
    chacha::next_blocks(key, &lanes, &mut words, &mut blocks);
    let mut turn = 0;
    let mut next_step = |blocks: &mut [__m512i; LANES], spans: &mut Spans| {
        let ends = cursor.is_at_end();
        if ends {
            rows_of_words(&words, blocks);
        } else {
            cursor.fill(0, &mut lanes, spans);
            chacha::next_blocks(key, &lanes, &mut words, blocks);
        }
        ends
    };

    let mut ends = next_step(&mut blocks, &mut spans[1]);
    let (first, second) = jobs.split_at(jobs.len().min(parts::LANES));
    let authenticator = Authenticator::new(first, &blocks);
    let second_authenticator = (!second.is_empty()).then(|| Authenticator::new(second, &blocks[parts::LANES..]));
    let authenticate = || {
        let mut tags = [[0; 2]; GROUP];
        let (first_tags, second_tags) = tags.split_at_mut(first.len());
        // SAFETY: the caller's promise.
        unsafe { authenticator.tags(first_tags) };
        if let Some(authenticator) = &second_authenticator {
            // SAFETY: the caller's promise.
            unsafe { authenticator.tags(&mut second_tags[..second.len()]) };
        }
        tags
    };

    let received = (direction == Direction::Open).then(authenticate);
    loop {
        // SAFETY: the spans lie in the texts, which can be read and written.
        unsafe { spans[turn].apply(&blocks) };
        if ends {
            break;
        }
        ends = next_step(&mut blocks, &mut spans[turn]);
        turn = 1 - turn;
    }
    received.unwrap_or_else(authenticate)
}
