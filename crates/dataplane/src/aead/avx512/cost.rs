//! Whether a group is faster here or in the library, one message after the other.
//!
//! Both are estimated in clock cycles. The figures were measured on Sapphire Rapids (`cargo bench -p dataplane --bench aead`); a few
//! per cent of error only matter where both are equally good.

use super::{
    chacha::LANES,
    parts::{self, blocks, cuts_and_chunks},
};

/// The cycles that are spent on any group, on a step of the cipher, on a chunk of each lane, on joining what was cut,
/// and on a second set of lanes.
const GROUP: usize = 620;
const STEP: usize = 600;
const CHUNK: usize = 90;
const CUT: usize = 150;
const SECOND: usize = 350;

/// The cycles that the library spends on any message, and on two bytes of text.
const MESSAGE: usize = 530;
const TWO_BYTES: usize = 3;

/// A single message that is shorter than this is never worthwhile, which is decided most quickly.
const SINGLE: usize = 1024;

/// Whether these texts, of which the longest comes first, are better sealed and opened here. To be chosen, this code
/// must promise a gain of a tenth.
pub(in super::super) fn is_worthwhile(lens: impl ExactSizeIterator<Item = usize> + Clone) -> bool {
    let count = lens.len();
    if count == 1 && lens.clone().all(|len| len < SINGLE) {
        return false;
    }
    let (mut cipher_blocks, mut library) = (0, 0);
    for len in lens.clone() {
        cipher_blocks += 1 + len.div_ceil(64);
        library += MESSAGE + len * TWO_BYTES / 2;
    }
    let mut here = GROUP + STEP * cipher_blocks.div_ceil(LANES);
    for (half, longest) in lens.step_by(parts::LANES).enumerate() {
        let (cuts, chunks) = cuts_and_chunks((count - half * parts::LANES).min(parts::LANES), blocks(longest));
        here += CHUNK * chunks + if cuts > 0 { CUT } else { 0 } + half * SECOND;
    }
    here + here / 10 < library
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_decided() {
        for (lens, worthwhile) in [
            (&[16][..], false),
            (&[256], false),
            (&[1420], true),
            (&[9000], true),
            (&[16, 16], false),
            (&[64, 64], false),
            (&[256, 256], true),
            (&[1420, 16], true),
            (&[16; 3], true),
            (&[1420; 3], true),
            (&[0; 16], true),
            (&[1420; 16], true),
            (&[65_519, 16, 16, 16, 16], false),
        ] {
            assert_eq!(is_worthwhile(lens.iter().copied()), worthwhile, "{lens:?}");
        }
    }
}
