//! One link as a host keeps it: its keys, its members, its tokens; and what follows from them.
//!
//! Pure: time and random bytes are arguments.

use std::{
    collections::BTreeMap,
    net::{Ipv6Addr, SocketAddr},
};

use serde::{Deserialize, Serialize};
use wg::{Device, Endpoint, IpNet, Ipv4Net, Peer, PrivateKey, PublicKey};

use crate::{
    HostName, LinkName, Token,
    addresses::{Addresses, PoolError},
    exchange::{Registered, Registration, Sync, Synced},
    invitation::{Invitation, State},
    members::Members,
    record::{Listed, Record, Removal},
    secret::Secret,
    text,
    token::MAX_ENDPOINTS,
};

/// How long a token may be used unless it is told otherwise, in seconds.
pub const LIFETIME: u64 = 600;

/// Most tokens at once.
const MAX_INVITATIONS: usize = 32;

/// Seconds between keepalives: mappings of NAT last 30 s at least (*RFC 4787, REQ-5* asks for more, few routers do).
const KEEPALIVE: u16 = 25;

/// How a host takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whether there is no Docker network, and the link's addresses are the host's own.
    #[serde(default)]
    pub plain: bool,
    /// Whether containers have the link only, and no way to the Internet beside it.
    #[serde(default)]
    pub internal: bool,
}

/// What was switched on under `/proc/sys`, to be switched off again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// Forwarding of IPv4.
    #[serde(default)]
    pub ipv4: bool,
    /// Forwarding of IPv6.
    #[serde(default)]
    pub ipv6: bool,
    /// Interfaces that were told to go on learning routes from routers.
    #[serde(default)]
    pub learning: Vec<String>,
}

/// A link, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Link {
    /// Its name.
    pub name: LinkName,
    /// Its addresses.
    pub addresses: Addresses,
    /// The UDP port of its tunnel on this host.
    pub port: u16,
    /// How this host takes part.
    pub settings: Settings,
    /// The ID of its Docker network, once there is one.
    #[serde(default)]
    pub network: Option<String>,
    /// Who is in it.
    pub members: Members,
    /// The tokens that this host has made.
    #[serde(default)]
    pub invitations: Vec<Invitation>,
    /// Where members were heard from last.
    #[serde(default, with = "text::map")]
    pub endpoints: BTreeMap<PublicKey, SocketAddr>,
    /// What was switched on for it, under `/proc/sys`.
    #[serde(default)]
    pub switched: Switched,
    /// This host's private key.
    key: Secret,
    /// What members prove themselves by.
    secret: Secret,
}

/// A token cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// Each host has a number, and each open token keeps one.
    #[error("{0} has no room for another host: {1} are in it or invited")]
    Full(LinkName, usize),
    /// Too many.
    #[error("{MAX_INVITATIONS} tokens of {0} are open: wait until one is used or has expired")]
    TooMany(LinkName),
    /// The host is out.
    #[error("this host is no member of {0} any more: adit link leave {0}")]
    Out(LinkName),
}

impl Link {
    /// A new link, with this host as its only member.
    ///
    /// # Errors
    ///
    /// If the pool is none.
    #[allow(
        clippy::too_many_arguments,
        reason = "each is a thing of its own that the person or the system says"
    )]
    pub fn create(
        name: LinkName,
        pool: Ipv4Net,
        host: HostName,
        endpoint: Option<Endpoint>,
        port: u16,
        settings: Settings,
        [key, secret]: [Secret; 2],
        now: u64,
    ) -> Result<Self, PoolError> {
        let public = key.private_key().public_key();
        let addresses = Addresses::new(pool, &public)?;
        let own = Record {
            key: public,
            name: host,
            number: 0,
            endpoint,
            joined: now,
            version: now,
            removed: None,
            reserved: Vec::new(),
            containers: Vec::new(),
        };
        let mut members = Members::default();
        members.take(own, &addresses);
        Ok(Self {
            name,
            addresses,
            port,
            settings,
            network: None,
            members,
            invitations: Vec::new(),
            endpoints: BTreeMap::new(),
            switched: Switched::default(),
            key,
            secret,
        })
    }

    /// The link that a host has joined with a token; `None` if what it was answered makes no sense.
    pub(crate) fn joined(
        token: &Token,
        key: Secret,
        registered: Registered,
        port: u16,
        settings: Settings,
        endpoint: Option<(PublicKey, SocketAddr)>,
    ) -> Option<Self> {
        let mut members = Members::default();
        for record in registered.records {
            members.take(record, &token.addresses);
        }
        let public = key.private_key().public_key();
        let is_member = |key| members.find(key).is_some_and(|record| record.removed.is_none());
        (is_member(&public) && is_member(&token.key)).then_some(Self {
            name: token.link.clone(),
            addresses: token.addresses,
            port,
            settings,
            network: None,
            members,
            invitations: Vec::new(),
            endpoints: endpoint.into_iter().collect(),
            switched: Switched::default(),
            key,
            secret: registered.secret,
        })
    }

    /// This host's public key.
    pub fn public_key(&self) -> PublicKey {
        self.private_key().public_key()
    }

    pub(crate) fn private_key(&self) -> PrivateKey {
        self.key.private_key()
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// This host's record.
    pub fn own(&self) -> Option<&Record> {
        self.members.find(&self.public_key())
    }

    /// This host's number.
    pub fn number(&self) -> u16 {
        self.own().map_or(0, |own| own.number)
    }

    /// Why this host is out, if it is.
    pub fn removal(&self) -> Option<&Removal> {
        self.own()?.removed.as_ref()
    }

    /// The other members, each with a number of its own.
    pub fn others(&self) -> Vec<&Record> {
        let own = self.public_key();
        let mut others = self.members.settled();
        others.retain(|record| record.key != own && record.number != self.number());
        others
    }

    /// Where this host speaks with the others.
    pub fn address(&self) -> Ipv6Addr {
        self.addresses.of_host(self.number())
    }

    /// Makes a token; whoever joins with it gets the next number. `secret` is new.
    ///
    /// # Errors
    ///
    /// [`InviteError`].
    pub fn invite(
        &mut self,
        secret: Secret,
        endpoints: Vec<Endpoint>,
        lifetime: u64,
        now: u64,
    ) -> Result<Token, InviteError> {
        if self.removal().is_some() {
            return Err(InviteError::Out(self.name.clone()));
        }
        self.expire(now);
        if self
            .invitations
            .iter()
            .filter(|invitation| invitation.is_open(now))
            .count()
            >= MAX_INVITATIONS
        {
            return Err(InviteError::TooMany(self.name.clone()));
        }
        let number = self.members.free_number(self.addresses.room());
        let number = number.ok_or_else(|| InviteError::Full(self.name.clone(), self.addresses.room().into()))?;
        let expires = now + lifetime;
        self.invitations.push(Invitation {
            secret: secret.clone(),
            number,
            expires,
            state: State::Open,
        });
        self.reserve(now);
        Ok(Token {
            link: self.name.clone(),
            addresses: self.addresses,
            member: self.number(),
            key: self.public_key(),
            endpoints: endpoints.into_iter().take(MAX_ENDPOINTS).collect(),
            expires,
            secret,
        })
    }

    /// Lets a host be a member that holds a token, and is at `from` by it; or says why not.
    pub(crate) fn register(
        &mut self,
        from: Ipv6Addr,
        registration: &Registration,
        now: u64,
    ) -> Result<Registered, String> {
        let addresses = self.addresses;
        let is_holder = |invitation: &&mut Invitation| addresses.of_guest(invitation.secret.one_time_address()) == from;
        let invitation = self.invitations.iter_mut().find(is_holder);
        let invitation = invitation.ok_or("this host knows no such token")?;
        invitation
            .admit(&registration.key, now)
            .map_err(|refusal| refusal.to_string())?;
        if self.members.find(&registration.key).is_none() {
            if let Some(other) = self.members.named(&registration.name) {
                return Err(format!(
                    "{} has a host of the name {} already: join as another (--name), or remove that one first \
                     (adit link remove {} {})",
                    self.name, other.name, self.name, other.name
                ));
            }
            let record = Record {
                key: registration.key,
                name: registration.name.clone(),
                number: invitation.number,
                endpoint: registration.endpoint.clone(),
                joined: now,
                version: 1,
                removed: None,
                reserved: Vec::new(),
                containers: Vec::new(),
            };
            if !self.members.take(record, &addresses) {
                return Err("the link has had too many hosts".to_owned());
            }
            invitation.state = State::Used(registration.key);
        }
        self.reserve(now);
        Ok(Registered {
            secret: self.secret.clone(),
            records: self.members.newer_than(&BTreeMap::new()),
        })
    }

    /// Takes what another member knows, and gives what that does not know; whether anything here is new.
    pub(crate) fn sync(
        &mut self,
        from: PublicKey,
        sync: Sync,
        seen: BTreeMap<PublicKey, SocketAddr>,
    ) -> (Synced, bool) {
        let mut is_new = self.take(sync.records);
        for invitation in &mut self.invitations {
            if invitation.state == State::Used(from) {
                invitation.state = State::Confirmed;
                is_new = true;
            }
        }
        let synced = Synced {
            versions: self.members.versions(),
            records: self.members.newer_than(&sync.versions),
            seen,
        };
        (synced, is_new)
    }

    /// Takes records of others; whether anything is new. Of itself a host takes only that it was removed.
    pub(crate) fn take(&mut self, records: Vec<Record>) -> bool {
        let own = self.public_key();
        let mut is_new = false;
        for record in records {
            if record.key != own || record.removed.is_some() {
                is_new |= self.members.take(record, &self.addresses);
            } else {
                // This host was put back to an older disk: what it says now is the newer.
                is_new |= self.members.outdo(&own, record.version);
            }
        }
        self.endpoints
            .retain(|key, _| self.members.find(key).is_some_and(|record| record.removed.is_none()));
        is_new
    }

    /// Forgets tokens that are over; whether there were any.
    pub fn expire(&mut self, now: u64) -> bool {
        let before = self.invitations.len();
        self.invitations.retain(|invitation| !invitation.is_over(now));
        self.members.forget(now);
        self.reserve(now) || self.invitations.len() != before
    }

    /// Tells the others which numbers are kept for open tokens.
    fn reserve(&mut self, now: u64) -> bool {
        let open = self.invitations.iter().filter(|invitation| invitation.is_open(now));
        let reserved = open.map(|invitation| invitation.number).collect();
        self.members
            .change(&self.public_key(), now, |own| own.reserved = reserved)
    }

    /// Says which containers this host has; whether that is new.
    pub(crate) fn set_containers(&mut self, mut containers: Vec<Listed>, now: u64) -> bool {
        containers.sort();
        self.members
            .change(&self.public_key(), now, |own| own.containers = containers)
    }

    /// Who may ask, by address, and by which secret.
    pub(crate) fn doors(&self) -> BTreeMap<Ipv6Addr, Secret> {
        let others = self.others().into_iter();
        let members = others.map(|other| (self.addresses.of_host(other.number), self.secret.clone()));
        let guests = self.invitations.iter().map(|invitation| {
            let address = self.addresses.of_guest(invitation.secret.one_time_address());
            (address, invitation.secret.one_time_exchange())
        });
        members.chain(guests).collect()
    }

    /// What the tunnel is to be. Where members are is left open.
    pub(crate) fn device(&self) -> Device {
        let others = self.others().into_iter();
        let members = others.map(|other| {
            let own = IpNet::from(std::net::IpAddr::from(self.addresses.of_host(other.number)));
            let networks = self.addresses.subnets(other.number);
            let peer = Peer {
                persistent_keepalive: Some(KEEPALIVE),
                allowed_ips: networks.into_iter().chain([own]).collect(),
                ..Peer::default()
            };
            (other.key, peer)
        });
        let guests = self
            .invitations
            .iter()
            .map(|invitation| invitation.peer(&self.addresses));
        let peers = members.chain(guests);
        Device {
            private_key: Some(self.private_key()),
            listen_port: Some(self.port),
            // One who is out speaks with nobody.
            peers: if self.removal().is_some() {
                BTreeMap::new()
            } else {
                peers.collect()
            },
            ..Device::default()
        }
    }
}

#[cfg(test)]
mod tests;
