//! Turns what is asked for, and what the directory holds, into the peers of a gateway.
//!
//! [`Roster::new`] reads and decides; [`Roster::keep`] writes. Nothing is written before everything is decided.

use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use wg::{
    PrivateKey,
    access::{Access, Destination},
};
use zeroize::Zeroizing;

use crate::{
    Name,
    client::{Client, Terms},
    directory::{Directory, DirectoryError, Stored},
    environment::{Keepalive, PeerId},
    key::{self, RandomError},
    network::{Network, NetworkError},
    server::Peer,
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
    addresses: Vec<IpNet>,
    members: Vec<Member>,
}

/// One peer of a [`Roster`].
#[derive(Debug)]
pub struct Member {
    /// Who it is.
    pub id: PeerId,
    /// Its keys and addresses.
    pub client: Client,
    /// Whether its keys are new.
    pub is_new: bool,
    peer: Peer,
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
}

impl Roster {
    /// Decides on keys and addresses. What the directory holds is kept, as far as it fits the wish.
    ///
    /// # Errors
    ///
    /// [`RosterError`]; nothing was written.
    pub fn new(directory: &Directory, wish: &Wish) -> Result<Self, RosterError> {
        let mut network = Network::new(&subnets(directory, wish)?)?;
        let stored = wish
            .peers
            .iter()
            .map(|id| directory.peer(id))
            .collect::<Result<Vec<_>, _>>()?;
        let addresses = lease(&mut network, directory, wish, &stored)?;
        let private_key = directory.server_key()?.map_or_else(key::private, Ok)?;
        let members = wish.peers.iter().zip(stored).zip(addresses);
        let members = members.map(|((id, stored), addresses)| member(id, stored, addresses, wish));
        Ok(Self {
            private_key,
            addresses: network.gateway_addresses(),
            members: members.collect::<Result<_, RandomError>>()?,
        })
    }

    /// The gateway's own key.
    pub fn private_key(&self) -> &PrivateKey {
        &self.private_key
    }

    /// The gateway's own addresses, each with the peers' network.
    pub fn addresses(&self) -> &[IpNet] {
        &self.addresses
    }

    /// The peers, in the order of the wish.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The peers as the gateway knows them, by the names of their directories.
    pub fn peers(&self) -> Vec<(Name, Peer)> {
        let name = |id: &PeerId| {
            id.file_name()
                .parse()
                .expect("a name after `peer` or `peer_` is a name")
        };
        self.members
            .iter()
            .map(|member| (name(&member.id), member.peer.clone()))
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
        picture: impl Fn(&str) -> Vec<u8>,
    ) -> Result<Vec<&Member>, DirectoryError> {
        directory.keep_server_key(&self.private_key)?;
        let mut changed = Vec::new();
        for member in &self.members {
            let Client {
                private_key,
                preshared_key,
                ..
            } = &member.client;
            directory.keep_peer_keys(&member.id, private_key, preshared_key.as_ref())?;
            let conf = member.client.conf(terms);
            if directory.keep_peer_conf(&member.id, &conf, || picture(&conf))? {
                changed.push(member);
            }
        }
        directory.keep_server_conf(&self.server_conf(listen_port))?;
        Ok(changed)
    }

    /// The gateway's own configuration, its lines and comments in linuxserver's order.
    fn server_conf(&self, listen_port: u16) -> Zeroizing<String> {
        let addresses: Vec<String> = self
            .addresses
            .iter()
            .map(|address| address.addr().to_string())
            .collect();
        let mut text = Zeroizing::new(String::with_capacity(512 + 256 * self.members.len()));
        let mut line = |line: &[&str]| line.iter().chain(&["\n"]).for_each(|part| text.push_str(part));
        line(&["[Interface]"]);
        line(&["Address = ", &addresses.join(", ")]);
        line(&["ListenPort = ", &listen_port.to_string()]);
        line(&["PrivateKey = ", &self.private_key.danger_base64()]);
        for Member { id, peer, .. } in &self.members {
            line(&[""]);
            line(&["[Peer]"]);
            line(&["# ", &id.file_name()]);
            line(&["PublicKey = ", &peer.public_key.to_string()]);
            if let Some(key) = &peer.preshared_key {
                line(&["PresharedKey = ", &key.danger_base64()]);
            }
            let networks: Vec<String> = peer.allowed_ips().map(|network| network.to_string()).collect();
            line(&["AllowedIPs = ", &networks.join(",")]);
            if let Some(seconds) = peer.keepalive {
                line(&["PersistentKeepalive = ", &seconds.to_string()]);
            }
        }
        line(&[""]);
        text
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
    wish: &Wish,
    stored: &[Stored],
) -> Result<Vec<Vec<IpAddr>>, RosterError> {
    let served: HashSet<String> = directory.served()?;
    for round in [true, false] {
        for (id, stored) in wish.peers.iter().zip(stored) {
            let name = id.file_name();
            if served.contains(&name) == round {
                network.claim(&name, &stored.addresses);
            }
        }
    }
    Ok(wish
        .peers
        .iter()
        .map(|id| network.lease(&id.file_name()))
        .collect::<Result<_, _>>()?)
}

fn member(id: &PeerId, stored: Stored, addresses: Vec<IpAddr>, wish: &Wish) -> Result<Member, RandomError> {
    let is_new = stored.private_key.is_none();
    let client = match stored.private_key {
        Some(private_key) => Client {
            private_key,
            preshared_key: stored.preshared_key,
            addresses,
        },
        None => Client {
            private_key: key::private()?,
            preshared_key: Some(stored.preshared_key.map_or_else(key::preshared, Ok)?),
            addresses,
        },
    };
    let peer = Peer {
        networks: wish.networks.get(id).cloned().unwrap_or_default(),
        keepalive: wish.keepalive.covers(id).then_some(KEEPALIVE_SECS),
        access: Access {
            destinations: wish.destinations.get(id).cloned(),
            peer_to_peer: None,
        }
        .or(&wish.access),
        ..client.peer()
    };
    Ok(Member {
        id: id.clone(),
        client,
        is_new,
        peer,
    })
}

/// The network that a gateway has unless another one is asked for.
pub const DEFAULT_SUBNET: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 13, 13, 0), 24);

#[cfg(test)]
mod tests {
    use std::fs;

    use wg::PublicKey;

    use super::*;
    use crate::environment;

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
        }
    }

    /// One start of a gateway: what it decided, and whose configuration it wrote.
    fn start(directory: &Directory, wish: &Wish) -> (Roster, Vec<String>) {
        let roster = Roster::new(directory, wish).unwrap();
        let picture = |text: &str| text.len().to_string().into_bytes();
        let changed = roster.keep(directory, &terms(&roster), 51820, picture).unwrap();
        let changed = changed.iter().map(|member| member.id.file_name()).collect();
        (roster, changed)
    }

    fn keys(roster: &Roster) -> Vec<PublicKey> {
        roster.members().iter().map(|member| member.peer.public_key).collect()
    }

    fn v4(roster: &Roster) -> Vec<String> {
        roster
            .members()
            .iter()
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
        let [laptop, seven] = [&roster.members()[0], &roster.members()[1]];
        let conf = format!(
            "[Interface]\nAddress = 10.13.13.2, fd00:1::2\nPrivateKey = {}\nListenPort = 51820\nDNS = 10.13.13.1\n\n\
             [Peer]\nPublicKey = {}\nPresharedKey = {}\nEndpoint = vpn.example.com:51820\nAllowedIPs = 0.0.0.0/0, ::/0",
            read("peer_laptop/privatekey-peer_laptop"),
            read("server/publickey-server"),
            read("peer_laptop/presharedkey-peer_laptop"),
        );
        assert_eq!(read("peer_laptop/peer_laptop.conf"), conf);
        assert_eq!(read("peer_laptop/peer_laptop.png"), (conf.len() + 1).to_string());
        assert_eq!(read("peer7/publickey-peer7"), seven.peer.public_key.to_string());
        let conf = format!(
            "[Interface]\nAddress = 10.13.13.1, fd00:1::1\nListenPort = 51820\nPrivateKey = {}\n\n\
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
        let one = &roster.members()[0];
        assert_eq!((roster.private_key(), &one.client.private_key), (&server, &peer));
        // No preshared key, no IPv6: the client has neither.
        assert_eq!(
            (one.client.preshared_key.as_ref(), one.client.addresses.len()),
            (None, 1)
        );
        assert_eq!(v4(&roster), ["10.13.13.9", "10.13.13.2"]);
        assert!(roster.members()[1].client.preshared_key.is_some());
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
    fn more_peers_than_addresses_are_refused_before_anything_is_written() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let error = Roster::new(&directory, &wish("254")).unwrap_err();
        assert!(
            error.to_string().contains("no address is left in 10.13.13.0/24"),
            "{error}"
        );
        assert!(!root.path().join("server").exists());
        assert_eq!(Roster::new(&directory, &wish("253")).unwrap().members().len(), 253);
    }
}
