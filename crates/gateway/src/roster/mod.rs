//! Turns what is asked for, and what the directory holds, into the peers of a gateway.
//!
//! [`Roster::new`] reads and decides; [`Roster::keep`] writes. Nothing is written before everything is decided.

mod lease;
mod load;
mod member;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use ipnet::{IpNet, Ipv4Net};
use wg::{
    PrivateKey,
    access::{Access, Destination},
};
use zeroize::Zeroizing;

pub use self::member::Member;
use self::{
    lease::{lease, subnets},
    load::{Loaded, in_threads, load, public_key},
    member::{list, member, networks, peer},
};
use crate::{
    Name, Taken,
    client::Terms,
    directory::{Directory, DirectoryError, Stored},
    environment::{self, Keepalive, PeerId},
    file, form,
    key::{self, RandomError},
    members,
    network::{Network, NetworkError},
    ordered::Ordered,
    pictures::Turn,
    record::{self, Record, Standing},
    server::Peer,
    template::TemplateError,
};

/// The network that a gateway has unless another one is asked for.
pub const DEFAULT_SUBNET: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 13, 13, 0), 24);

/// What a gateway for good is to be.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who may connect, in the order in which addresses are given out.
    pub peers: Vec<PeerId>,
    /// The peers' networks.
    pub subnets: Vec<IpNet>,
    /// What to do if none of them is IPv6.
    pub without_ipv6: WithoutIpv6,
    /// Who gets keepalives.
    pub keepalive: Keepalive,
    /// Networks behind peers.
    pub networks: BTreeMap<PeerId, Vec<IpNet>>,
    /// What peers may reach that have no destinations of their own.
    pub access: Access,
    /// What single peers may reach.
    pub destinations: BTreeMap<PeerId, Vec<Destination>>,
}

/// What a gateway does for which no IPv6 network is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WithoutIpv6 {
    /// It keeps the one that it had, or makes one at its first start.
    #[default]
    Keep,
    /// It has none.
    Obey,
}

/// The peers of a gateway for good, with all that is kept of them.
#[derive(Debug)]
pub struct Roster {
    private_key: PrivateKey,
    network: Network,
    wish: Wish,
    listed: HashSet<PeerId>,
    members: Ordered<PeerId, Member>,
    /// Whom commands have removed.
    removed: Vec<(PeerId, Record)>,
}

/// Why there is no roster.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// The directory cannot be read, or holds something wrong.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The peers do not fit.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// No keys can be made.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Two peers would have the same.
    #[error("{origin}: {taken}")]
    Taken {
        /// The variable, or the file, that asks for it.
        origin: String,
        /// What it is.
        taken: Box<Taken>,
    },
}

impl Roster {
    /// Decides on keys and addresses. What the directory holds is kept, as far as it fits the wish.
    ///
    /// # Errors
    ///
    /// [`RosterError`]; nothing was written.
    pub fn new(directory: &Directory, wish: &Wish) -> Result<Self, RosterError> {
        let gateway = directory.former_gateway()?;
        let mut network = Network::with_gateway(&subnets(directory, wish)?, &gateway)?;
        let listed: HashSet<PeerId> = wish.peers.iter().cloned().collect();
        let mut records: BTreeMap<PeerId, Record> = directory.records()?.into_iter().collect();
        let is_peer = |id: &PeerId| records.get(id).is_none_or(|record| record.standing.is_peer(true));
        let mut ids: Vec<PeerId> = wish.peers.iter().filter(|id| is_peer(id)).cloned().collect();
        let added = records.iter().filter(|(_, record)| record.standing.is_peer(false));
        ids.extend(added.map(|(id, _)| id).filter(|id| !listed.contains(*id)).cloned());
        let stored = load(directory, &ids)?;
        if directory.is_foreign() {
            check_stay(&network, &gateway, &ids, &stored)?;
        }
        let behind = |id: &PeerId| networks(id, records.get(id), wish);
        let addresses = lease(&mut network, directory, &ids, &stored, behind)?;
        let private_key = directory.server_key()?.map_or_else(key::private, Ok)?;
        let members = ids.into_iter().zip(stored).zip(addresses);
        let members = members.map(|((id, stored), addresses)| {
            let record = records.remove(&id).unwrap_or_default();
            Ok((id.clone(), member(id, stored, record, addresses, wish)?))
        });
        let members: Ordered<PeerId, Member> = members.collect::<Result<_, RandomError>>()?;
        check(&network, &members)?;
        records.retain(|_, record| !record.standing.is_peer(true));
        Ok(Self {
            private_key,
            network,
            wish: wish.clone(),
            listed,
            members,
            removed: records.into_iter().collect(),
        })
    }

    /// The gateway's own key.
    pub fn private_key(&self) -> &PrivateKey {
        &self.private_key
    }

    /// The gateway's own addresses, each with the peers' network.
    pub fn addresses(&self) -> Vec<IpNet> {
        self.network.gateway_addresses()
    }

    /// The peers: those of the wish in its order, then the others.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// How many peers there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no peer.
    pub fn is_empty(&self) -> bool {
        self.members.len() == 0
    }

    /// The peer of this name.
    pub fn member(&self, id: &PeerId) -> Option<&Member> {
        self.members.get(id)
    }

    /// Whether the wish has this peer, be it removed or not.
    pub(crate) fn is_listed(&self, id: &PeerId) -> bool {
        self.listed.contains(id)
    }

    /// The addresses, to give and take.
    pub(crate) fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Describes a peer that is to come, or to change; it is none before [`Roster::put`].
    pub(crate) fn draft(
        &self,
        id: &PeerId,
        stored: Stored,
        record: Record,
        addresses: Vec<IpAddr>,
    ) -> Result<Member, RandomError> {
        let public_key = public_key(&stored);
        member(id.clone(), Loaded { stored, public_key }, record, addresses, &self.wish)
    }

    /// Describes a peer that has other addresses, or another record.
    pub(crate) fn changed(&self, before: &Member, record: Record, addresses: Vec<IpAddr>) -> Member {
        let mut client = before.client.clone();
        client.addresses = addresses;
        if let (Some(key), None) = (&record.public_key, &client.private_key) {
            client.public_key = key.0;
        }
        Member {
            peer: peer(&before.id, &client, &record, &self.wish),
            id: before.id.clone(),
            client,
            is_new: false,
            told: before.told.clone(),
            record,
        }
    }

    /// Takes a peer in, in place of one of that name.
    pub(crate) fn put(&mut self, member: Member) {
        self.members.insert(member.id.clone(), member);
    }

    /// Takes a peer out. Its addresses are free for others.
    pub(crate) fn take(&mut self, id: &PeerId) -> Option<Member> {
        self.network.release(&id.file_name());
        self.members.remove(id)
    }

    /// The peers as the gateway knows them, by the names of their directories.
    pub fn peers(&self) -> Vec<(Name, Peer)> {
        self.members()
            .map(|member| (member.name(), member.peer.clone()))
            .collect()
    }

    /// Writes keys and configurations. Gives the peers whose configuration is not the one that was there before.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`]; what was written so far is whole, and the next start goes on from there.
    pub fn keep(
        &self,
        directory: &Directory,
        terms: &Terms,
        listen_port: u16,
        pictures: &Turn<'_>,
    ) -> Result<Vec<&Member>, DirectoryError> {
        directory.keep_server_key(&self.private_key)?;
        let members: Vec<&Member> = self.members().collect();
        let changed = in_threads(&members, |members| {
            file::together(directory.root(), || {
                members
                    .iter()
                    .map(|member| member.keep(directory, terms, pictures))
                    .collect::<Result<Vec<bool>, DirectoryError>>()
            })
            .map_err(|cause| directory.unsynced(cause))?
        })?;
        self.forget(directory)?;
        self.keep_server_conf(directory, terms, listen_port)?;
        if let Some(form) = &terms.form {
            form.remember(terms)?;
        }
        let changed = members.into_iter().zip(changed).filter(|(_, changed)| *changed);
        Ok(changed.map(|(member, _)| member).collect())
    }

    /// Writes the gateway's own configuration.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`].
    pub fn keep_server_conf(
        &self,
        directory: &Directory,
        terms: &Terms,
        listen_port: u16,
    ) -> Result<(), DirectoryError> {
        directory
            .keep_server_conf(&self.server_conf(terms, listen_port)?)
            .map(drop)
    }

    /// Removes what is left of peers that were removed, and forgets the removal of those that the list has no more.
    fn forget(&self, directory: &Directory) -> Result<(), DirectoryError> {
        for (id, record) in &self.removed {
            match (record.standing, self.is_listed(id)) {
                (Standing::Removed, true) => directory.remove_peer(id, Standing::Removed)?,
                (Standing::Removed, false) => directory.remove_peer(id, Standing::Listed)?,
                // That it was removed is forgotten, but not its key and what it was given.
                (_, false) => {
                    let standing = Standing::Listed;
                    directory.keep_record(
                        id,
                        &Record {
                            standing,
                            ..record.clone()
                        },
                    )?;
                }
                (_, true) => {}
            }
        }
        Ok(())
    }

    /// The gateway's own configuration, its lines and comments in linuxserver's order.
    fn server_conf(&self, terms: &Terms, listen_port: u16) -> Result<Zeroizing<String>, TemplateError> {
        let addresses: Vec<IpAddr> = self.addresses().iter().map(IpNet::addr).collect();
        let interface = match &terms.form {
            Some(form) => form.server_conf(&self.private_key, listen_port, terms)?,
            None => Zeroizing::new(format!(
                "[Interface]\nAddress = {}\nListenPort = {listen_port}\nPrivateKey = {}\n\n",
                list(form::in_order(&addresses), ", "),
                *self.private_key.danger_base64(),
            )),
        };
        // Each block is shorter than this; growing would leave copies of the keys behind.
        let mut text = Zeroizing::new(String::with_capacity(interface.len() + 512 * self.members.len()));
        text.push_str(&interface);
        for member in self.members() {
            member.write_block(terms, &mut text);
        }
        Ok(text)
    }
}

/// Whether no two peers have the same.
fn check(network: &Network, members: &Ordered<PeerId, Member>) -> Result<(), RosterError> {
    let names: Vec<Name> = members.values().map(Member::name).collect();
    let peers = members.values().map(|member| &member.peer);
    members::check(&network.gateway_addresses(), names.iter().zip(peers)).map_err(|taken| {
        let member = members.values().find(|member| member.name() == *taken.name());
        let origin = member.map_or_else(String::new, |member| match (&taken, &member.record.settings.networks) {
            (Taken::Network { .. } | Taken::Own { .. }, None) => environment::variable_of_networks(&member.id),
            (Taken::Network { .. } | Taken::Own { .. }, Some(_)) | (Taken::Key { .. } | Taken::Launcher { .. }, _) => {
                format!("{}/{}", member.id.file_name(), record::FILE_NAME)
            }
        });
        let taken = Box::new(taken);
        RosterError::Taken { origin, taken }
    })
}

/// Looks whether a directory that is taken over keeps its peers' addresses. Those of a gateway that moves move with it;
/// one that is elsewhere than its gateway was put there by hand.
fn check_stay(network: &Network, gateway: &[IpAddr], ids: &[PeerId], stored: &[Loaded]) -> Result<(), NetworkError> {
    let Some(gateway) = gateway.iter().find(|address| address.is_ipv4()) else {
        return Ok(());
    };
    for (id, Loaded { stored, .. }) in ids.iter().zip(stored) {
        if let Some((address, subnet)) = network.moves(*gateway, &stored.addresses) {
            let peer = id.file_name();
            return Err(NetworkError::Outside { peer, address, subnet });
        }
    }
    Ok(())
}
