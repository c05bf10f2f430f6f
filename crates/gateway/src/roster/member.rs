//! One peer of a roster: who it is, its configuration, and its part of the gateway's own.

use std::net::IpAddr;

use ipnet::IpNet;
use wg::access::Access;
use zeroize::Zeroizing;

use super::{Wish, load::Loaded};
use crate::{
    Name,
    client::{Client, Terms},
    directory::{Directory, DirectoryError},
    environment::PeerId,
    key::{self, RandomError},
    pictures::Turn,
    reach::{Endpoint, Host},
    record::Record,
    server::Peer,
    template::TemplateError,
};

/// Seconds between the keepalives that a gateway sends to the peers that want them.
const KEEPALIVE_SECS: u16 = 25;

/// One peer of a [`Roster`](super::Roster).
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

pub(super) fn member(
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
pub(super) fn peer(id: &PeerId, client: &Client, record: &Record, wish: &Wish) -> Peer {
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
pub(super) fn networks(id: &PeerId, record: Option<&Record>, wish: &Wish) -> Vec<IpNet> {
    let own = record.and_then(|record| record.settings.own_networks());
    own.or_else(|| wish.networks.get(id).cloned()).unwrap_or_default()
}

pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
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
    pub(super) fn write_block(&self, terms: &Terms, text: &mut String) {
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
