//! Lays out netlink attributes, and reads numbers out of them.

use std::iter;

use zeroize::Zeroizing;

/// Length of `struct nlattr`: length and kind.
pub(crate) const HEADER_LEN: usize = 4;

/// The bit in a kind that says that the value is attributes (`NLA_F_NESTED`).
pub(crate) const NESTED: u16 = 1 << 15;

/// The bits of a kind that say how its value is laid out.
const FLAGS: u16 = 3 << 14;

/// Attributes end to end, wiped from memory when dropped: some of them are keys.
///
/// Its room is taken at once; whoever adds keeps within it, so that no copy of a key stays where the bytes once were.
#[derive(Clone, Debug)]
pub(crate) struct Attributes(Zeroizing<Vec<u8>>);

/// An attribute that is begun: where its header stands.
#[derive(Debug)]
#[must_use = "its length is written when it is ended"]
pub(crate) struct Nest(usize);

impl Attributes {
    /// Nothing yet, with room for so many bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// Adds bytes that are no attribute: the fixed header of a message.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Adds an attribute.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(HEADER_LEN + value.len()).expect("values are shorter than messages");
        self.raw(&len.to_ne_bytes());
        self.raw(&kind.to_ne_bytes());
        self.raw(value);
        self.pad();
    }

    /// Adds an attribute that is a text, with the zero behind it.
    pub(crate) fn put_text(&mut self, kind: u16, text: &str) {
        let mut value = text.as_bytes().to_owned();
        value.push(0);
        self.put(kind, &value);
    }

    /// Begins an attribute that holds the attributes which follow, up to [`Self::end`].
    pub(crate) fn begin(&mut self, kind: u16) -> Nest {
        let at = self.0.len();
        self.raw(&0_u16.to_ne_bytes());
        self.raw(&(kind | NESTED).to_ne_bytes());
        Nest(at)
    }

    /// Ends an attribute.
    pub(crate) fn end(&mut self, nest: Nest) {
        let len = u16::try_from(self.0.len() - nest.0).expect("messages are shorter than 64 KiB");
        self.0[nest.0..nest.0 + 2].copy_from_slice(&len.to_ne_bytes());
    }

    /// The bytes so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn pad(&mut self) {
        let len = self.0.len().next_multiple_of(4);
        self.0.resize(len, 0);
    }
}

/// How many bytes an attribute with a value of this length takes.
pub(crate) const fn len(value: usize) -> usize {
    HEADER_LEN + value.next_multiple_of(4)
}

/// The attributes in `bytes` as kind and value; ends at the first that is malformed.
pub(crate) fn read(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    iter::from_fn(move || {
        let len = usize::from(u16(bytes)?);
        let kind = u16(bytes.get(2..)?)?;
        let value = bytes.get(HEADER_LEN..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & !FLAGS, value))
    })
}

/// A value that is a 16-bit number.
pub(crate) fn u16(value: &[u8]) -> Option<u16> {
    value.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// A value that is a 32-bit number.
pub(crate) fn u32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// A value that is a 64-bit number.
pub(crate) fn u64(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
}

/// A value that is a text, up to its zero.
pub(crate) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested_as_the_kernel_has_them() {
        let mut attributes = Attributes::with_capacity(64);
        attributes.put(1, &[7]);
        let nest = attributes.begin(2);
        attributes.put_text(3, "wg0");
        attributes.end(nest);
        let expected: &[u8] = &[
            5, 0, 1, 0, 7, 0, 0, 0, // one byte and three of padding
            12, 0, 2, 0x80, 8, 0, 3, 0, b'w', b'g', b'0', 0,
        ];
        if cfg!(target_endian = "little") {
            assert_eq!(attributes.bytes(), expected);
        }
        assert_eq!(attributes.bytes().len(), len(1) + len(len(4)));
        let read_back: Vec<_> = read(attributes.bytes()).collect();
        assert_eq!(read_back[0], (1, &[7][..]));
        assert_eq!(read_back[1].0, 2, "the bit for nesting is no part of the kind");
        assert_eq!(
            read(read_back[1].1).map(|(kind, value)| (kind, text(value))).next(),
            Some((3, "wg0".into()))
        );
    }

    #[test]
    fn what_is_cut_short_is_left_out() {
        for bytes in [&[][..], &[8, 0, 1, 0, 1], &[3, 0, 1, 0], &[0xff; 9]] {
            assert_eq!(read(bytes).count(), 0, "{bytes:?}");
        }
        assert_eq!((u16(&[1]), u32(&[1, 2, 3]), u64(&[0; 7])), (None, None, None));
    }
}
