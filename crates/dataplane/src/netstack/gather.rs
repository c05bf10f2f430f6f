//! Datagrams of one flow that wait for the end of a batch, to go out in as few system calls as they fit into.

use crate::buffer::{MAX_RUN_LEN, MAX_SEGMENTS};

/// Most buffers that are kept for the next batch: 4 MiB if all were full.
const MAX_SPARE: usize = 64;

/// Datagrams, end to end.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    lens: Vec<u16>,
}

/// Buffers that nobody uses.
#[derive(Debug, Default)]
pub(super) struct Spare(Vec<Gathered>);

impl Gathered {
    /// Whether one more datagram of this length still fits.
    pub(super) fn has_room_for(&self, len: usize) -> bool {
        self.lens.len() < MAX_SEGMENTS && self.bytes.len() + len <= MAX_RUN_LEN
    }

    /// Adds a datagram; one that no datagram can be as long as is cut.
    pub(super) fn push(&mut self, payload: &[u8]) {
        let len = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&payload[..len.into()]);
        self.lens.push(len);
    }

    /// The datagrams in order, in stretches of equal length, the last of which may be shorter: their bytes, and the
    /// length. An empty datagram stands alone.
    pub(super) fn stretches(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let (mut rest, mut lens) = (&*self.bytes, &*self.lens);
        std::iter::from_fn(move || {
            let first = *lens.first()?;
            let equal = lens.iter().take_while(|len| **len == first).count();
            let shorter = lens.get(equal).filter(|len| (1..first).contains(*len));
            let count = if first == 0 {
                1
            } else {
                equal + usize::from(shorter.is_some())
            };
            let (these, after) = lens.split_at(count);
            let (bytes, rest_after) = rest.split_at(these.iter().map(|len| usize::from(*len)).sum());
            (rest, lens) = (rest_after, after);
            Some((bytes, first.into()))
        })
    }
}

impl Spare {
    /// An empty buffer.
    pub(super) fn take(&mut self) -> Gathered {
        self.0.pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(super) fn give(&mut self, mut gathered: Gathered) {
        if self.0.len() < MAX_SPARE {
            gathered.bytes.clear();
            gathered.lens.clear();
            self.0.push(gathered);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_what_one_call_can_send() {
        for (lens, expected) in [
            (&[5][..], &[(5, 5)][..]),
            (&[5, 5, 5], &[(15, 5)]),
            (&[5, 5, 3], &[(13, 5)]),
            (&[5, 5, 3, 3], &[(13, 5), (3, 3)]),
            (&[3, 5], &[(3, 3), (5, 5)]),
            (&[0, 0, 4, 0, 4], &[(0, 0), (0, 0), (4, 4), (0, 0), (4, 4)]),
            (&[], &[]),
        ] {
            let mut gathered = Gathered::default();
            for (number, len) in (0..).zip(lens) {
                gathered.push(&vec![number; *len]);
            }
            let found: Vec<_> = gathered
                .stretches()
                .map(|(bytes, segment)| (bytes.len(), segment))
                .collect();
            assert_eq!(found, expected, "{lens:?}");
            let bytes: Vec<u8> = gathered.stretches().flat_map(|(bytes, _)| bytes.to_vec()).collect();
            assert_eq!(bytes, gathered.bytes);
        }
    }

    #[test]
    fn there_is_room_for_what_one_call_takes() {
        let mut gathered = Gathered::default();
        for _ in 0..MAX_SEGMENTS {
            assert!(gathered.has_room_for(1000));
            gathered.push(&[0; 1000]);
        }
        assert!(!gathered.has_room_for(0));
        let mut spare = Spare::default();
        spare.give(gathered);
        let mut gathered = spare.take();
        gathered.push(&[1; 65_000]);
        assert!(gathered.has_room_for(507) && !gathered.has_room_for(508));
        assert_eq!(gathered.stretches().count(), 1);
    }
}
