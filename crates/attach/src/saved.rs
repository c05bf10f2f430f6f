//! What is kept of a tunnel for the next start of the daemon: all but its private key, which the tunnel itself has.
//!
//! One file a container, in a directory of mode 0700 that goes at the next boot, as the tunnels do.

use std::{
    fs,
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use wg::{IpNet, PrivateKey};

use crate::{Offer, Server, driver::Endpoint};

/// The files of all tunnels.
#[derive(Clone, Debug)]
pub struct Saved {
    directory: PathBuf,
}

/// Where a kept tunnel comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The provider's name.
    pub provider: String,
    /// What it calls the other end.
    pub server: String,
    /// The endpoint of a driver's network, if there is one.
    pub endpoint: Option<Endpoint>,
}

impl Origin {
    /// Who holds the tunnel of the container `id`.
    pub fn holder<'a>(&'a self, id: &'a str) -> &'a str {
        self.endpoint.as_ref().map_or(id, |endpoint| &endpoint.holder)
    }
}

/// What a file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Text {
    provider: String,
    /// The endpoint of a driver's network; `None` if labels asked for the tunnel.
    #[serde(default)]
    endpoint: Option<Endpoint>,
    server: String,
    region: Option<String>,
    addresses: Vec<IpNet>,
    dns: Vec<IpAddr>,
    search: Vec<String>,
    mtu: Option<u16>,
    peers: Vec<Peer>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Peer {
    public_key: String,
    endpoint: SocketAddr,
    allowed_ips: Vec<IpNet>,
    persistent_keepalive: Option<u16>,
}

impl Saved {
    /// Keeps the files in `directory`, which is made.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        Ok(Self { directory })
    }

    /// Keeps a container's tunnel, instead of what was kept of it.
    ///
    /// # Errors
    ///
    /// Those of the files; then the old one is left.
    pub fn keep(&self, id: &str, provider: &str, endpoint: Option<&Endpoint>, offer: &Offer) -> io::Result<()> {
        let text = serde_json::to_vec(&Text::of(provider, endpoint, offer))?;
        let (path, beside) = (self.path(id, "json"), self.path(id, "new"));
        let written = write(&beside, &text).and_then(|()| fs::rename(&beside, &path));
        if written.is_err() {
            let _was_never_there = fs::remove_file(&beside);
        }
        written
    }

    /// Forgets a container's tunnel; nothing if nothing is kept.
    pub fn forget(&self, id: &str) {
        let _was_never_there = fs::remove_file(self.path(id, "json"));
    }

    /// The containers of which something is kept.
    pub fn containers(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut containers: Vec<_> = entries
            .filter_map(|entry| Some(entry.file_name().into_string().ok()?.strip_suffix(".json")?.to_owned()))
            .collect();
        containers.sort();
        containers
    }

    /// The provider and the tunnel of a container, with the keys of `device`: the tunnel as it is, or nothing if there is
    /// none. `None` if nothing is kept that can be read.
    pub fn find(&self, id: &str, device: &wg::Device) -> Option<(String, Offer)> {
        let text = self.read(id)?;
        let provider = text.provider.clone();
        Some((provider, text.offer(device)?))
    }

    /// Who holds a container's tunnel, of which provider, and to which server. `None` if nothing is kept.
    pub fn origin(&self, id: &str) -> Option<Origin> {
        let text = self.read(id)?;
        Some(Origin {
            provider: text.provider,
            server: text.server,
            endpoint: text.endpoint,
        })
    }

    fn read(&self, id: &str) -> Option<Text> {
        let text = fs::read(self.path(id, "json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn path(&self, id: &str, ending: &str) -> PathBuf {
        self.directory.join(format!("{id}.{ending}"))
    }
}

impl Text {
    fn of(provider: &str, endpoint: Option<&Endpoint>, offer: &Offer) -> Self {
        Self {
            provider: provider.to_owned(),
            endpoint: endpoint.cloned(),
            server: offer.server.clone(),
            region: offer.region.clone(),
            addresses: offer.addresses.clone(),
            dns: offer.dns.clone(),
            search: offer.search.clone(),
            mtu: offer.mtu,
            peers: offer.peers.iter().map(Peer::of).collect(),
        }
    }

    fn offer(self, device: &wg::Device) -> Option<Offer> {
        let peers = self.peers.into_iter().map(|peer| peer.server(device));
        Some(Offer {
            peers: peers.collect::<Option<_>>()?,
            server: self.server,
            region: self.region,
            // A tunnel that is gone gets another key anyway.
            private_key: device
                .private_key
                .clone()
                .unwrap_or_else(|| PrivateKey::from_bytes([0; 32])),
            addresses: self.addresses,
            dns: self.dns,
            search: self.search,
            mtu: self.mtu,
        })
    }
}

impl Peer {
    fn of(server: &Server) -> Self {
        Self {
            public_key: server.public_key.to_string(),
            endpoint: server.endpoint,
            allowed_ips: server.allowed_ips.clone(),
            persistent_keepalive: server.persistent_keepalive,
        }
    }

    fn server(self, device: &wg::Device) -> Option<Server> {
        let public_key = self.public_key.parse().ok()?;
        let there = device.peers.get(&public_key);
        Some(Server {
            public_key,
            preshared_key: there.and_then(|peer| peer.preshared_key.clone()),
            endpoint: self.endpoint,
            allowed_ips: self.allowed_ips,
            persistent_keepalive: self.persistent_keepalive,
        })
    }
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key(number: u8) -> PrivateKey {
        PrivateKey::from_random([number; 32])
    }

    fn offer() -> Offer {
        Offer {
            server: "zurich401".to_owned(),
            region: Some("swiss".to_owned()),
            private_key: key(1),
            addresses: vec!["10.1.2.3/32".parse().unwrap()],
            dns: vec!["10.0.0.243".parse().unwrap()],
            search: Vec::new(),
            mtu: None,
            peers: vec![Server {
                public_key: key(2).public_key(),
                preshared_key: Some(wg::PresharedKey::from_bytes([3; 32])),
                endpoint: "192.0.2.1:1337".parse().unwrap(),
                allowed_ips: vec!["0.0.0.0/0".parse().unwrap()],
                persistent_keepalive: Some(25),
            }],
        }
    }

    #[test]
    fn a_tunnel_is_found_again_with_the_keys_that_it_has_itself() {
        let folder = tempfile::tempdir().unwrap();
        let saved = Saved::open(folder.path().join("state")).unwrap();
        saved.keep("a", "pia", None, &offer()).unwrap();
        let path = folder.path().join("state/a.json");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(key(1).danger_base64().as_str()), "{text}");
        let mut device = wg::Device {
            private_key: Some(key(1)),
            ..wg::Device::default()
        };
        let peer = wg::Peer {
            preshared_key: Some(wg::PresharedKey::from_bytes([3; 32])),
            ..wg::Peer::default()
        };
        device.peers.insert(key(2).public_key(), peer);
        assert_eq!(saved.find("a", &device), Some(("pia".to_owned(), offer())));
        assert_eq!(saved.containers(), ["a"]);
        assert_eq!(saved.origin("a").unwrap().holder("a"), "a");
        saved.forget("a");
        assert_eq!(saved.find("a", &device), None);
        assert!(saved.containers().is_empty());
    }

    #[test]
    fn what_was_spoilt_is_as_if_it_were_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let saved = Saved::open(folder.path()).unwrap();
        for text in ["", "{}", "{\"provider\":1}", "\u{0}"] {
            fs::write(folder.path().join("a.json"), text).unwrap();
            assert_eq!(saved.find("a", &wg::Device::default()), None, "{text:?}");
        }
    }
}
