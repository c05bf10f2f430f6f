//! What a peer may reach: destinations, and other peers.

mod destination;

use std::net::IpAddr;

pub use destination::{Destination, DestinationError, Ports, Traffic};

/// What one peer may reach. `None` is what the gateway says for all of its peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// The only destinations that the peer reaches beyond the gateway; an empty list is none at all, `None` everything
    /// that the gateway lets its peers reach.
    ///
    /// The gateway's own address answers DNS and pings whatever stands here. Traffic to other peers passes if
    /// `peer_to_peer` and this list both let it.
    pub destinations: Option<Vec<Destination>>,
    /// Whether the peer and other peers reach each other: it takes both peers' consent.
    pub peer_to_peer: Option<bool>,
}

/// What a packet or a flow is for, as an access rule sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// TCP to this port.
    Tcp(u16),
    /// UDP to this port.
    Udp(u16),
    /// ICMP or `ICMPv6`.
    Icmp,
    /// Another protocol.
    Other,
}

impl Access {
    /// Everything that the gateway lets its peers reach.
    pub const OPEN: Self = Self {
        destinations: None,
        peer_to_peer: None,
    };

    /// Whether nothing is said about this peer.
    pub fn is_open(&self) -> bool {
        *self == Self::OPEN
    }

    /// This peer's rules, and those of `all` where it has none of its own.
    #[must_use]
    pub fn or(&self, all: &Self) -> Self {
        Self {
            destinations: self.destinations.as_ref().or(all.destinations.as_ref()).cloned(),
            peer_to_peer: self.peer_to_peer.or(all.peer_to_peer),
        }
    }

    /// Whether the destinations have this one.
    pub fn permits(&self, destination: IpAddr, service: Service) -> bool {
        let Some(destinations) = &self.destinations else {
            return true;
        };
        destinations.iter().any(|allowed| allowed.permits(destination, service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_reaches_what_its_list_has_and_nothing_else() {
        let access = Access {
            destinations: Some(Destination::list("10.0.0.0/8, 192.0.2.1:443/tcp, [2001:db8::/32]:53").unwrap()),
            peer_to_peer: None,
        };
        // (address, service, permitted?)
        for (address, service, permitted) in [
            ("10.1.2.3", Service::Tcp(22), true),
            ("10.1.2.3", Service::Icmp, true),
            ("10.1.2.3", Service::Other, true),
            ("192.0.2.1", Service::Tcp(443), true),
            ("192.0.2.1", Service::Tcp(444), false),
            ("192.0.2.1", Service::Udp(443), false),
            ("192.0.2.1", Service::Icmp, false),
            ("192.0.2.2", Service::Tcp(443), false),
            ("2001:db8::1", Service::Udp(53), true),
            ("2001:db8::1", Service::Tcp(53), true),
            ("2001:db8::1", Service::Icmp, false),
            ("2001:db9::1", Service::Udp(53), false),
        ] {
            assert_eq!(
                access.permits(address.parse().unwrap(), service),
                permitted,
                "{address} {service:?}"
            );
        }
        let anywhere = "198.51.100.1".parse().unwrap();
        assert!(Access::OPEN.permits(anywhere, Service::Other));
        let closed = Access {
            destinations: Some(Vec::new()),
            peer_to_peer: None,
        };
        assert!(!closed.permits(anywhere, Service::Icmp));
    }

    #[test]
    fn a_peers_own_rules_stand_before_those_of_all() {
        let own = Some(Destination::list("10.0.0.1").unwrap());
        let all = Access {
            destinations: Some(Destination::list("10.0.0.2").unwrap()),
            peer_to_peer: Some(false),
        };
        let peer = Access {
            destinations: own.clone(),
            peer_to_peer: None,
        };
        let both = peer.or(&all);
        assert_eq!(both.destinations, own);
        assert_eq!(both.peer_to_peer, Some(false));
        assert_eq!(Access::OPEN.or(&all), all);
    }
}
