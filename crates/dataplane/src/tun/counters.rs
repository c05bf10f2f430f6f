//! What the plane counts.

crate::tally::tally! {
    /// Packets that the plane dropped, by cause; see also those of the engine and of the sockets.
    pub struct Counters {
        /// Read from the device: no peer has the destination.
        no_peer,
        /// Read from the device: no IP packet.
        malformed,
        /// From a peer: the device did not take it, mostly because it is down.
        undelivered,
    }
}
