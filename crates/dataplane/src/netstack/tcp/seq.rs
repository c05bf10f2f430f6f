//! Sequence numbers, which wrap.

use std::ops::{Add, Sub};

/// A position in one direction of a connection, modulo 2³² (RFC 9293 3.4).
///
/// Deliberately not `Ord`: "before" holds only between numbers less than 2³¹ apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// Whether this position comes before `other`.
    #[inline]
    pub const fn is_before(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() < 0
    }

    /// Whether this position comes after `other`.
    #[inline]
    pub const fn is_after(self, other: Self) -> bool {
        other.is_before(self)
    }

    /// Bytes from `earlier` to this position; zero if `earlier` comes later.
    #[inline]
    pub const fn since(self, earlier: Self) -> u32 {
        if self.is_before(earlier) {
            0
        } else {
            self.0.wrapping_sub(earlier.0)
        }
    }

    /// The later of two positions.
    #[inline]
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if self.is_before(other) { other } else { self }
    }

    /// The earlier of two positions.
    #[inline]
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if self.is_before(other) { self } else { other }
    }
}

impl Add<u32> for Seq {
    type Output = Self;

    #[inline]
    fn add(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl Sub<u32> for Seq {
    type Output = Self;

    #[inline]
    fn sub(self, bytes: u32) -> Self {
        Self(self.0.wrapping_sub(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_across_the_wrap() {
        // (a, b, a before b?, b since a)
        for (a, b, before, since) in [
            (0, 1, true, 1),
            (1, 0, false, 0),
            (7, 7, false, 0),
            (u32::MAX, 0, true, 1),
            (u32::MAX - 9, 10, true, 20),
            (10, u32::MAX - 9, false, 0),
        ] {
            assert_eq!(Seq(a).is_before(Seq(b)), before, "{a} {b}");
            assert_eq!(Seq(b).since(Seq(a)), since, "{a} {b}");
        }
        assert_eq!(Seq(u32::MAX) + 2, Seq(1));
        assert_eq!(Seq(1) - 2, Seq(u32::MAX));
        assert_eq!(Seq(u32::MAX).max(Seq(3)), Seq(3));
        assert_eq!(Seq(u32::MAX).min(Seq(3)), Seq(u32::MAX));
    }
}
