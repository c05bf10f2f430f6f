//! The networks that Docker made with the driver, and the file that they are kept in.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// What a network was made with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its options, as `docker network create -o` got them.
    pub options: BTreeMap<String, String>,
    /// The gateway that Docker's list tells, which stands for the pool of a network whose addresses are the driver's own;
    /// `None` if they are Docker's.
    pub pool: Option<Ipv4Addr>,
}

impl Network {
    /// What Docker's list says of a network: its options, and its IPv4 gateway if it has one.
    pub fn new(options: BTreeMap<String, String>, gateway: Option<Ipv4Addr>) -> Self {
        Self {
            options,
            pool: gateway.filter(|gateway| is_pool(*gateway)),
        }
    }
}

impl Network {
    /// A network of the engine's list, by its ID.
    pub fn found(found: docker::engine::Network) -> (String, Self) {
        let gateway = found.gateways.iter().find_map(|gateway| match gateway {
            IpAddr::V4(gateway) => Some(*gateway),
            IpAddr::V6(_) => None,
        });
        (found.id, Self::new(found.options, gateway))
    }
}

/// Whether a gateway is one that the driver gave: of 240.0.0.0/4, *RFC 1112 section 4*, which no network has.
fn is_pool(gateway: Ipv4Addr) -> bool {
    gateway.octets()[0] >= 240 && !gateway.is_broadcast()
}

/// All of them.
#[derive(Debug)]
pub(super) struct Networks {
    path: PathBuf,
    all: BTreeMap<String, Network>,
}

impl Networks {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let all = match fs::read(path) {
            // Docker's list mends what makes no sense.
            Ok(text) => serde_json::from_slice(&text).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let networks = Self {
            path: path.to_owned(),
            all,
        };
        networks.write()?;
        Ok(networks)
    }

    /// Notes a network, and keeps it; a network that cannot be kept is not noted.
    pub(super) fn add(&mut self, id: &str, network: Network) -> io::Result<()> {
        if self.all.get(id) == Some(&network) {
            return Ok(());
        }
        let before = self.all.insert(id.to_owned(), network);
        let written = self.write();
        if written.is_err() {
            match before {
                Some(before) => self.all.insert(id.to_owned(), before),
                None => self.all.remove(id),
            };
        }
        written
    }

    /// Forgets a network; nothing if it is not known.
    pub(super) fn remove(&mut self, id: &str) -> io::Result<()> {
        match self.all.remove(id) {
            Some(_) => self.write(),
            None => Ok(()),
        }
    }

    pub(super) fn find(&self, id: &str) -> Option<&Network> {
        self.all.get(id)
    }

    /// The network whose addresses come from `pool`.
    pub(super) fn of_pool(&self, pool: Ipv4Addr) -> Option<&Network> {
        self.all.values().find(|network| network.pool == Some(pool))
    }

    /// A pool that no network has.
    pub(super) fn new_pool(&self) -> io::Result<Ipv4Addr> {
        loop {
            let mut random = [0; 4];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            random[0] |= 240;
            let pool = Ipv4Addr::from(random);
            if is_pool(pool) && self.of_pool(pool).is_none() {
                return Ok(pool);
            }
        }
    }

    fn write(&self) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let beside = self.path.with_extension("new");
        let written = write(&beside, &serde_json::to_vec(&self.all)?).and_then(|()| fs::rename(&beside, &self.path));
        if written.is_err() {
            let _was_never_there = fs::remove_file(&beside);
        }
        written
    }
}

/// Writes a file for root alone, down to the disk: it is for the next boot.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swiss(pool: Option<Ipv4Addr>) -> Network {
        Network::new(BTreeMap::from([("region".to_owned(), "swiss".to_owned())]), pool)
    }

    #[test]
    fn networks_outlive_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib/networks.json");
        let mut networks = Networks::open(&path).unwrap();
        let pool = networks.new_pool().unwrap();
        networks.add("n", swiss(Some(pool))).unwrap();
        networks.add("d", swiss(None)).unwrap();
        let networks = Networks::open(&path).unwrap();
        assert_eq!(networks.of_pool(pool), Some(&swiss(Some(pool))));
        assert_eq!(networks.find("d"), Some(&swiss(None)));
        let mut networks = networks;
        networks.remove("n").unwrap();
        networks.remove("n").unwrap();
        let mut networks = Networks::open(&path).unwrap();
        assert_eq!((networks.of_pool(pool), networks.all.len()), (None, 1));
        // A file that makes no sense is no reason not to start; a full disk is one not to make a network.
        fs::write(&path, "{").unwrap();
        assert_eq!(Networks::open(&path).unwrap().all.len(), 0);
        networks.path = folder.path().join("lib/networks.json/below");
        assert!(networks.add("e", swiss(None)).is_err());
        assert_eq!(networks.find("e"), None);
    }

    #[test]
    fn a_gateway_stands_for_a_pool_if_the_driver_gave_it() {
        for (gateway, is_pool) in [
            ("240.0.0.0", true),
            ("247.1.2.3", true),
            ("255.255.255.254", true),
            ("255.255.255.255", false),
            ("172.18.0.1", false),
            ("239.0.0.1", false),
        ] {
            let network = swiss(gateway.parse().ok());
            assert_eq!(network.pool.is_some(), is_pool, "{gateway}");
        }
        let networks = Networks {
            path: PathBuf::new(),
            all: BTreeMap::new(),
        };
        for _ in 0..1000 {
            assert!(is_pool(networks.new_pool().unwrap()));
        }
    }
}
