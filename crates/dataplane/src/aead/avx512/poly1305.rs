//! Poly1305: eight messages side by side, each lane with a key of its own. *RFC 8439 2.5 and 2.8*.
//!
//! A number below 2^130 is held in limbs of 44, 44 and 42 bits, which the 52-bit multipliers of AVX-512 IFMA take.
//! A little more than that is allowed between two reductions.

use core::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_alignr_epi64, _mm512_and_si512, _mm512_cmpgt_epu64_mask, _mm512_cmplt_epu64_mask,
    _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_mask_add_epi64, _mm512_mask_blend_epi64,
    _mm512_maskz_loadu_epi8, _mm512_maskz_set1_epi64, _mm512_max_epi64, _mm512_or_si512, _mm512_set1_epi64,
    _mm512_setzero_si512, _mm512_shrdi_epi64, _mm512_slli_epi64, _mm512_sllv_epi64, _mm512_srli_epi64,
    _mm512_srlv_epi64, _mm512_sub_epi64,
};

use super::{
    super::job::{Job, Tag},
    parts::{BLOCK, CHUNK, LANES, Parts, job_of},
    transpose::{columns, columns_at},
};

/// 2^128, which is added to every block, in its limb.
const PAD: i64 = 1 << 40;

const LOW_44: i64 = (1 << 44) - 1;
const LOW_42: i64 = (1 << 42) - 1;

/// What authenticates up to eight messages.
#[derive(Clone, Copy)]
pub(super) struct Authenticator {
    /// The one-time keys of each lane: 64-bit words, the lower first.
    r: [__m512i; 2],
    s: [__m512i; 2],
    parts: Parts,
}

/// A number in each lane.
#[derive(Clone, Copy)]
struct Number([__m512i; 3]);

/// A number to multiply by: its limbs, and 20 times the upper two, since 2^132 is 20 modulo 2^130 - 5.
#[derive(Clone, Copy)]
struct Factor {
    limbs: [__m512i; 3],
    times_20: [__m512i; 2],
}

/// A sum of products before its reduction: what counts 2^0, 2^44, 2^88 as much, and what counts 2^52 times that.
#[derive(Clone, Copy)]
struct Sum {
    low: [__m512i; 3],
    high: [__m512i; 3],
}

impl Number {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> Self {
        Self([_mm512_setzero_si512(); 3])
    }

    /// The number of 128 bits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vbmi2")]
    fn of_words(low: __m512i, high: __m512i) -> Self {
        let mask = _mm512_set1_epi64(LOW_44);
        Self([
            _mm512_and_si512(low, mask),
            _mm512_and_si512(_mm512_shrdi_epi64::<44>(low, high), mask),
            _mm512_srli_epi64::<24>(high),
        ])
    }

    /// The number with 2^128 added, as `pad` says for each lane.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn padded(self, pad: __m512i) -> Self {
        let Self([a, b, c]) = self;
        Self([a, b, _mm512_or_si512(c, pad)])
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn plus(self, other: Self) -> Self {
        Self([
            _mm512_add_epi64(self.0[0], other.0[0]),
            _mm512_add_epi64(self.0[1], other.0[1]),
            _mm512_add_epi64(self.0[2], other.0[2]),
        ])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn times(self, factor: &Factor) -> Self {
        let mut sum = Sum::zero();
        sum.add_product(self, factor);
        sum.reduce()
    }

    /// Joins the parts of each message in the last of its lanes: each is multiplied by `factor` as often as there are
    /// parts behind it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn joined(self, cuts: u32, factor: &Factor) -> Self {
        let zero = _mm512_setzero_si512();
        let mut joined = self.plus(Self(self.times(factor).0.map(|x| _mm512_alignr_epi64::<7>(x, zero))));
        if cuts > 1 {
            let square = Factor::new(Self(factor.limbs).times(factor));
            joined = joined.plus(Self(joined.times(&square).0.map(|x| _mm512_alignr_epi64::<6>(x, zero))));
            if cuts > 2 {
                let fourth = Factor::new(Self(square.limbs).times(&square));
                joined = joined.plus(Self(joined.times(&fourth).0.map(|x| _mm512_alignr_epi64::<4>(x, zero))));
            }
        }
        joined
    }

    /// The number modulo 2^130 - 5 plus `s`, modulo 2^128: the tag.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn finish(self, s: [__m512i; 2]) -> [__m512i; 2] {
        let (low_44, low_42) = (_mm512_set1_epi64(LOW_44), _mm512_set1_epi64(LOW_42));
        let [mut h0, mut h1, mut h2] = self.0;
        // The second time, a limb that overflows leaves next to nothing, which the last carry does not fill again.
        for _ in 0..2 {
            h1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<44>(h0));
            h0 = _mm512_and_si512(h0, low_44);
            h2 = _mm512_add_epi64(h2, _mm512_srli_epi64::<44>(h1));
            h1 = _mm512_and_si512(h1, low_44);
            let carry = _mm512_srli_epi64::<42>(h2);
            h2 = _mm512_and_si512(h2, low_42);
            h0 = _mm512_add_epi64(h0, _mm512_add_epi64(carry, _mm512_slli_epi64::<2>(carry)));
        }
        // h + 5 reaches 2^130 where h is not below the modulus.
        let g0 = _mm512_add_epi64(h0, _mm512_set1_epi64(5));
        let g1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<44>(g0));
        let g2 = _mm512_add_epi64(h2, _mm512_srli_epi64::<44>(g1));
        let above = _mm512_cmpgt_epu64_mask(g2, low_42);
        let (g0, g1) = (_mm512_and_si512(g0, low_44), _mm512_and_si512(g1, low_44));
        let [h0, h1, h2] = [
            _mm512_mask_blend_epi64(above, h0, g0),
            _mm512_mask_blend_epi64(above, h1, g1),
            _mm512_mask_blend_epi64(above, h2, g2),
        ];
        let low = _mm512_or_si512(h0, _mm512_slli_epi64::<44>(h1));
        let high = _mm512_or_si512(_mm512_srli_epi64::<20>(h1), _mm512_slli_epi64::<24>(h2));
        let tag_low = _mm512_add_epi64(low, s[0]);
        let carry = _mm512_cmplt_epu64_mask(tag_low, low);
        let tag_high = _mm512_add_epi64(high, s[1]);
        [
            tag_low,
            _mm512_mask_add_epi64(tag_high, carry, tag_high, _mm512_set1_epi64(1)),
        ]
    }
}

impl Factor {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(number: Number) -> Self {
        let times_20 = |x: __m512i| _mm512_slli_epi64::<2>(_mm512_add_epi64(x, _mm512_slli_epi64::<2>(x)));
        Self {
            limbs: number.0,
            times_20: [times_20(number.0[1]), times_20(number.0[2])],
        }
    }

    /// The powers 1 to 4.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn powers(number: Number) -> [Self; 4] {
        let one = Self::new(number);
        let square = number.times(&one);
        let two = Self::new(square);
        [one, two, Self::new(square.times(&one)), Self::new(square.times(&two))]
    }

    /// A power, of an exponent that is not zero and no secret.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn raised(&self, exponent: usize) -> Number {
        let mut power = Number(self.limbs);
        for bit in (0..exponent.ilog2()).rev() {
            power = power.times(&Self::new(power));
            if exponent >> bit & 1 == 1 {
                power = power.times(self);
            }
        }
        power
    }
}

impl Sum {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> Self {
        Self {
            low: [_mm512_setzero_si512(); 3],
            high: [_mm512_setzero_si512(); 3],
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn plus(self, other: Self) -> Self {
        let sum = |a: [__m512i; 3], b: [__m512i; 3]| {
            [
                _mm512_add_epi64(a[0], b[0]),
                _mm512_add_epi64(a[1], b[1]),
                _mm512_add_epi64(a[2], b[2]),
            ]
        };
        Self {
            low: sum(self.low, other.low),
            high: sum(self.high, other.high),
        }
    }

    /// Adds a product. Four of them fit.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add_product(&mut self, number: Number, factor: &Factor) {
        let ([a, b, c], [r0, r1, r2], [s1, s2]) = (number.0, factor.limbs, factor.times_20);
        for (x, row) in [(a, [r0, r1, r2]), (b, [s2, r0, r1]), (c, [s1, s2, r0])] {
            for (limb, y) in row.into_iter().enumerate() {
                self.low[limb] = _mm512_madd52lo_epu64(self.low[limb], x, y);
                self.high[limb] = _mm512_madd52hi_epu64(self.high[limb], x, y);
            }
        }
    }

    /// The number, with limbs below 2^44, 2^44 + 2^16 and 2^42.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn reduce(self) -> Number {
        let (low_44, low_42) = (_mm512_set1_epi64(LOW_44), _mm512_set1_epi64(LOW_42));
        let ([d0, d1, d2], [e0, e1, e2]) = (self.low, self.high);
        let d1 = _mm512_add_epi64(d1, _mm512_slli_epi64::<8>(e0));
        let d2 = _mm512_add_epi64(d2, _mm512_slli_epi64::<8>(e1));
        let d1 = _mm512_add_epi64(d1, _mm512_srli_epi64::<44>(d0));
        let d2 = _mm512_add_epi64(d2, _mm512_srli_epi64::<44>(d1));
        // What counts 2^130 counts 5.
        let above = _mm512_add_epi64(_mm512_slli_epi64::<10>(e2), _mm512_srli_epi64::<42>(d2));
        let d0 = _mm512_add_epi64(_mm512_and_si512(d0, low_44), above);
        let d0 = _mm512_add_epi64(d0, _mm512_slli_epi64::<2>(above));
        Number([
            _mm512_and_si512(d0, low_44),
            _mm512_add_epi64(_mm512_and_si512(d1, low_44), _mm512_srli_epi64::<44>(d0)),
            _mm512_and_si512(d2, low_42),
        ])
    }
}

impl Authenticator {
    /// Takes the one-time keys from the first blocks of the jobs' keystreams. *RFC 8439 2.6*.
    ///
    /// # Panics
    ///
    /// If there are no jobs.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(jobs: &[Job], blocks: &[__m512i]) -> Self {
        let parts = Parts::new(jobs);
        let [r0, r1, s0, s1, ..] = columns(core::array::from_fn(|lane| {
            blocks[job_of(lane, parts.cuts, jobs.len())]
        }));
        Self {
            r: [
                _mm512_and_si512(r0, _mm512_set1_epi64(0x0fff_fffc_0fff_ffff)),
                _mm512_and_si512(r1, _mm512_set1_epi64(0x0fff_fffc_0fff_fffc)),
            ],
            s: [s0, s1],
            parts,
        }
    }

    /// The tags of the jobs.
    ///
    /// # Safety
    ///
    /// Their texts can be read.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
    pub(super) unsafe fn tags(&self, tags: &mut [Tag]) {
        let Parts {
            cuts, chunks, whole, ..
        } = self.parts;
        let powers = Factor::powers(Number::of_words(self.r[0], self.r[1]));
        let mut h = Number::zero();
        for chunk in (whole.max(1)..chunks).rev() {
            // SAFETY: the caller's promise.
            h = unsafe { add_outer_chunk(h, &powers, &self.parts, chunk) };
        }
        // SAFETY: the caller's promise.
        h = unsafe { add_whole_chunks(h, &powers, &self.parts) };
        // SAFETY: the caller's promise.
        h = unsafe { add_outer_chunk(h, &powers, &self.parts, 0) };
        if cuts > 0 {
            h = h.joined(cuts, &Factor::new(powers[3].raised(chunks)));
        }
        let [low, high] = h.finish(self.s).map(words_of);
        let last = |job: usize| ((job + 1) << cuts) - 1;
        for (job, tag) in tags.iter_mut().enumerate() {
            *tag = [low[last(job)], high[last(job)]];
        }
    }
}

/// h with the chunks of which all lanes have all four blocks, but for the last one.
///
/// # Safety
///
/// The parts' texts can be read.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512ifma,avx512vbmi2")]
unsafe fn add_whole_chunks(mut h: Number, powers: &[Factor; 4], parts: &Parts) -> Number {
    let pads = [_mm512_set1_epi64(PAD); 4];
    for chunk in (1..parts.whole).rev() {
        let starts = parts.ends.map(|end| end.wrapping_sub((chunk + 1) * CHUNK));
        // SAFETY: the parts have this chunk.
        let columns = unsafe { columns_at(starts) };
        h = add_chunk(h, powers, columns, pads);
    }
    h
}

/// h with one more chunk of each lane, counted from the last, where it is not known that all blocks are there.
///
/// # Safety
///
/// The parts' texts can be read.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
unsafe fn add_outer_chunk(h: Number, powers: &[Factor; 4], parts: &Parts, chunk: usize) -> Number {
    let lens = lanes_of(&parts.lens);
    let bytes = |count: usize| _mm512_set1_epi64(count as i64);
    // The bytes before the part, and behind the text, are left out.
    let before = _mm512_max_epi64(
        _mm512_sub_epi64(bytes((chunk + 1) * CHUNK), lens),
        _mm512_setzero_si512(),
    );
    let mut masks = _mm512_sllv_epi64(_mm512_set1_epi64(-1), before);
    if chunk == 0 {
        let within = _mm512_srlv_epi64(_mm512_set1_epi64(-1), lanes_of(&parts.missing));
        masks = _mm512_and_si512(masks, within);
    }
    let masks = words_of(masks);
    let rows = core::array::from_fn(|lane| {
        let start = parts.ends[lane].wrapping_sub((chunk + 1) * CHUNK);
        // SAFETY: what the mask excludes is not touched; the rest belongs to the text.
        unsafe { _mm512_maskz_loadu_epi8(masks[lane], start.cast()) }
    });
    let mut columns = columns(rows);
    if chunk == 0 {
        // The lengths of the additional data, which is empty, and of the text. *RFC 8439 2.8*.
        columns[7] = _mm512_or_si512(columns[7], lanes_of(&parts.text_lens));
    }
    let pads = core::array::from_fn(|block| {
        let behind = bytes((4 * chunk + 3 - block) * BLOCK);
        _mm512_maskz_set1_epi64(_mm512_cmpgt_epu64_mask(lens, behind), PAD)
    });
    add_chunk(h, powers, columns, pads)
}

/// h with four more blocks of each lane. Blocks that are not there, before the first, are zeros without a pad: h stays
/// zero.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma,avx512vbmi2")]
fn add_chunk(h: Number, powers: &[Factor; 4], columns: [__m512i; 8], pads: [__m512i; 4]) -> Number {
    let [a, b, c, d, e, f, g, i] = columns;
    let mut sum = Sum::zero();
    // h comes last, because the others need not wait for it.
    sum.add_product(Number::of_words(g, i).padded(pads[3]), &powers[0]);
    sum.add_product(Number::of_words(e, f).padded(pads[2]), &powers[1]);
    let mut second = Sum::zero();
    second.add_product(Number::of_words(c, d).padded(pads[1]), &powers[2]);
    second.add_product(h.plus(Number::of_words(a, b).padded(pads[0])), &powers[3]);
    sum.plus(second).reduce()
}

#[inline]
fn lanes_of(words: &[u64; LANES]) -> __m512i {
    // SAFETY: both are 64 bytes without padding, and any bits are valid.
    unsafe { core::mem::transmute(*words) }
}

#[inline]
fn words_of(lanes: __m512i) -> [u64; LANES] {
    // SAFETY: both are 64 bytes without padding, and any bits are valid.
    unsafe { core::mem::transmute(lanes) }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            is_available,
            tests::{add, reduce},
        },
        LANES, Number, Sum, lanes_of, words_of,
    };

    /// Modulo 2^130 - 5.
    type Value = [u64; 3];

    fn value(limbs: [u64; 3]) -> Value {
        let [a, b, c] = limbs;
        add(
            add([a, 0, 0], reduce([b << 44, b >> 20, 0])),
            reduce([0, c << 24, c >> 40]),
        )
    }

    fn doubled(value: Value, times: u32) -> Value {
        (0..times).fold(value, |value, _| add(value, value))
    }

    #[target_feature(enable = "avx512f")]
    fn finish(limbs: [u64; 3], s: u128) -> u128 {
        let all = |word: u64| lanes_of(&[word; LANES]);
        #[expect(clippy::cast_possible_truncation, reason = "each is half of s")]
        let s = [s as u64, (s >> 64) as u64];
        let [low, high] = Number(limbs.map(all)).finish(s.map(all)).map(words_of);
        u128::from(low[0]) | u128::from(high[0]) << 64
    }

    #[target_feature(enable = "avx512f")]
    fn reduced(low: [u64; 3], high: [u64; 3]) -> [u64; 3] {
        let all = |word: u64| lanes_of(&[word; LANES]);
        let sum = Sum {
            low: low.map(all),
            high: high.map(all),
        };
        sum.reduce().0.map(words_of).map(|[word, ..]| word)
    }

    /// The limbs are those that no message is likely to bring about.
    #[test]
    fn every_carry_of_a_tag_is_carried() {
        if !is_available() {
            return;
        }
        let near = |power: u64| (power - 7..=power + 1).chain([0, 1, 5, power / 2, 2 * power - 1, 2 * power]);
        for a in near(1 << 44) {
            for b in near(1 << 44).chain([(1 << 44) + (1 << 16)]) {
                for c in near(1 << 42) {
                    for s in [0, 1, u128::MAX] {
                        let [low, high, _] = value([a, b, c]);
                        let tag = (u128::from(low) | u128::from(high) << 64).wrapping_add(s);
                        // SAFETY: this processor has what it needs.
                        assert_eq!(unsafe { finish([a, b, c], s) }, tag, "{a:x} {b:x} {c:x} {s:x}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_sums_are_reduced() {
        if !is_available() {
            return;
        }
        let low = [0, 1, (1 << 44) - 1, (1 << 52) - 1, 12 * ((1 << 52) - 1)];
        let high = [0, 1, (1 << 44) - 1, 12 * ((1 << 42) - 1)];
        for i in 0..low.len().pow(3) {
            for j in 0..high.len().pow(3) {
                let low = [low[i % 5], low[i / 5 % 5], low[i / 25]];
                let high = [high[j % 4], high[j / 4 % 4], high[j / 16]];
                // SAFETY: this processor has what it needs.
                let limbs = unsafe { reduced(low, high) };
                assert!(
                    limbs[0] < 1 << 44 && limbs[1] < (1 << 44) + (1 << 16) && limbs[2] < 1 << 42,
                    "{limbs:x?}"
                );
                let sum = |words: [u64; 3]| {
                    let [a, b, c] = words.map(|word| [word, 0, 0]);
                    add(a, doubled(add(b, doubled(c, 44)), 44))
                };
                assert_eq!(
                    value(limbs),
                    add(sum(low), doubled(sum(high), 52)),
                    "{low:x?} {high:x?}"
                );
            }
        }
    }
}
