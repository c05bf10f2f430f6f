//! What is wished of a lease while it lives: more time, an end, other peers.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    Adopt, Caller, Inner, Launcher, Refusal,
    driver::{Decide, Wish},
};
use crate::{
    Lease, LeaseId, State,
    lease::Event,
    order::{Invalid, PeerRequest, check_peers},
    store::Limit,
};

impl Launcher {
    /// Lets a lease live longer.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub async fn extend(&self, caller: &Caller, id: LeaseId, by: Duration) -> Result<Lease, Refusal> {
        self.check_minutes(caller, id, by).await?;
        let most = self.0.config.policy.max_lifetime.as_secs();
        let decide = move |lease: &Lease| {
            let secs = lease.granted_secs.saturating_add(by.as_secs());
            if by.as_secs() == 0 || secs > most {
                let left = most.saturating_sub(lease.granted_secs);
                return Err(Refusal::Invalid(Invalid {
                    field: "by_secs".to_owned(),
                    problem: format!("must be between 1 and {left} seconds: a lease lives {most} seconds at most"),
                }));
            }
            Ok(Some(Event::Extend(by)))
        };
        self.wish(caller, id, Box::new(decide)).await
    }

    /// Ends a lease. One that is over already stays as it is.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub async fn end(&self, caller: &Caller, id: LeaseId) -> Result<Lease, Refusal> {
        match self.wish(caller, id, Box::new(|_| Ok(Some(Event::End)))).await {
            Err(Refusal::Over) => self.find(caller, id).await,
            result => result,
        }
    }

    /// Lets another peer in. The same peer again changes nothing.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub async fn add_peer(&self, caller: &Caller, id: LeaseId, peer: &PeerRequest) -> Result<Lease, Refusal> {
        let peer = peer.clone();
        let inner = Arc::clone(&self.0);
        let decide = move |lease: &Lease| {
            inner.check_peers_change(lease)?;
            adding(lease, &peer)
        };
        self.wish(caller, id, Box::new(decide)).await
    }

    /// Gives a peer another key: its client has lost the private one. Name and addresses stay.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub async fn replace_key(
        &self,
        caller: &Caller,
        id: LeaseId,
        name: &str,
        public_key: wg::PublicKey,
    ) -> Result<Lease, Refusal> {
        let name = name.to_owned();
        let decide = move |lease: &Lease| replacing_key(lease, &name, public_key);
        self.wish(caller, id, Box::new(decide)).await
    }

    /// Lets a peer in no more.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub async fn remove_peer(&self, caller: &Caller, id: LeaseId, name: &str) -> Result<Lease, Refusal> {
        let name = name.to_owned();
        let inner = Arc::clone(&self.0);
        let decide = move |lease: &Lease| {
            let event = removing(lease, &name)?;
            inner.check_peers_change(lease)?;
            Ok(event)
        };
        self.wish(caller, id, Box::new(decide)).await
    }

    /// Whether its owner may have so much more in 24 hours.
    async fn check_minutes(&self, caller: &Caller, id: LeaseId, by: Duration) -> Result<(), Refusal> {
        let Some(most) = self.0.config.policy.minutes_a_day else {
            return Ok(());
        };
        let owner = self.find(caller, id).await?.owner;
        let as_owner = Caller {
            owner: owner.clone(),
            ..caller.clone()
        };
        let usage = self.usage(&as_owner, Some(&owner)).await?;
        let used = usage
            .iter()
            .find(|usage| usage.owner == owner)
            .map_or(0, |usage| usage.minutes);
        let left = u64::from(most).saturating_sub(used);
        if by.as_secs().div_ceil(60) > left {
            let message = Limit::Minutes { most, left }.to_string();
            return Err(Refusal::Limit {
                message,
                retry_after: None,
            });
        }
        Ok(())
    }

    /// Lets the lease's driver decide, who alone changes it.
    pub(super) async fn wish(&self, caller: &Caller, id: LeaseId, decide: Decide) -> Result<Lease, Refusal> {
        self.0.check_running()?;
        self.find(caller, id).await?;
        let wishes = match self.wishes_of(id) {
            None => {
                self.take_over(id).await?;
                self.wishes_of(id)
            }
            wishes => wishes,
        };
        let decide = Box::new(move |lease: &Lease| {
            if lease.state.is_running() {
                decide(lease)
            } else {
                Err(Refusal::Over)
            }
        });
        let (reply, answer) = oneshot::channel();
        let sent = match wishes {
            Some(wishes) => {
                let wish = Wish {
                    request_id: caller.request_id.clone(),
                    decide,
                    reply,
                };
                wishes.send(wish).await.is_ok()
            }
            None => false,
        };
        let over = || {
            if *self.0.stop.borrow() {
                Refusal::Stopping
            } else {
                Refusal::Over
            }
        };
        if !sent {
            return Err(over());
        }
        answer.await.map_err(|_| over())?
    }
}

/// What lets a peer in; `None` if it is there already.
///
/// # Errors
///
/// [`Refusal::Invalid`].
pub fn adding(lease: &Lease, peer: &PeerRequest) -> Result<Option<Event>, Refusal> {
    if lease
        .peer(&peer.name)
        .is_some_and(|there| there.name == peer.name && there.public_key == peer.public_key)
    {
        return Ok(None);
    }
    let there = lease.peers.iter().map(|peer| PeerRequest {
        name: peer.name.clone(),
        public_key: peer.public_key.filter(|_| !lease.makes_keys()),
    });
    let all: Vec<PeerRequest> = there.chain([peer.clone()]).collect();
    let last = format!("peers[{}].", all.len() - 1);
    check_peers(&all, lease.order.keys).map_err(|invalid| Invalid {
        field: invalid
            .field
            .strip_prefix(&last)
            .map_or(invalid.field.clone(), str::to_owned),
        ..invalid
    })?;
    Ok(Some(Event::AddPeer(peer.clone())))
}

/// What gives a peer another key; `None` if it has that already.
///
/// # Errors
///
/// [`Refusal`].
pub fn replacing_key(lease: &Lease, name: &str, public_key: wg::PublicKey) -> Result<Option<Event>, Refusal> {
    let peer = lease.peer(name).ok_or(Refusal::NoPeer)?;
    if lease.makes_keys() {
        return Err(Refusal::Conflict {
            code: "keys_on_gateway",
            message: "the gateway makes the keys of this lease; remove the peer and add it anew".to_owned(),
        });
    }
    if peer.public_key == Some(public_key) {
        return Ok(None);
    }
    if lease.peers.iter().any(|other| other.public_key == Some(public_key)) {
        return Err(Refusal::Invalid(Invalid {
            field: "public_key".to_owned(),
            problem: "another peer has this key; every device has its own".to_owned(),
        }));
    }
    Ok(Some(Event::ReplaceKey(peer.name.clone(), public_key)))
}

/// What lets a peer in no more.
///
/// # Errors
///
/// [`Refusal`].
pub fn removing(lease: &Lease, name: &str) -> Result<Option<Event>, Refusal> {
    match lease.peer(name) {
        None => Err(Refusal::NoPeer),
        Some(_) if lease.peers.len() == 1 => Err(Refusal::Conflict {
            code: "last_peer",
            message: "it is the only peer; end the lease instead".to_owned(),
        }),
        Some(peer) => Ok(Some(Event::RemovePeer(peer.name.clone()))),
    }
}

impl Launcher {
    fn wishes_of(&self, id: LeaseId) -> Option<mpsc::Sender<Wish>> {
        let living = self.0.living.read().unwrap_or_else(PoisonError::into_inner);
        living.get(&id).map(|(_, wishes)| wishes.clone())
    }

    /// Drives a lease of this store that is not over, if nobody does.
    async fn take_over(&self, id: LeaseId) -> Result<(), Refusal> {
        if self.0.config.adopt != Adopt::All {
            return Ok(());
        }
        let store = Arc::clone(&self.0.store);
        let found = self.0.blocking(move || store.read(id)).await?;
        if let Some(mut lease) = found.filter(|lease| lease.state != State::Removed) {
            lease.recover(self.0.clock.now());
            self.0.drive(lease, None);
        }
        Ok(())
    }
}

impl Inner {
    /// Whether peers may come and go at the lease's place.
    fn check_peers_change(&self, lease: &Lease) -> Result<(), Refusal> {
        let place = self.descriptions.iter().find(|place| place.name == lease.order.place);
        if place.is_some_and(|place| !place.takes_public_keys) {
            return Err(Refusal::Conflict {
                code: "peers_fixed",
                message: format!(
                    "gateways of the place `{}` keep the peers that they were made for; launch another",
                    lease.order.place
                ),
            });
        }
        Ok(())
    }
}
