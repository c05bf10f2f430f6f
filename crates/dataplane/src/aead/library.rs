//! One message at a time, with aws-lc.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::{Place, TAG_LEN};

pub(super) fn key(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("ChaCha20-Poly1305 has keys of 32 bytes"))
}

/// Seals one message in place.
pub(super) fn seal(key: &LessSafeKey, buffer: &mut [u8], place: &Place) {
    let (text, tag) = buffer[place.start..][..place.len + TAG_LEN].split_at_mut(place.len);
    let computed = key
        .seal_in_place_separate_tag(nonce(place), Aad::empty(), text)
        .expect("a packet is shorter than the cipher's limit of 256 GiB");
    tag.copy_from_slice(computed.as_ref());
}

/// Opens one message in place; false if it is forged.
pub(super) fn open(key: &LessSafeKey, buffer: &mut [u8], place: &Place) -> bool {
    let sealed = &mut buffer[place.start..][..place.len + TAG_LEN];
    key.open_in_place(nonce(place), Aad::empty(), sealed).is_ok()
}

fn nonce(place: &Place) -> Nonce {
    let mut nonce = [0; 12];
    for (bytes, word) in nonce.as_chunks_mut().0.iter_mut().zip(place.nonce) {
        *bytes = word.to_le_bytes();
    }
    Nonce::assume_unique_for_key(nonce)
}
