//! Counters that any thread may count, and the numbers that are read from them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares `Counters`, the numbers as they are read, and `Tally`, the same while they are counted.
macro_rules! tally {
    ($(#[$about:meta])* pub struct Counters { $($(#[$doc:meta])* $name:ident,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Each counter's name and number, in a fixed order, as for a metrics page.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }

        /// The counters while they count.
        #[derive(Debug, Default)]
        pub(crate) struct Tally {
            $(pub(crate) $name: $crate::tally::Count,)*
        }

        impl Tally {
            /// The numbers at this moment.
            pub(crate) fn counters(&self) -> Counters {
                Counters { $($name: self.$name.value(),)* }
            }
        }
    };
}

pub(crate) use tally;

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// One more.
    pub(crate) fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Some more, without touching the counter if that is none.
    pub(crate) fn add(&self, count: usize) {
        if count > 0 {
            self.0.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// One less, of a gauge.
    pub(crate) fn less(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
