//! Which holder's tunnel goes to which endpoint.
//!
//! Docker asks for an address first, then makes an endpoint with it, and calls neither by the other's name. Two tunnels of
//! one pool may have the same address; whoever comes first gets the older: they were asked for alike. Pure: `now` is an
//! argument.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use super::Endpoint;

/// How long a tunnel waits for its endpoint: Docker makes it at once, unless it has failed.
const WAIT: Duration = Duration::from_secs(60);

/// An address of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pool: Ipv4Addr,
    pub(super) address: Ipv4Addr,
}

/// A tunnel that waits for its endpoint.
#[derive(Debug)]
struct Waiting {
    holder: String,
    place: Place,
    since: Instant,
}

/// A tunnel that has one.
#[derive(Debug)]
struct Held {
    endpoint: Endpoint,
    /// The place that Docker will give back; `None` if the address is Docker's own.
    place: Option<Place>,
}

/// All tunnels.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The oldest first.
    waiting: Vec<Waiting>,
    held: BTreeMap<String, Held>,
    /// Places whose endpoint is gone, and which Docker is yet to give back.
    owed: Vec<Place>,
}

/// An endpoint's place is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LedgerError {
    /// No tunnel with this address waits.
    #[error(
        "no tunnel with the address {0} is reserved: adit attach was started anew meanwhile; start the container again"
    )]
    NotReserved(Ipv4Addr),
    /// Docker speaks of an endpoint that it did not make.
    #[error(
        "no tunnel is reserved for the endpoint {0}: adit attach was started anew meanwhile; start the container again"
    )]
    NoEndpoint(String),
    /// A container has one tunnel.
    #[error("the container has a tunnel already, by the network {0}: leave one of the two networks out")]
    Second(String),
}

impl Ledger {
    /// Notes a tunnel that waits for its endpoint.
    pub(super) fn reserve(&mut self, holder: String, place: Place, now: Instant) {
        self.waiting.push(Waiting {
            holder,
            place,
            since: now,
        });
    }

    /// Gives an endpoint the tunnel that waits with this address.
    pub(super) fn claim(&mut self, network: &str, id: &str, place: Place) -> Result<(), LedgerError> {
        let found = self.waiting.iter().position(|waiting| waiting.place == place);
        let holder = match found {
            Some(index) => self.waiting.remove(index).holder,
            None => return Err(LedgerError::NotReserved(place.address)),
        };
        self.insert(network, id, holder, Some(place));
        Ok(())
    }

    /// Notes an endpoint whose address is Docker's own; its tunnel is held by its own ID.
    pub(super) fn hold(&mut self, network: &str, id: &str) {
        self.insert(network, id, id.to_owned(), None);
    }

    /// Notes an endpoint of before, unless it is known.
    pub(super) fn adopt(&mut self, endpoint: Endpoint) {
        let id = endpoint.id.clone();
        self.held.entry(id).or_insert(Held { endpoint, place: None });
    }

    fn insert(&mut self, network: &str, id: &str, holder: String, place: Option<Place>) {
        let endpoint = Endpoint {
            network: network.to_owned(),
            id: id.to_owned(),
            holder,
            sandbox: String::new(),
        };
        self.held.insert(id.to_owned(), Held { endpoint, place });
    }

    /// Notes that an endpoint is put into a container.
    pub(super) fn join(&mut self, id: &str, sandbox: &str) -> Result<Endpoint, LedgerError> {
        let mut others = self.held.values().filter(|held| held.endpoint.id != id);
        if let Some(other) = others.find(|held| held.endpoint.sandbox == sandbox) {
            return Err(LedgerError::Second(other.endpoint.network.clone()));
        }
        let held = self.held.get_mut(id);
        let held = held.ok_or_else(|| LedgerError::NoEndpoint(id.to_owned()))?;
        sandbox.clone_into(&mut held.endpoint.sandbox);
        Ok(held.endpoint.clone())
    }

    /// Notes that an endpoint was taken out of its container, and gives it as it was.
    pub(super) fn leave(&mut self, network: &str, id: &str) -> Endpoint {
        match self.held.get_mut(id) {
            Some(held) => {
                let before = held.endpoint.clone();
                held.endpoint.sandbox.clear();
                before
            }
            None => Endpoint {
                network: network.to_owned(),
                id: id.to_owned(),
                holder: id.to_owned(),
                sandbox: String::new(),
            },
        }
    }

    /// Forgets an endpoint, and gives the holder whose tunnel is over.
    pub(super) fn end(&mut self, id: &str) -> String {
        let Some(held) = self.held.remove(id) else {
            return id.to_owned();
        };
        self.owed.extend(held.place);
        held.endpoint.holder
    }

    /// Takes a place back. Gives the holder whose tunnel is over if no endpoint was ever made with it.
    pub(super) fn give_back(&mut self, place: Place) -> Option<String> {
        if let Some(index) = self.owed.iter().position(|owed| *owed == place) {
            self.owed.remove(index);
            return None;
        }
        let index = self.waiting.iter().position(|waiting| waiting.place == place)?;
        Some(self.waiting.remove(index).holder)
    }

    /// Forgets tunnels whose endpoint has not come in time, and gives their holders.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<String> {
        let late = self
            .waiting
            .extract_if(.., |waiting| now.duration_since(waiting.since) >= WAIT);
        late.map(|waiting| waiting.holder).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: Ipv4Addr = Ipv4Addr::new(240, 0, 0, 1);

    fn place(last: u8) -> Place {
        Place {
            pool: POOL,
            address: Ipv4Addr::new(10, 0, 0, last),
        }
    }

    #[test]
    fn an_address_leads_to_its_tunnel() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        for (holder, last) in [("a", 1), ("b", 2), ("c", 1)] {
            ledger.reserve(holder.to_owned(), place(last), now);
        }
        // (endpoint, address, holder); the older of two with the same address comes first.
        for (id, last, holder) in [("e2", 2, "b"), ("e1", 1, "a"), ("e3", 1, "c")] {
            ledger.claim("n", id, place(last)).unwrap();
            let endpoint = ledger.join(id, id).unwrap();
            assert_eq!(endpoint.holder, holder);
        }
        let other = Place {
            pool: Ipv4Addr::new(240, 0, 0, 2),
            ..place(1)
        };
        ledger.reserve("d".to_owned(), other, now);
        assert_eq!(
            ledger.claim("n", "e4", place(1)),
            Err(LedgerError::NotReserved(place(1).address)),
            "another pool's is none of this one's"
        );
    }

    #[test]
    fn a_tunnel_is_given_back_once() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.reserve("a".to_owned(), place(1), now);
        ledger.claim("n", "e", place(1)).unwrap();
        // Another container is about to start with the same address while the first one ends.
        ledger.reserve("b".to_owned(), place(1), now);
        assert_eq!(ledger.end("e"), "a");
        assert_eq!(ledger.give_back(place(1)), None, "this was the first one's");
        assert_eq!(ledger.give_back(place(1)).as_deref(), Some("b"), "no endpoint was made");
        assert_eq!(ledger.give_back(place(1)), None);
    }

    #[test]
    fn a_tunnel_waits_a_minute_for_its_endpoint() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        ledger.reserve("a".to_owned(), place(1), start);
        ledger.reserve("b".to_owned(), place(2), start + Duration::from_secs(30));
        ledger.reserve("c".to_owned(), place(3), start);
        ledger.claim("n", "e", place(3)).unwrap();
        // (seconds, holders)
        for (at, expected) in [(59, &[][..]), (60, &["a"]), (89, &[]), (90, &["b"]), (900, &[])] {
            assert_eq!(ledger.expire(start + Duration::from_secs(at)), expected, "{at}");
        }
    }

    #[test]
    fn a_container_has_one_tunnel() {
        let mut ledger = Ledger::default();
        ledger.hold("n1", "e1");
        ledger.hold("n2", "e2");
        assert_eq!(ledger.join("e1", "s").unwrap().holder, "e1");
        assert_eq!(ledger.join("e2", "s"), Err(LedgerError::Second("n1".to_owned())));
        assert_eq!(ledger.leave("n1", "e1").sandbox, "s");
        assert!(ledger.join("e2", "s").is_ok());
        assert!(matches!(ledger.join("e3", "t"), Err(LedgerError::NoEndpoint(_))));
    }

    #[test]
    fn endpoints_of_before_are_told_or_guessed() {
        let mut ledger = Ledger::default();
        let endpoint = Endpoint {
            network: "n".to_owned(),
            id: "e".to_owned(),
            holder: "h".to_owned(),
            sandbox: "s".to_owned(),
        };
        ledger.adopt(endpoint.clone());
        ledger.hold("n", "f");
        ledger.adopt(Endpoint {
            id: "f".to_owned(),
            ..endpoint.clone()
        });
        assert_eq!(ledger.leave("n", "e"), endpoint);
        assert_eq!(ledger.end("e"), "h");
        assert_eq!(ledger.end("f"), "f", "what is known is left alone");
        assert_eq!(ledger.leave("n", "g").holder, "g");
        assert_eq!(ledger.end("g"), "g");
    }
}
