//! What the sockets count.

use rustix::io::Errno;

crate::tally::tally! {
    /// Datagrams that went another way than asked, by cause.
    pub struct Counters {
        /// Dropped: the socket or the interface had no room.
        full,
        /// Dropped: no route, no such family here, or the network said so.
        unreachable,
        /// Dropped: a firewall of this host refuses them (`EPERM`).
        forbidden,
        /// Dropped: refused for another reason.
        failed,
        /// Received and dropped: longer than a slot.
        oversized,
        /// Sent from another address of this host than the peer was heard at, since that one has gone.
        source_lost,
    }
}

impl Tally {
    /// Counts datagrams that the kernel refused.
    pub(super) fn dropped(&self, error: Errno, datagrams: usize) {
        let counter = match error {
            Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => &self.full,
            Errno::NETUNREACH
            | Errno::HOSTUNREACH
            | Errno::NETDOWN
            | Errno::CONNREFUSED
            | Errno::ADDRNOTAVAIL
            | Errno::AFNOSUPPORT => &self.unreachable,
            Errno::PERM | Errno::ACCESS => &self.forbidden,
            _ => &self.failed,
        };
        counter.add(datagrams);
    }
}
