//! Disjoint stretches of sequence numbers: what came early, or what the peer holds.

use super::{Seq, segment::Block};

/// How many stretches a set holds; a peer that makes more holes than this is not helped to remember them.
const MOST: usize = 1024;

/// A sorted set of disjoint stretches that all lie within 2³¹ of each other.
#[derive(Debug, Default)]
pub(super) struct Ranges(Vec<Block>);

impl Ranges {
    /// Adds `block`, melting it with what it touches; false if the set is full.
    pub(super) fn insert(&mut self, block: Block) -> bool {
        let (start, end) = block;
        if !start.is_before(end) {
            return true;
        }
        let first = self.0.partition_point(|&(_, known_end)| known_end.is_before(start));
        let last = self.0.partition_point(|&(known_start, _)| !known_start.is_after(end));
        if first == last {
            if self.0.len() >= MOST {
                return false;
            }
            self.0.insert(first, block);
        } else {
            self.0[first] = (start.min(self.0[first].0), end.max(self.0[last - 1].1));
            self.0.drain(first + 1..last);
        }
        true
    }

    /// Whether `block` could be added.
    pub(super) fn has_room_for(&self, (start, end): Block) -> bool {
        self.0.len() < MOST
            || self
                .0
                .iter()
                .any(|&(from, to)| !start.is_after(to) && !from.is_after(end))
    }

    /// Forgets everything before `seq`.
    pub(super) fn remove_before(&mut self, seq: Seq) {
        let gone = self.0.partition_point(|&(_, end)| !end.is_after(seq));
        self.0.drain(..gone);
        if let Some(first) = self.0.first_mut() {
            first.0 = first.0.max(seq);
        }
    }

    /// The stretch that holds `seq`.
    pub(super) fn around(&self, seq: Seq) -> Option<Block> {
        let at = self.0.partition_point(|&(_, end)| !end.is_after(seq));
        self.0.get(at).copied().filter(|&(start, _)| !start.is_after(seq))
    }

    /// The first part of `block` that is not in the set.
    pub(super) fn gap(&self, (start, end): Block) -> Option<Block> {
        let start = self.around(start).map_or(start, |(_, known_end)| known_end);
        let next = self
            .0
            .get(self.0.partition_point(|&(known_start, _)| !known_start.is_after(start)));
        let end = next.map_or(end, |&(known_start, _)| end.min(known_start));
        start.is_before(end).then_some((start, end))
    }

    /// The stretches in order.
    pub(super) fn as_slice(&self) -> &[Block] {
        &self.0
    }

    /// Empties the set and gives its memory back.
    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_set_of_ranges_is_a_set_of_numbers(
            base in any::<u32>(),
            steps in prop::collection::vec((0_u32..200, 0_u32..40, any::<bool>()), 0..60),
        ) {
            let mut ranges = Ranges::default();
            let mut model = [false; 300];
            let mut floor = 0;
            let block = |from: u32, to: u32| (Seq(base) + from, Seq(base) + to);
            for (start, len, add) in steps {
                if add && start >= floor {
                    prop_assert!(ranges.insert(block(start, start + len)));
                    model[start as usize..(start + len) as usize].fill(true);
                } else if !add {
                    floor = floor.max(start);
                    ranges.remove_before(Seq(base) + start);
                    model[..start as usize].fill(false);
                }
                let mut from = 0;
                for &(start, end) in ranges.as_slice() {
                    prop_assert!(start.is_before(end));
                    let (start, end) = (start.since(Seq(base)) as usize, end.since(Seq(base)) as usize);
                    prop_assert!(start > from || from == 0, "neighbours are melted");
                    prop_assert!(model[from..start].iter().all(|&held| !held));
                    prop_assert!(model[start..end].iter().all(|&held| held));
                    from = end;
                }
                prop_assert!(model[from..].iter().all(|&held| !held));
                let gap = ranges.gap(block(0, 300)).map(|(start, end)| {
                    (start.since(Seq(base)) as usize, end.since(Seq(base)) as usize)
                });
                let expected = model.iter().position(|&held| !held).map(|start| {
                    (start, model[start..].iter().position(|&held| held).map_or(300, |len| start + len))
                });
                prop_assert_eq!(gap, expected);
            }
        }
    }

    #[test]
    fn a_full_set_takes_only_what_touches_it() {
        let mut ranges = Ranges::default();
        for n in 0..2000 {
            let block = (Seq(n * 4), Seq(n * 4 + 1));
            assert_eq!(ranges.has_room_for(block), n < 1024);
            assert_eq!(ranges.insert(block), n < 1024);
        }
        assert!(ranges.has_room_for((Seq(1), Seq(3))));
        assert!(ranges.insert((Seq(1), Seq(3))));
    }
}
