//! Transpositions between lanes and rows of memory.

use core::arch::x86_64::{
    __m256i, __m512i, _mm512_castsi256_si512, _mm512_inserti64x4, _mm512_setzero_si512, _mm512_shuffle_i32x4,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

/// Turns word `w` of sixteen blocks, in `words[w]`, into the sixteen blocks.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn rows_of_words(words: &[__m512i; 16], rows: &mut [__m512i; 16]) {
    let [a, b, c, d] = [0, 4, 8, 12].map(|w| quads_of_words([words[w], words[w + 1], words[w + 2], words[w + 3]]));
    for block in 0..4 {
        let quarters = rows_of_quads([a[block], b[block], c[block], d[block]]);
        for (quarter, row) in quarters.into_iter().enumerate() {
            rows[4 * quarter + block] = row;
        }
    }
}

/// Brings four words of each block together: vector `b` of the result has those of the blocks b, b + 4, b + 8, b + 12.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn quads_of_words([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// Turns eight rows of eight 64-bit words into the eight columns.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn columns(rows: [__m512i; 8]) -> [__m512i; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    let even = rows_of_quads([
        _mm512_unpacklo_epi64(a, b),
        _mm512_unpacklo_epi64(c, d),
        _mm512_unpacklo_epi64(e, f),
        _mm512_unpacklo_epi64(g, h),
    ]);
    let odd = rows_of_quads([
        _mm512_unpackhi_epi64(a, b),
        _mm512_unpackhi_epi64(c, d),
        _mm512_unpackhi_epi64(e, f),
        _mm512_unpackhi_epi64(g, h),
    ]);
    [even[0], odd[0], even[1], odd[1], even[2], odd[2], even[3], odd[3]]
}

/// [`columns`] of rows in memory. Their halves are put together as they are loaded, for which either of two vector
/// units will do: the one that shuffles is the busier.
///
/// # Safety
///
/// 64 bytes can be read at each place.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn columns_at(rows: [*const u8; 8]) -> [__m512i; 8] {
    let mut columns = [_mm512_setzero_si512(); 8];
    for (half, columns) in columns.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        let load = |row: usize| unsafe { rows[row].cast::<__m256i>().add(half).read_unaligned() };
        let pair = |low: usize, high: usize| _mm512_inserti64x4::<1>(_mm512_castsi256_si512(load(low)), load(high));
        let (a, b, c, d) = (pair(0, 2), pair(1, 3), pair(4, 6), pair(5, 7));
        let (even_low, even_high) = (_mm512_unpacklo_epi64(a, b), _mm512_unpacklo_epi64(c, d));
        let (odd_low, odd_high) = (_mm512_unpackhi_epi64(a, b), _mm512_unpackhi_epi64(c, d));
        *columns = [
            _mm512_shuffle_i32x4::<0x88>(even_low, even_high),
            _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high),
            _mm512_shuffle_i32x4::<0xdd>(even_low, even_high),
            _mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high),
        ];
    }
    columns
}

/// Transposes four rows of four 128-bit words.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn rows_of_quads([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xee>(a, b));
    let (cd_low, cd_high) = (_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xee>(c, d));
    [
        _mm512_shuffle_i32x4::<0x88>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0xdd>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high),
        _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high),
    ]
}
