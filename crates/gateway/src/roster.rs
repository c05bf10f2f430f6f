//! Turns what is asked for, and what the directory holds, into the peers of a gateway.
//!
//! [`Roster::new`] reads and decides; [`Roster::keep`] writes. Nothing is written before everything is decided.

use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, Ipv6Addr},
    panic::resume_unwind,
    thread,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use wg::{
    PrivateKey, PublicKey,
    access::{Access, Destination},
};
use zeroize::Zeroizing;

use crate::{
    Name, Taken,
    client::{Client, Terms},
    directory::{Directory, DirectoryError, Stored},
    environment::{self, Keepalive, PeerId},
    file, form,
    key::{self, RandomError},
    members,
    network::{Network, NetworkError},
    ordered::Ordered,
    pictures::Turn,
    reach::{Endpoint, Host},
    record::{self, Record, Standing},
    server::Peer,
    template::TemplateError,
};

/// Seconds between the keepalives that a gateway sends to the peers that want them.
const KEEPALIVE_SECS: u16 = 25;

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

/// One peer of a [`Roster`].
#[derive(Clone, Debug)]
pub struct Member {
    /// Who it is.
    pub id: PeerId,
    /// Its keys and addresses.
    pub client: Client,
    /// Whether its keys are new.
    pub is_new: bool,
    /// Where its configuration said that it connects to when this start found it.
    pub told: Option<Host>,
    /// What commands have said about it.
    pub record: Record,
    pub(crate) peer: Peer,
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

/// The wish's networks, and an IPv6 one if the wish names none: the one of before, or a new one at the first start.
fn subnets(directory: &Directory, wish: &Wish) -> Result<Vec<IpNet>, RosterError> {
    let mut subnets = wish.subnets.clone();
    let is_named = subnets.iter().any(|subnet| matches!(subnet, IpNet::V6(_)));
    if is_named || wish.without_ipv6 == WithoutIpv6::Obey {
        return Ok(subnets);
    }
    let servers = directory.server_addresses()?;
    let clients = directory.addresses_of_all()?;
    let six = |address: IpAddr| match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    };
    let recorded = servers
        .iter()
        .map(IpNet::addr)
        .chain(clients.iter().copied())
        .find_map(six);
    let is_first_start = servers.is_empty() && clients.is_empty();
    let network = |address: Ipv6Addr| IpNet::V6(Ipv6Net::new_assert(address, 64).trunc());
    match recorded {
        Some(address) => subnets.push(network(address)),
        None if is_first_start => subnets.push(Network::random_local(*key::random()?).into()),
        None => {}
    }
    Ok(subnets)
}

/// Each peer's addresses: those of before where they are free, else the lowest free ones.
///
/// Peers that the gateway served until it ended come before those that were taken out and put back in.
fn lease(
    network: &mut Network,
    directory: &Directory,
    ids: &[PeerId],
    stored: &[Loaded],
    behind: impl Fn(&PeerId) -> Vec<IpNet>,
) -> Result<Vec<Vec<IpAddr>>, RosterError> {
    let served: HashSet<String> = directory.served()?;
    for round in [true, false] {
        for (id, Loaded { stored, .. }) in ids.iter().zip(stored) {
            let name = id.file_name();
            if served.contains(&name) == round {
                network.claim(&name, &stored.addresses);
            }
        }
    }
    for id in ids {
        network.hold(&id.file_name(), &behind(id));
    }
    Ok(ids
        .iter()
        .map(|id| network.lease(&id.file_name()))
        .collect::<Result<_, _>>()?)
}

/// Whether no two peers have the same.
fn check(network: &Network, members: &Ordered<PeerId, Member>) -> Result<(), RosterError> {
    let names: Vec<Name> = members.values().map(Member::name).collect();
    let peers = members.values().map(|member| &member.peer);
    members::check(&network.gateway_addresses(), names.iter().zip(peers)).map_err(|taken| {
        let member = members.values().find(|member| member.name() == *taken.name());
        let origin = member.map_or_else(String::new, |member| match (&taken, &member.record.settings.networks) {
            (Taken::Network { .. } | Taken::Own { .. }, None) => environment::variable_of_networks(&member.id),
            (Taken::Network { .. } | Taken::Own { .. }, Some(_)) | (Taken::Key { .. }, _) => {
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

/// What the directory holds of a peer.
#[derive(Debug)]
struct Loaded {
    stored: Stored,
    /// That of its private key.
    public_key: Option<PublicKey>,
}

fn public_key(stored: &Stored) -> Option<PublicKey> {
    stored.private_key.as_ref().map(PrivateKey::public_key)
}

/// Reads what there is of all these peers.
fn load(directory: &Directory, ids: &[PeerId]) -> Result<Vec<Loaded>, DirectoryError> {
    in_threads(ids, |ids| {
        let load = |id: &PeerId| {
            let stored = directory.peer(id)?;
            let public_key = public_key(&stored);
            Ok(Loaded { stored, public_key })
        };
        ids.iter().map(load).collect()
    })
}

/// Fewest items for which a thread is worth its start.
const MIN_SHARE: usize = 64;

/// Shares the items out among all processors: reading files and deriving keys takes each of them the same time.
fn in_threads<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&[T]) -> Result<Vec<R>, E> + Sync,
) -> Result<Vec<R>, E> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(processors).max(MIN_SHARE);
    if items.len() <= share {
        return work(items);
    }
    thread::scope(|scope| {
        let shares: Vec<_> = items.chunks(share).map(|share| scope.spawn(|| work(share))).collect();
        let mut results = Vec::with_capacity(items.len());
        for share in shares {
            results.extend(share.join().unwrap_or_else(|panic| resume_unwind(panic))?);
        }
        Ok(results)
    })
}

fn member(
    id: PeerId,
    loaded: Loaded,
    record: Record,
    addresses: Vec<IpAddr>,
    wish: &Wish,
) -> Result<Member, RandomError> {
    let Loaded { stored, public_key } = loaded;
    let of_client = record.public_key.map(|key| key.0);
    let is_new = match of_client {
        Some(_) => stored.addresses.is_empty(),
        None => stored.private_key.is_none(),
    };
    let endpoint = stored
        .endpoint
        .as_deref()
        .and_then(|text| text.parse::<Endpoint>().ok());
    let client = match (of_client, stored.private_key, public_key) {
        (Some(public_key), ..) => Client {
            public_key,
            private_key: None,
            preshared_key: Some(stored.preshared_key.map_or_else(key::preshared, Ok)?),
            addresses,
        },
        (None, Some(private_key), Some(public_key)) => Client {
            public_key,
            private_key: Some(private_key),
            preshared_key: stored.preshared_key,
            addresses,
        },
        _ => Client::with_key(
            key::private()?,
            Some(stored.preshared_key.map_or_else(key::preshared, Ok)?),
            addresses,
        ),
    };
    Ok(Member {
        peer: peer(&id, &client, &record, wish),
        id,
        client,
        is_new,
        told: endpoint.map(|endpoint| endpoint.host),
        record,
    })
}

/// The peer as the gateway knows it: what it has of its own stands before what the wish has for it.
fn peer(id: &PeerId, client: &Client, record: &Record, wish: &Wish) -> Peer {
    let Record { settings, .. } = record;
    let listed = Access {
        destinations: wish.destinations.get(id).cloned(),
        peer_to_peer: None,
    };
    Peer {
        networks: networks(id, Some(record), wish),
        keepalive: match settings.keepalive {
            Some(seconds) => Some(seconds).filter(|seconds| *seconds != 0),
            None => wish.keepalive.covers(id).then_some(KEEPALIVE_SECS),
        },
        access: settings.access().or(&listed).or(&wish.access),
        ..client.peer()
    }
}

/// The networks behind a peer.
fn networks(id: &PeerId, record: Option<&Record>, wish: &Wish) -> Vec<IpNet> {
    let own = record.and_then(|record| record.settings.own_networks());
    own.or_else(|| wish.networks.get(id).cloned()).unwrap_or_default()
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(separator)
}

impl Member {
    /// The name by which the gateway knows it: that of its directory.
    pub fn name(&self) -> Name {
        self.id.name()
    }

    /// The configuration that its client imports.
    ///
    /// # Errors
    ///
    /// If a template names a file that cannot be read.
    pub fn conf(&self, terms: &Terms) -> Result<Zeroizing<String>, TemplateError> {
        match &terms.form {
            Some(form) => form.peer_conf(self, terms),
            None => Ok(self.client.conf(terms)),
        }
    }

    /// Its part of the gateway's own configuration, with the empty line behind it.
    fn write_block(&self, terms: &Terms, text: &mut String) {
        let Self { id, peer, .. } = self;
        let own = list(peer.addresses.iter().copied().map(IpNet::from), ",");
        let networks = match &terms.form {
            Some(form) => form.networks(id, &peer.networks),
            None => list(&peer.networks, ","),
        };
        let mut line = |line: &[&str]| line.iter().chain(&["\n"]).for_each(|part| text.push_str(part));
        line(&["[Peer]"]);
        line(&["# ", &id.file_name()]);
        line(&["PublicKey = ", &peer.public_key.to_string()]);
        if let Some(key) = &peer.preshared_key {
            line(&["PresharedKey = ", &key.danger_base64()]);
        }
        let separator = if networks.is_empty() { "" } else { "," };
        line(&["AllowedIPs = ", &own, separator, &networks]);
        if let Some(seconds) = peer.keepalive {
            line(&["PersistentKeepalive = ", &seconds.to_string()]);
        }
        line(&[""]);
    }

    /// Writes its keys and its configuration. Says whether the configuration is not the one that was there before.
    pub(crate) fn keep(
        &self,
        directory: &Directory,
        terms: &Terms,
        pictures: &Turn<'_>,
    ) -> Result<bool, DirectoryError> {
        directory.keep_peer_keys(&self.id, &self.client)?;
        let conf = self.conf(terms)?;
        let leaves = |old: &str| match &terms.form {
            Some(form) => form.leaves(old, &self.client, terms),
            None => false,
        };
        directory.keep_peer_conf(&self.id, &conf, leaves, |text, conf, picture| {
            pictures.draw(text, conf, picture)
        })
    }
}

/// The network that a gateway has unless another one is asked for.
pub const DEFAULT_SUBNET: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 13, 13, 0), 24);

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{environment, pictures::Pictures};

    fn wish(peers: &str) -> Wish {
        Wish {
            peers: environment::peers(peers).unwrap(),
            subnets: vec![DEFAULT_SUBNET.into()],
            without_ipv6: WithoutIpv6::Keep,
            keepalive: Keepalive::Off,
            networks: BTreeMap::new(),
            access: Access::OPEN,
            destinations: BTreeMap::new(),
        }
    }

    fn terms(roster: &Roster) -> Terms {
        Terms {
            server_key: roster.private_key().public_key(),
            endpoint: ("vpn.example.com".parse().unwrap(), 51820),
            dns: vec!["10.13.13.1".parse().unwrap()],
            allowed_ips: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
            mtu: None,
            listen_port: Some(51820),
            form: None,
        }
    }

    /// One start of a gateway: what it decided, and whose configuration it wrote.
    fn start(directory: &Directory, wish: &Wish) -> (Roster, Vec<String>) {
        let roster = Roster::new(directory, wish).unwrap();
        let pictures = Pictures::new(|text| Some(text.len().to_string().into_bytes()), |_| {}).unwrap();
        let changed = roster
            .keep(directory, &terms(&roster), 51820, &pictures.turn())
            .unwrap();
        let changed = changed.iter().map(|member| member.id.file_name()).collect();
        (roster, changed)
    }

    fn keys(roster: &Roster) -> Vec<PublicKey> {
        roster.members().map(|member| member.peer.public_key).collect()
    }

    fn v4(roster: &Roster) -> Vec<String> {
        roster
            .members()
            .map(|member| member.client.addresses[0].to_string())
            .collect()
    }

    #[test]
    fn a_second_start_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let (first, written) = start(&directory, &wish("laptop,7"));
        assert_eq!(written, ["peer_laptop", "peer7"]);
        assert!(
            first
                .addresses()
                .iter()
                .any(|address| address.to_string().starts_with("fd"))
        );
        let (second, written) = start(&directory, &wish("laptop,7"));
        assert!(written.is_empty(), "{written:?}");
        assert_eq!(
            (first.addresses(), keys(&first), v4(&first)),
            (second.addresses(), keys(&second), v4(&second))
        );
        assert_eq!(first.private_key(), second.private_key());
    }

    #[test]
    fn the_layout_and_the_texts_are_linuxservers() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let mut wish = wish("laptop,7");
        wish.subnets.push("fd00:1::/64".parse().unwrap());
        wish.keepalive = Keepalive::Only(vec!["7".parse().unwrap()]);
        wish.networks
            .insert("laptop".parse().unwrap(), vec!["192.168.1.0/24".parse().unwrap()]);
        let (roster, _) = start(&directory, &wish);
        let read = |path: &str| {
            fs::read_to_string(root.path().join(path))
                .unwrap()
                .trim_end()
                .to_owned()
        };
        let members: Vec<&Member> = roster.members().collect();
        let [laptop, seven] = [members[0], members[1]];
        let conf = format!(
            "[Interface]\nAddress = fd00:1::2, 10.13.13.2\nPrivateKey = {}\nListenPort = 51820\nDNS = 10.13.13.1\n\n\
             [Peer]\nPublicKey = {}\nPresharedKey = {}\nEndpoint = vpn.example.com:51820\nAllowedIPs = 0.0.0.0/0, ::/0",
            read("peer_laptop/privatekey-peer_laptop"),
            read("server/publickey-server"),
            read("peer_laptop/presharedkey-peer_laptop"),
        );
        assert_eq!(read("peer_laptop/peer_laptop.conf"), conf);
        assert_eq!(read("peer_laptop/peer_laptop.png"), (conf.len() + 1).to_string());
        assert_eq!(read("peer7/publickey-peer7"), seven.peer.public_key.to_string());
        let conf = format!(
            "[Interface]\nAddress = fd00:1::1, 10.13.13.1\nListenPort = 51820\nPrivateKey = {}\n\n\
             [Peer]\n# peer_laptop\nPublicKey = {}\nPresharedKey = {}\n\
             AllowedIPs = 10.13.13.2/32,fd00:1::2/128,192.168.1.0/24\n\n\
             [Peer]\n# peer7\nPublicKey = {}\nPresharedKey = {}\nAllowedIPs = 10.13.13.3/32,fd00:1::3/128\n\
             PersistentKeepalive = 25",
            read("server/privatekey-server"),
            laptop.peer.public_key,
            read("peer_laptop/presharedkey-peer_laptop"),
            seven.peer.public_key,
            read("peer7/presharedkey-peer7"),
        );
        assert_eq!(read("wg_confs/wg0.conf"), conf);
    }

    #[test]
    fn a_removed_peer_frees_its_address_and_comes_back_beside_its_successor() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let (before, _) = start(&directory, &wish("laptop,phone"));
        let (with_tablet, _) = start(&directory, &wish("tablet,phone"));
        assert_eq!(v4(&with_tablet), ["10.13.13.2", "10.13.13.3"]);
        let (all, written) = start(&directory, &wish("laptop,tablet,phone"));
        assert_eq!(v4(&all), ["10.13.13.4", "10.13.13.2", "10.13.13.3"]);
        assert_eq!(written, ["peer_laptop"]);
        assert_eq!(keys(&all)[0], keys(&before)[0]);
    }

    #[test]
    fn another_subnet_moves_every_peer_to_the_same_place() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        start(&directory, &wish("3"));
        let mut wish = wish("3");
        wish.subnets = vec!["192.168.77.0/24".parse().unwrap()];
        let (moved, written) = start(&directory, &wish);
        assert_eq!(v4(&moved), ["192.168.77.2", "192.168.77.3", "192.168.77.4"]);
        assert_eq!(written.len(), 3);
    }

    #[test]
    fn an_old_installation_is_taken_over_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let (server, peer) = (PrivateKey::from_random([1; 32]), PrivateKey::from_random([2; 32]));
        let server_conf = "[Interface]\nAddress = 10.13.13.1\nListenPort = 51820\n\n[Peer]\n# peer1\n";
        for (path, text) in [
            ("server/privatekey-server", format!("{}\n", *server.danger_base64())),
            ("wg_confs/wg0.conf", server_conf.into()),
            ("peer1/privatekey-peer1", format!("{}\n", *peer.danger_base64())),
            (
                "peer1/peer1.conf",
                "[Interface]\nAddress = 10.13.13.9\nListenPort = 51820\n".into(),
            ),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let directory = Directory::open(root.path()).unwrap();
        let (roster, _) = start(&directory, &wish("2"));
        let one = roster.members().next().unwrap();
        assert_eq!((roster.private_key(), &one.client.private_key), (&server, &Some(peer)));
        // No preshared key, no IPv6: the client has neither.
        assert_eq!(
            (one.client.preshared_key.as_ref(), one.client.addresses.len()),
            (None, 1)
        );
        assert_eq!(v4(&roster), ["10.13.13.9", "10.13.13.2"]);
        assert!(roster.members().nth(1).unwrap().client.preshared_key.is_some());
    }

    #[test]
    fn a_start_that_was_cut_short_is_finished_by_the_next() {
        // The files of a whole start, and every state in which a part of them is missing.
        let root = tempfile::tempdir().unwrap();
        let (whole, _) = start(&Directory::open(root.path()).unwrap(), &wish("1"));
        let files = [
            "server/publickey-server",
            "peer1/publickey-peer1",
            "peer1/peer1.png",
            "peer1/peer1.conf",
            "wg_confs/wg0.conf",
        ];
        for missing in 0..1_u32 << files.len() {
            for (bit, file) in files.iter().enumerate() {
                if missing & 1 << bit != 0 {
                    fs::remove_file(root.path().join(file)).unwrap();
                }
            }
            let (again, _) = start(&Directory::open(root.path()).unwrap(), &wish("1"));
            assert_eq!(
                (whole.private_key(), keys(&whole), v4(&whole)),
                (again.private_key(), keys(&again), v4(&again))
            );
            assert!(files.iter().all(|file| root.path().join(file).exists()), "{missing:b}");
        }
    }

    #[test]
    fn a_network_that_is_another_peers_is_refused_before_anything_is_written() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let error = |networks: &[(&str, &str)]| {
            let mut wish = wish("laptop,phone");
            for (peer, network) in networks {
                let networks = environment::networks(network).unwrap();
                wish.networks.insert(peer.parse().unwrap(), networks);
            }
            Roster::new(&directory, &wish).err().map(|error| error.to_string())
        };
        let same = error(&[("laptop", "192.168.5.0/24"), ("phone", "192.168.5.0/24")]).unwrap();
        assert!(same.starts_with("SERVER_ALLOWEDIPS_PEER_phone: "), "{same}");
        assert!(
            same.contains("192.168.5.0/24") && same.contains("that of peer_laptop"),
            "{same}"
        );
        let gateway = error(&[("laptop", "10.13.13.1")]).unwrap();
        assert!(gateway.starts_with("SERVER_ALLOWEDIPS_PEER_laptop: "), "{gateway}");
        // An address behind a peer is leased to no other, so that these two are not in each other's way.
        assert_eq!(error(&[("laptop", "10.13.13.3")]), None);
        assert!(!root.path().join("server/privatekey-server").exists());
        start(&directory, &wish("laptop,phone"));
        let address = error(&[("laptop", "10.13.13.3")]).unwrap();
        assert!(
            address.contains("10.13.13.3/32") && address.contains("that of peer_phone"),
            "{address}"
        );
        let error = |record: &str| {
            directory
                .keep_record(&"phone".parse().unwrap(), &Record::read(record).unwrap())
                .unwrap();
            Roster::new(&directory, &wish("laptop,phone")).unwrap_err().to_string()
        };
        let kept = error("{\"networks\":[\"10.13.13.2/32\"]}");
        assert!(
            kept.starts_with("peer_phone/.adit.json: ") && kept.contains("peer_laptop"),
            "{kept}"
        );
    }

    #[test]
    fn more_peers_than_addresses_are_refused_before_anything_is_written() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let error = Roster::new(&directory, &wish("254")).unwrap_err();
        assert!(
            error.to_string().contains("no address is left in 10.13.13.0/24"),
            "{error}"
        );
        assert!(!root.path().join("server/privatekey-server").exists());
        assert_eq!(Roster::new(&directory, &wish("253")).unwrap().len(), 253);
    }
}
