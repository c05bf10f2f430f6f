//! Netlink attributes, as nf_tables nests them; its numbers are big-endian.

use netlink_packet_core::NlasIterator;

/// Marks an attribute that holds attributes (`NLA_F_NESTED`).
const NESTED: u16 = 1 << 15;

/// Length of an attribute's header.
const HEADER_LEN: usize = 4;

/// Attributes that are being written, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let len = u16::try_from(HEADER_LEN + value.len()).expect("an attribute is kept below 64 KiB");
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    pub(super) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn long(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn nested(&mut self, kind: u16, inside: &Self) -> &mut Self {
        self.bytes(kind | NESTED, &inside.0)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The value of the first attribute of a kind.
pub(super) fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .find(|found| found.kind() == kind)
        .and_then(|found| value_of(found.into_inner()))
}

/// The values of all attributes.
pub(super) fn inside(attributes: &[u8]) -> impl Iterator<Item = &[u8]> {
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .filter_map(|found| value_of(found.into_inner()))
}

/// The value inside an attribute's bytes, which begin with its header.
fn value_of(attribute: &[u8]) -> Option<&[u8]> {
    let len = usize::from(u16::from_ne_bytes(*attribute.first_chunk()?));
    attribute.get(HEADER_LEN..len)
}

pub(super) fn find_text(attributes: &[u8], kind: u16) -> Option<String> {
    let bytes = find(attributes, kind)?;
    let bytes = bytes.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

pub(super) fn find_number(attributes: &[u8], kind: u16) -> Option<u32> {
    Some(u32::from_be_bytes(find(attributes, kind)?.try_into().ok()?))
}

pub(super) fn find_long(attributes: &[u8], kind: u16) -> Option<u64> {
    Some(u64::from_be_bytes(find(attributes, kind)?.try_into().ok()?))
}

/// A comment as `nft` keeps it beside a rule or a table: a type of 0, a length, the text and a zero.
pub(super) fn comment(text: &str) -> Vec<u8> {
    const COMMENT: u8 = 0;
    // As long as nft's own may be.
    let text = text.get(..text.len().min(127)).unwrap_or_default();
    let len = u8::try_from(text.len() + 1).expect("it was cut");
    let mut bytes = vec![COMMENT, len];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// Reads what [`comment`] writes.
pub(super) fn read_comment(userdata: &[u8]) -> Option<String> {
    let [0, len, rest @ ..] = userdata else { return None };
    let text = rest.get(..usize::from(*len))?;
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_again() {
        let mut inside = Attributes::default();
        inside.number(1, 7).text(2, "wg0").long(3, 1 << 40);
        let mut outside = Attributes::default();
        outside.bytes(5, &[1, 2, 3]).nested(6, &inside);
        let bytes = outside.as_bytes();
        assert_eq!(find(bytes, 5), Some(&[1, 2, 3][..]));
        let nested = find(bytes, 6).unwrap();
        assert_eq!(find_number(nested, 1), Some(7));
        assert_eq!(find_text(nested, 2).as_deref(), Some("wg0"));
        assert_eq!(find_long(nested, 3), Some(1 << 40));
        assert_eq!(find(nested, 4), None);
        assert_eq!(read_comment(&comment("adit wg0")).as_deref(), Some("adit wg0"));
    }
}
