//! What was dropped, and why.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Datagrams and packets that were dropped, by cause, since the engine was made.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The counters as they are counted.
        #[derive(Debug, Default)]
        pub(crate) struct Tally {
            $(pub(crate) $name: Count,)*
        }

        impl Tally {
            pub(crate) fn counters(&self) -> Counters {
                Counters { $($name: self.$name.0.load(Relaxed),)* }
            }
        }

        impl Counters {
            /// Each counter with its name, for metrics.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Datagrams whose type or length is no WireGuard message's.
    malformed_datagrams,
    /// Messages that name a session or handshake that is not here.
    unknown_index,
    /// Data messages that do not open: forged, damaged, or sealed with other keys.
    forged_data,
    /// Data messages that were received before, or are too old to tell.
    replayed_data,
    /// Data messages of a session that is past its time.
    expired_session,
    /// Handshake messages whose mac1 is wrong: the sender does not know this host's public key.
    wrong_mac1,
    /// Handshake messages under load that were answered with a cookie.
    cookies_sent,
    /// Handshake messages under load from a source that sends too many.
    rate_limited,
    /// Initiations and responses that do not open, or come from nobody known.
    forged_handshakes,
    /// Initiations that are not newer than the last from the same peer.
    replayed_handshakes,
    /// Initiations that follow the last from the same peer too closely.
    flooded_handshakes,
    /// Cookie replies that do not open.
    forged_cookies,
    /// Handshake messages that arrived while the interface had no private key.
    no_identity,
    /// Inner packets that are neither IPv4 nor IPv6, or whose length is not what arrived.
    malformed_packets,
    /// Inner packets from an address that is not this peer's.
    spoofed_sources,
    /// Packets to a peer whose endpoint is not known.
    no_endpoint,
    /// Packets that are too long for a datagram.
    oversized_packets,
    /// Packets that waited for a handshake and had to go, for newer ones or because nobody answered.
    unsent_packets,
    /// Packets to or from a peer that was removed.
    removed_peer,
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: usize) {
        if n > 0 {
            self.0.fetch_add(n as u64, Relaxed);
        }
    }

    pub(crate) fn bump(&self) {
        self.add(1);
    }
}
