//! ChaCha20: sixteen blocks at once, of any messages. *RFC 8439 2.3*.

use core::arch::x86_64::{
    __m512i, __mmask16, _mm512_add_epi32, _mm512_mask_add_epi32, _mm512_mask_mov_epi32, _mm512_rol_epi32,
    _mm512_set1_epi32, _mm512_setr_epi32, _mm512_setzero_si512, _mm512_xor_si512,
};

use super::transpose::{quads_of_words, rows_of_quads};

/// Blocks that are made at once.
pub(super) const LANES: usize = 16;

/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Which blocks of which messages are made.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    counter: __m512i,
    nonce: [__m512i; 3],
}

impl Lanes {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new() -> Self {
        Self {
            counter: _mm512_setzero_si512(),
            nonce: [_mm512_setzero_si512(); 3],
        }
    }

    /// Has the lanes `first..first + count` make the blocks from `block` on of the message with this nonce.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn set(&mut self, first: usize, count: usize, nonce: &[u32; 3], block: u32) {
        let (mask, first) = lane_mask(first, count);
        let lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let base = block.wrapping_sub(first);
        self.counter = _mm512_mask_add_epi32(self.counter, mask, lane, broadcast(base));
        for (lanes, &word) in self.nonce.iter_mut().zip(nonce) {
            *lanes = _mm512_mask_mov_epi32(*lanes, mask, broadcast(word));
        }
    }
}

/// A mask of these lanes, and the number of the first.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "there are sixteen lanes")]
fn lane_mask(first: usize, count: usize) -> (__mmask16, u32) {
    debug_assert!(first + count <= LANES);
    ((((1_u32 << count) - 1) << first) as __mmask16, first as u32)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn broadcast(word: u32) -> __m512i {
    _mm512_set1_epi32(word.cast_signed())
}

/// Sixteen blocks, of which each lane holds one, and each vector one word of all.
pub(super) type Words = [__m512i; 16];

/// Makes sixteen blocks, and meanwhile turns those that were made before into rows of memory.
///
/// The rounds leave one of two vector units free for a third of the time, which is the only one that shuffles.
#[target_feature(enable = "avx512f")]
pub(super) fn next_blocks(key: &[u32; 8], lanes: &Lanes, words: &mut Words, rows: &mut [__m512i; LANES]) {
    let start = |word: usize| match word {
        0..4 => broadcast(CONSTANTS[word]),
        4..12 => broadcast(key[word - 4]),
        12 => lanes.counter,
        _ => lanes.nonce[word - 13],
    };
    let mut state: Words = core::array::from_fn(start);
    let mut quads = [[_mm512_setzero_si512(); 4]; 4];
    for (words, quad) in words.as_chunks().0.iter().zip(&mut quads) {
        double_round(&mut state);
        *quad = quads_of_words(*words);
    }
    for b in 0..4 {
        double_round(&mut state);
        let quarters = rows_of_quads([quads[0][b], quads[1][b], quads[2][b], quads[3][b]]);
        for (quarter, row) in quarters.into_iter().enumerate() {
            rows[4 * quarter + b] = row;
        }
    }
    double_round(&mut state);
    double_round(&mut state);
    for (word, sum) in state.into_iter().enumerate() {
        words[word] = _mm512_add_epi32(sum, start(word));
    }
}

/// *RFC 8439 2.3*.
#[inline]
#[target_feature(enable = "avx512f")]
fn double_round(state: &mut Words) {
    mix::<16>(state, [(0, 4, 12), (1, 5, 13), (2, 6, 14), (3, 7, 15)]);
    mix::<12>(state, [(8, 12, 4), (9, 13, 5), (10, 14, 6), (11, 15, 7)]);
    mix::<8>(state, [(0, 4, 12), (1, 5, 13), (2, 6, 14), (3, 7, 15)]);
    mix::<7>(state, [(8, 12, 4), (9, 13, 5), (10, 14, 6), (11, 15, 7)]);
    mix::<16>(state, [(0, 5, 15), (1, 6, 12), (2, 7, 13), (3, 4, 14)]);
    mix::<12>(state, [(10, 15, 5), (11, 12, 6), (8, 13, 7), (9, 14, 4)]);
    mix::<8>(state, [(0, 5, 15), (1, 6, 12), (2, 7, 13), (3, 4, 14)]);
    mix::<7>(state, [(10, 15, 5), (11, 12, 6), (8, 13, 7), (9, 14, 4)]);
}

/// The same quarter of four quarter rounds, which do not depend on each other: `a += b; d ^= a; d <<<= ROTATION` for
/// each `(a, b, d)`. *RFC 8439 2.1*.
#[inline]
#[target_feature(enable = "avx512f")]
fn mix<const ROTATION: i32>(x: &mut [__m512i; 16], quarters: [(usize, usize, usize); 4]) {
    for (a, b, d) in quarters {
        x[a] = _mm512_add_epi32(x[a], x[b]);
        x[d] = _mm512_rol_epi32::<ROTATION>(_mm512_xor_si512(x[d], x[a]));
    }
}
