//! The step from safe slices to vector code, and the comparison of tags.
#![allow(unsafe_code, reason = "vector code needs a processor that has it, and pointers")]

use super::{
    GROUP, Place, TAG_LEN, avx512,
    job::{Direction, Job, Tag},
};

/// Seals a group of messages.
pub(super) fn seal(key: &[u32; 8], buffer: &mut [u8], places: &[Place]) {
    let tags = process(key, Direction::Seal, buffer, places);
    for (place, [low, high]) in places.iter().zip(tags) {
        let tag = tag_of(buffer, place);
        tag[..8].copy_from_slice(&low.to_le_bytes());
        tag[8..].copy_from_slice(&high.to_le_bytes());
    }
}

/// Opens a group of messages. Bit `i` of the result says whether message `i` is authentic.
pub(super) fn open(key: &[u32; 8], buffer: &mut [u8], places: &[Place]) -> u16 {
    let tags = process(key, Direction::Open, buffer, places);
    let mut authentic = 0;
    for (i, (place, [low, high])) in places.iter().zip(tags).enumerate() {
        let claimed = u128::from_le_bytes(*tag_of(buffer, place));
        let computed = u128::from(high) << 64 | u128::from(low);
        // All bits are compared at once, so that the time does not tell how many agree.
        authentic |= u16::from(claimed ^ computed == 0) << i;
    }
    authentic
}

fn process(key: &[u32; 8], direction: Direction, buffer: &mut [u8], places: &[Place]) -> [Tag; GROUP] {
    let mut jobs = [Job {
        text: core::ptr::null_mut(),
        len: 0,
        nonce: [0; 3],
    }; GROUP];
    let jobs = &mut jobs[..places.len()];
    let bytes = buffer.len();
    let base = buffer.as_mut_ptr();
    for (job, place) in jobs.iter_mut().zip(places) {
        let fits = bytes
            .checked_sub(place.start)
            .and_then(|rest| rest.checked_sub(place.len))
            .is_some_and(|rest| rest >= TAG_LEN);
        assert!(fits, "a message lies within its buffer");
        *job = Job {
            text: base.wrapping_add(place.start),
            len: place.len,
            nonce: place.nonce,
        };
    }
    // SAFETY: this backend is only chosen if it is available, and every text lies within the buffer, which is
    // borrowed mutably. Texts that overlap each other make nonsense, but all access is through the one pointer.
    unsafe { avx512::process(key, direction, jobs) }
}

fn tag_of<'b>(buffer: &'b mut [u8], place: &Place) -> &'b mut [u8; TAG_LEN] {
    buffer[place.start + place.len..]
        .first_chunk_mut()
        .expect("a message lies within its buffer, as was checked")
}
