//! What the plane counts: flows, and drops by their reason.

crate::tally::tally! {
    /// Counts since the plane was started, but for the gauges `tcp_flows`, `udp_flows` and `echo_flows`.
    pub struct Counters {
        /// TCP flows that live, those being dialled among them.
        tcp_flows,
        /// UDP flows that live.
        udp_flows,
        /// Echo flows that live.
        echo_flows,
        /// TCP flows that were connected.
        tcp_opened,
        /// UDP flows that were opened.
        udp_opened,
        /// Echo flows that were opened.
        echo_opened,
        /// TCP flows that the destination refused.
        tcp_refused,
        /// TCP flows whose destination could not be reached.
        tcp_unreachable,
        /// Packets passed from one peer to another.
        forwarded,
        /// Dropped: headers that make no sense.
        malformed,
        /// Dropped: wrong checksums.
        bad_checksum,
        /// Dropped: sources that no host can have.
        bad_source,
        /// Dropped: destinations that no host can have.
        bad_destination,
        /// Dropped and told: protocols other than TCP, UDP and echo.
        unsupported,
        /// Dropped and told: destinations that the policy forbids.
        prohibited,
        /// Dropped and told: addresses of the tunnel's network that no peer has.
        no_peer,
        /// Dropped and told: used-up hop limits.
        hop_limit_exceeded,
        /// Dropped: segments and messages that belong to no flow.
        no_flow,
        /// Dropped: fragments that overlap or contradict each other.
        fragments_rejected,
        /// Dropped: packets whose fragments did not all come in time.
        fragments_timed_out,
        /// Dropped: unfinished packets, for want of room.
        fragments_evicted,
        /// Dropped: TCP flows over the peer's limit.
        tcp_limit,
        /// Dropped: TCP flows over the peer's limit of those being dialled.
        half_open_limit,
        /// Dropped: UDP flows over the peer's limit.
        udp_limit,
        /// Dropped: echo flows over the peer's limit.
        echo_limit,
        /// Dropped: flows over the peer's share of descriptors.
        share_limit,
        /// Dropped: flows that the system had no descriptor, port or memory for.
        system_limit,
        /// Times that a TCP flow had to wait, the peer's share of memory being used up.
        memory_limit,
        /// Dropped and told: echo requests, ping sockets being denied.
        echo_denied,
        /// Dropped: datagrams that the system could not take on.
        outside_full,
        /// Dropped and told: datagrams longer than the path outside takes.
        too_big,
        /// Dropped and told: datagrams whose destination could not be reached.
        unreachable,
    }
}
