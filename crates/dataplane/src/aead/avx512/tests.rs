//! The authenticator's lanes against plain arithmetic, where carries are most likely to be lost.

use core::arch::x86_64::{__m512i, _mm512_setzero_si512};

use super::{is_available, parts::LANES, poly1305::Authenticator};
use crate::aead::job::Job;

/// A number of up to 192 bits, the lowest word first.
type Number = [u64; 3];

/// 2^130 - 5.
const MODULUS: Number = [u64::MAX - 4, u64::MAX, 3];

const CLAMP: u128 = 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;

pub(super) fn add(a: Number, b: Number) -> Number {
    let (low, carry) = a[0].carrying_add(b[0], false);
    let (middle, carry) = a[1].carrying_add(b[1], carry);
    reduce([low, middle, a[2] + b[2] + u64::from(carry)])
}

/// Subtracts the modulus as often as it goes.
pub(super) fn reduce(mut a: Number) -> Number {
    while (a[2], a[1], a[0]) >= (MODULUS[2], MODULUS[1], MODULUS[0]) {
        let (low, borrow) = a[0].borrowing_sub(MODULUS[0], false);
        let (middle, borrow) = a[1].borrowing_sub(MODULUS[1], borrow);
        a = [low, middle, a[2] - MODULUS[2] - u64::from(borrow)];
    }
    a
}

/// Multiplies bit by bit.
fn multiply(a: Number, r: u128) -> Number {
    (0..128).rev().fold([0; 3], |sum, bit| {
        let doubled = add(sum, sum);
        if r >> bit & 1 == 1 { add(doubled, a) } else { doubled }
    })
}

/// Poly1305 as *RFC 8439 2.5.1* writes it down.
fn poly1305(r: u128, s: u128, message: &[u8]) -> u128 {
    let mut h = [0; 3];
    for chunk in message.chunks(16) {
        let mut block = [0; 24];
        block[..chunk.len()].copy_from_slice(chunk);
        block[chunk.len()] = 1;
        let words: [u64; 3] = std::array::from_fn(|i| u64::from_le_bytes(block[8 * i..8 * i + 8].try_into().unwrap()));
        h = multiply(add(h, words), r & CLAMP);
    }
    (u128::from(h[0]) | u128::from(h[1]) << 64).wrapping_add(s)
}

/// What is authenticated of a text. *RFC 8439 2.8*.
fn padded(text: &[u8]) -> Vec<u8> {
    let mut padded = text.to_vec();
    padded.resize(text.len().next_multiple_of(16), 0);
    padded.extend_from_slice(&0_u64.to_le_bytes());
    padded.extend_from_slice(&(text.len() as u64).to_le_bytes());
    padded
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn tags(messages: &[(u128, u128, Vec<u8>)]) -> Vec<u128> {
    let mut blocks = [_mm512_setzero_si512(); LANES];
    let mut jobs = Vec::new();
    for (block, (r, s, text)) in blocks.iter_mut().zip(messages) {
        let mut bytes = [0x77; 64];
        bytes[..16].copy_from_slice(&r.to_le_bytes());
        bytes[16..32].copy_from_slice(&s.to_le_bytes());
        // SAFETY: both are 64 bytes without padding, and any bits are valid.
        *block = unsafe { core::mem::transmute::<[u8; 64], __m512i>(bytes) };
        jobs.push(Job {
            text: text.as_ptr().cast_mut(),
            len: text.len(),
            nonce: [0; 3],
        });
    }
    let mut tags = vec![[0; 2]; jobs.len()];
    // SAFETY: the texts outlive the call, which only reads them.
    unsafe { Authenticator::new(&jobs, &blocks).tags(&mut tags) };
    let tag = |[low, high]: [u64; 2]| u128::from(low) | u128::from(high) << 64;
    tags.into_iter().map(tag).collect()
}

fn check(messages: &[(u128, u128, Vec<u8>)]) {
    if !is_available() {
        return;
    }
    // SAFETY: this processor has what it needs.
    let computed = unsafe { tags(messages) };
    for ((r, s, text), tag) in messages.iter().zip(computed) {
        assert_eq!(
            tag,
            poly1305(*r, *s, &padded(text)),
            "r {r:x} s {s:x} text {text:x?} of {}",
            messages.len()
        );
    }
}

#[test]
fn the_reference_agrees_with_rfc_8439() {
    // r, s, message, tag: 2.5.2 and the vectors 7 to 11 of A.3, each of which is about one carry.
    let ones = [0xff; 16];
    let block = |low: u8, rest: u8| {
        let mut block = [rest; 16];
        block[0] = low;
        block
    };
    for (r, s, message, tag) in [
        (
            0xa806_d542_fe52_447f_336d_5557_78be_d685,
            0x1bf5_4941_aff6_bf4a_fdb2_0dfb_8a80_0301,
            b"Cryptographic Forum Research Group".to_vec(),
            0xa927_010c_af8b_2bc2_c636_5130_c11d_06a8,
        ),
        (2, 0, ones.to_vec(), 3),
        (2, u128::MAX, block(2, 0).to_vec(), 3),
        (1, 0, [ones, block(0xf0, 0xff), block(0x11, 0)].concat(), 5),
        (1, 0, [ones, block(0xfb, 0xfe), block(1, 1)].concat(), 0),
        (2, 0, block(0xfd, 0xff).to_vec(), u128::MAX - 5),
    ] {
        assert_eq!(poly1305(r, s, &message), tag);
    }
}

/// All lengths up to some chunks, and all numbers of messages: every way to cut and to pad.
#[test]
fn limbs_at_their_extremes_are_carried() {
    for r in [
        u128::MAX,
        0,
        1,
        4 << 64,
        0x0fff_fffc << 96,
        0x0fff_ffff,
        1 << 43 | 1 << 88,
    ] {
        for s in [0, u128::MAX] {
            for count in [1, 2, 3, 4, 5, 8] {
                for len in (0..200).chain([255, 256, 257, 600, 1420]) {
                    let texts = [0xff_u8, 0, 0x80, 0xff, 1, 0xfe, 0xff, 0x7f];
                    let messages: Vec<_> = texts[..count].iter().map(|&byte| (r, s, vec![byte; len])).collect();
                    if len < 70 || len % 7 == 0 || len > 250 {
                        check(&messages);
                    }
                }
            }
        }
    }
}

/// With r = 1, h is the sum of the blocks, so that it can be brought to every value about the modulus.
#[test]
fn sums_about_the_modulus_are_reduced() {
    for distance in -12_i128..=12 {
        for first in [0, 1, u128::MAX >> 1, 0xffff_ffff_ffff_fff0, 1 << 44, (1 << 88) - 1] {
            // Three blocks with 2^128 each, the last of which is the length 32 times 2^64: 2^128 - 2^69 is left.
            let left = (u128::MAX - (1 << 69))
                .wrapping_add_signed(1 + distance)
                .wrapping_sub(first);
            let text = [first.to_le_bytes(), left.to_le_bytes()].concat();
            for count in [1, 8] {
                check(&vec![(1, 0, text.clone()); count]);
            }
        }
    }
}

#[test]
fn lanes_do_not_mix() {
    let mut state = 1_u128;
    let mut random = || {
        state = state
            .wrapping_mul(0xda94_2042_e4dd_58b5_9e37_79b9_7f4a_7c15)
            .wrapping_add(0x1234_5678_9abc_def1);
        state ^ state >> 64
    };
    for round in 0..300 {
        let count = 1 + round % 8;
        let messages: Vec<_> = (0..count)
            .map(|_| {
                let len = (random() % 700) as usize;
                (
                    random(),
                    random(),
                    (0..len).map(|_| random().to_le_bytes()[9]).collect(),
                )
            })
            .collect();
        check(&messages);
    }
}
