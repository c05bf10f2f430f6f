//! One message, as the vector code sees it.

/// A message whose text is to be encrypted or decrypted in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) text: *mut u8,
    /// Length of the text, to which the tag does not belong.
    pub(super) len: usize,
    pub(super) nonce: [u32; 3],
}

/// A tag's two 64-bit words.
pub(super) type Tag = [u64; 2];

/// Whether a group of messages is being sealed or opened, which decides whether the text is authenticated after or
/// before the keystream goes over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Seal,
    Open,
}
