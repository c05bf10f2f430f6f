//! What was dropped, and why.

crate::tally::tally! {
    /// Datagrams and packets that were dropped, by cause, since the engine was made.
    pub struct Counters {
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
        /// Initiations whose sender's key belongs to no peer.
        unknown_peers,
        /// Initiations and responses that do not open.
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
}
