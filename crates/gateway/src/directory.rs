//! The directory of `adit serve`: keys, configurations and addresses, in linuxserver's layout.
//!
//! ```text
//! /config/server/privatekey-server      server/publickey-server
//! /config/wg_confs/wg0.conf
//! /config/peer1/privatekey-peer1        publickey-peer1  presharedkey-peer1  peer1.conf  peer1.png
//! /config/peer_phone/privatekey-peer_phone …
//! ```
//!
//! Every file is written whole or not at all. What a start finds it keeps: a key is never made again.

use std::{
    collections::HashSet,
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use wg::{KeyError, PresharedKey, PrivateKey, PublicKey, conf::Conf};
use zeroize::Zeroizing;

use crate::{
    adopt,
    client::Client,
    environment::PeerId,
    file::{self, Worth},
    form::{self, Saved},
    pictures::Picture,
    template::TemplateError,
};

/// The file that one gateway at a time holds locked.
const LOCK: &str = ".adit.lock";

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be made, or nothing can be written in it.
    #[error("cannot write in {}: {cause}; choose a directory with --config-dir or ADIT_CONFIG_DIR", path.display())]
    Unwritable {
        /// The directory.
        path: PathBuf,
        /// What the file system said.
        cause: io::Error,
    },
    /// Something in it cannot be read.
    #[error(
        "cannot read {}: {cause}; make it readable for user {}, or run as its owner", path.display(),
        rustix::process::geteuid().as_raw()
    )]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What the file system said.
        cause: io::Error,
    },
    /// A template has something that is not rendered.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Another gateway uses it.
    #[error("{} is in use by another adit; give each gateway a --config-dir of its own", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {cause}", path.display())]
    File {
        /// `read`, `write` or `remove`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the file system said.
        cause: io::Error,
    },
    /// A file that should hold a key holds something else.
    #[error("{} does not hold a key: {cause}; restore it, or remove it to have a new key made", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: KeyError,
    },
}

/// A directory that this program alone uses, until the value is dropped.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    _lock: File,
}

/// What the directory holds of one peer.
#[derive(Debug, Default)]
pub struct Stored {
    /// Its private key.
    pub private_key: Option<PrivateKey>,
    /// Its preshared key; a peer of an old installation may have a private key and none of these.
    pub preshared_key: Option<PresharedKey>,
    /// The addresses in its configuration.
    pub addresses: Vec<IpAddr>,
    /// The `HOST:PORT` in its configuration.
    pub endpoint: Option<String>,
}

impl Directory {
    /// Opens a directory, which is made if it does not exist, and removes what an interrupted start left half done.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::Unwritable`] or [`DirectoryError::InUse`], before anything in it was changed.
    pub fn open(root: &Path) -> Result<Self, DirectoryError> {
        let unwritable = |cause| DirectoryError::Unwritable {
            path: root.to_owned(),
            cause,
        };
        adopt::check(root)?;
        file::make_private_directory(root).map_err(unwritable)?;
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .open(root.join(LOCK))
            .map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DirectoryError::InUse { path: root.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(unwritable(error)),
        }
        let directory = Self {
            root: root.to_owned(),
            _lock: lock,
        };
        adopt::bring_up_to_date(root).map_err(unwritable)?;
        directory.remove_leftovers().map_err(unwritable)?;
        file::remove_leftovers(root).map_err(unwritable)?;
        directory.undo()?;
        Ok(directory)
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The server's private key, if there is one.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or holds no key.
    pub fn server_key(&self) -> Result<Option<PrivateKey>, DirectoryError> {
        read_key(&self.root.join("server/privatekey-server"), PrivateKey::from_base64)
    }

    /// Keeps the server's private key, and its public key beside it.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn keep_server_key(&self, key: &PrivateKey) -> Result<(), DirectoryError> {
        let directory = self.root.join("server");
        write(
            &directory.join("privatekey-server"),
            &line(&key.danger_base64()),
            Worth::Kept,
        )?;
        let public = line(&key.public_key().to_string());
        write(&directory.join("publickey-server"), &public, Worth::Derived).map(drop)
    }

    /// The gateway's own addresses in `wg_confs/wg0.conf`, with the prefix lengths that they have there.
    ///
    /// # Errors
    ///
    /// If the file is there and cannot be read.
    pub fn server_addresses(&self) -> Result<Vec<IpNet>, DirectoryError> {
        Ok(read(&self.server_conf_path())?
            .map(|text| addresses(&text))
            .unwrap_or_default())
    }

    /// The gateway's own addresses at its last start: those in `wg_confs/wg0.conf`, then the one of the saved variables.
    ///
    /// # Errors
    ///
    /// If a file is there and cannot be read.
    pub(crate) fn former_gateway(&self) -> Result<Vec<IpAddr>, DirectoryError> {
        let mut addresses: Vec<IpAddr> = self.server_addresses()?.iter().map(IpNet::addr).collect();
        if let Some(saved) = read(&self.root.join(form::SAVED))? {
            addresses.extend(Saved::parse(&saved).gateway().map(IpAddr::from));
        }
        Ok(addresses)
    }

    /// Whether another program has written in it, and this one never.
    pub(crate) fn is_foreign(&self) -> bool {
        !self.root.join(form::STATE).exists()
    }

    /// The peers in `wg_confs/wg0.conf`, by the names in their comments: those that the gateway served last.
    ///
    /// # Errors
    ///
    /// If the file is there and cannot be read.
    pub fn served(&self) -> Result<HashSet<String>, DirectoryError> {
        let text = read(&self.server_conf_path())?.unwrap_or_default();
        Ok(text
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .map(|name| name.trim().to_owned())
            .collect())
    }

    /// Where the gateway's own configuration is.
    pub fn server_conf_path(&self) -> PathBuf {
        self.root.join("wg_confs/wg0.conf")
    }

    /// Keeps the gateway's own configuration. Says whether it differs from the one before.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn keep_server_conf(&self, text: &str) -> Result<bool, DirectoryError> {
        write(&self.server_conf_path(), text.as_bytes(), Worth::Kept)
    }

    /// Keeps the configuration of a gateway whose directory is taken over as `wg0.conf.before-adit`, if it has other peers
    /// than these: somebody added them to it by hand, and nothing else knows of them. Says how many they are.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or the copy not written.
    pub fn keep_strangers(&self, known: &[PublicKey]) -> Result<usize, DirectoryError> {
        let path = self.server_conf_path();
        let Some(text) = read(&path)?.filter(|_| self.is_foreign()) else {
            return Ok(0);
        };
        // What is no configuration has no peers either.
        let count = Conf::parse(&path.to_string_lossy(), &text).map_or(0, |conf| {
            conf.peers().filter(|peer| !known.contains(&peer.public_key)).count()
        });
        if count > 0 {
            write(&path.with_extension("conf.before-adit"), text.as_bytes(), Worth::Kept)?;
        }
        Ok(count)
    }

    /// What is there of this peer; nothing of a new one.
    ///
    /// # Errors
    ///
    /// If a file is there and cannot be read, or holds no key.
    pub fn peer(&self, peer: &PeerId) -> Result<Stored, DirectoryError> {
        let path = |kind: Kind| self.peer_path(peer, kind);
        let conf = read(&path(Kind::Conf))?.unwrap_or_default();
        Ok(Stored {
            private_key: read_key(&path(Kind::PrivateKey), PrivateKey::from_base64)?,
            preshared_key: read_key(&path(Kind::PresharedKey), PresharedKey::from_base64)?,
            addresses: addresses(&conf).iter().map(IpNet::addr).collect(),
            endpoint: values(&conf, "Endpoint").next().map(str::to_owned),
        })
    }

    /// Addresses in the configurations of all peers, among them those that the gateway does not serve.
    ///
    /// # Errors
    ///
    /// If the directory or a file in it cannot be read.
    pub fn addresses_of_all(&self) -> Result<Vec<IpAddr>, DirectoryError> {
        let mut found = Vec::new();
        for directory in self.peer_directories()? {
            let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let conf = read(&directory.join(format!("{name}.conf")))?.unwrap_or_default();
            found.extend(addresses(&conf).iter().map(IpNet::addr));
        }
        Ok(found)
    }

    /// Keeps a peer's keys, as far as they are known. The preshared key is written first: a private key without one is
    /// an old installation's.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn keep_peer_keys(&self, peer: &PeerId, client: &Client) -> Result<(), DirectoryError> {
        let kept = |kind: Kind, key: Zeroizing<String>| write(&self.peer_path(peer, kind), &line(&key), Worth::Kept);
        if let Some(key) = &client.preshared_key {
            kept(Kind::PresharedKey, key.danger_base64())?;
        }
        if let Some(key) = &client.private_key {
            kept(Kind::PrivateKey, key.danger_base64())?;
        }
        let public = line(&client.public_key.to_string());
        write(&self.peer_path(peer, Kind::PublicKey), &public, Worth::Derived).map(drop)
    }

    /// The error of syncing the directory.
    pub(crate) fn unsynced(&self, cause: io::Error) -> DirectoryError {
        DirectoryError::File {
            action: "write",
            path: self.root.clone(),
            cause,
        }
    }

    /// Keeps a peer's configuration, unless it `leaves` the one that is there, and its picture, which is drawn only if
    /// it is wanted, from a text, the path of its file, and that of the picture; one that cannot be drawn, or is drawn
    /// later, is removed. Says whether the configuration differs from the one before.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn keep_peer_conf(
        &self,
        peer: &PeerId,
        text: &str,
        leaves: impl FnOnce(&str) -> bool,
        draw: impl FnOnce(&str, &Path, &Path) -> Picture,
    ) -> Result<bool, DirectoryError> {
        let (conf, picture) = (self.peer_path(peer, Kind::Conf), self.peer_path(peer, Kind::Png));
        let old = read(&conf)?.filter(|old| **old == text || leaves(old));
        if old.is_some() && fs::metadata(&picture).is_ok_and(|picture| picture.len() > 0) {
            return Ok(false);
        }
        let text = old.as_ref().map_or(text, |old| old.as_str());
        // The picture first: a configuration that is there has its picture, or none.
        match draw(text, &conf, &picture) {
            Picture::Drawn(png) => write(&picture, &png, Worth::Derived).map(drop)?,
            Picture::Impossible | Picture::Later => match fs::remove_file(&picture) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(DirectoryError::File {
                        action: "remove",
                        path: picture,
                        cause,
                    });
                }
                _ => {}
            },
        }
        write(&conf, text.as_bytes(), Worth::Kept)
    }

    /// A peer's configuration, as it is there; a person may have edited it.
    ///
    /// # Errors
    ///
    /// If it is there and cannot be read.
    pub fn peer_conf(&self, peer: &PeerId) -> Result<Option<Zeroizing<String>>, DirectoryError> {
        read(&self.peer_path(peer, Kind::Conf))
    }

    /// Where one of a peer's files is.
    pub fn peer_path(&self, peer: &PeerId, kind: Kind) -> PathBuf {
        let id = peer.file_name();
        let name = match kind {
            Kind::PrivateKey => format!("privatekey-{id}"),
            Kind::PublicKey => format!("publickey-{id}"),
            Kind::PresharedKey => format!("presharedkey-{id}"),
            Kind::Conf => format!("{id}.conf"),
            Kind::Png => format!("{id}.png"),
        };
        self.root.join(id).join(name)
    }

    fn peer_directories(&self) -> Result<Vec<PathBuf>, DirectoryError> {
        let error = |cause| DirectoryError::File {
            action: "read",
            path: self.root.clone(),
            cause,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(error)? {
            let path = entry.map_err(error)?.path();
            let is_peer = path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"peer"));
            if is_peer && path.is_dir() {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    fn remove_leftovers(&self) -> io::Result<()> {
        let peers = self
            .peer_directories()
            .map_err(|error| io::Error::other(error.to_string()))?;
        let own = ["server", "wg_confs"].map(|name| self.root.join(name));
        own.into_iter()
            .chain(peers)
            .filter(|path| path.is_dir())
            .try_for_each(|path| file::remove_leftovers(&path))
    }
}

/// A file of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The private key, in base64.
    PrivateKey,
    /// The public key, in base64.
    PublicKey,
    /// The preshared key, in base64.
    PresharedKey,
    /// The configuration that the client imports.
    Conf,
    /// The configuration as a QR code.
    Png,
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.display().fmt(f)
    }
}

fn line(text: &str) -> Zeroizing<Vec<u8>> {
    let mut line = Zeroizing::new(Vec::with_capacity(text.len() + 1));
    line.extend_from_slice(text.as_bytes());
    line.push(b'\n');
    line
}

fn write(path: &Path, content: &[u8], worth: Worth) -> Result<bool, DirectoryError> {
    let error = |cause| DirectoryError::File {
        action: "write",
        path: path.to_owned(),
        cause,
    };
    if let Some(parent) = path.parent() {
        file::make_private_directory(parent).map_err(error)?;
    }
    file::write_if_changed(path, content, worth).map_err(error)
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, DirectoryError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(DirectoryError::File {
            action: "read",
            path: path.to_owned(),
            cause,
        }),
    }
}

fn read_key<K>(path: &Path, parse: fn(&str) -> Result<K, KeyError>) -> Result<Option<K>, DirectoryError> {
    let Some(text) = read(path)? else { return Ok(None) };
    parse(text.trim()).map(Some).map_err(|cause| DirectoryError::Key {
        path: path.to_owned(),
        cause,
    })
}

/// The values of a keyword, wherever it stands in a configuration.
fn values<'a>(text: &'a str, keyword: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        let (key, value) = line.split('#').next()?.split_once('=')?;
        key.trim().eq_ignore_ascii_case(keyword).then(|| value.trim())
    })
}

fn addresses(text: &str) -> Vec<IpNet> {
    let items = values(text, "Address").flat_map(|value| value.split(',').map(str::trim));
    items
        .filter_map(|item| {
            item.parse()
                .ok()
                .or_else(|| item.parse::<IpAddr>().ok().map(IpNet::from))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_random([seed; 32])
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let root = tempfile::tempdir().unwrap();
        let (one, phone) = (PeerId::numbered(1), "phone".parse().unwrap());
        let psk = PresharedKey::from_bytes([9; 32]);
        {
            let directory = Directory::open(root.path()).unwrap();
            assert!(directory.server_key().unwrap().is_none() && directory.peer(&one).unwrap().private_key.is_none());
            directory.keep_server_key(&key(1)).unwrap();
            let client = |seed, psk| Client::with_key(key(seed), psk, Vec::new());
            directory.keep_peer_keys(&one, &client(2, Some(psk.clone()))).unwrap();
            directory.keep_peer_keys(&phone, &client(3, None)).unwrap();
            let drawn = |_: &str, _: &Path, _: &Path| Picture::Drawn(b"png".to_vec());
            let conf = "[Interface]\nAddress = 10.13.13.2, fd00::2/128 # two\nPrivateKey = x\n\n[Peer]\nendpoint=a:1\n";
            assert!(directory.keep_peer_conf(&one, conf, |_| false, drawn).unwrap());
            assert!(!directory.keep_peer_conf(&one, conf, |_| false, drawn).unwrap());
            assert!(
                directory
                    .keep_server_conf("[Interface]\naddress = 10.13.13.1\n")
                    .unwrap()
            );
        }
        let directory = Directory::open(root.path()).unwrap();
        assert_eq!(directory.server_key().unwrap(), Some(key(1)));
        let stored = directory.peer(&one).unwrap();
        assert_eq!((stored.private_key, stored.preshared_key), (Some(key(2)), Some(psk)));
        assert_eq!(
            stored.addresses,
            ["10.13.13.2".parse::<IpAddr>().unwrap(), "fd00::2".parse().unwrap()]
        );
        assert_eq!(stored.endpoint.as_deref(), Some("a:1"));
        assert_eq!(directory.addresses_of_all().unwrap(), stored.addresses);
        let stored = directory.peer(&phone).unwrap();
        assert_eq!((stored.private_key, stored.preshared_key), (Some(key(3)), None));
        assert_eq!(
            directory.server_addresses().unwrap(),
            ["10.13.13.1/32".parse::<IpNet>().unwrap()]
        );
        for file in [
            "server/privatekey-server",
            "peer1/presharedkey-peer1",
            "peer_phone/privatekey-peer_phone",
        ] {
            let mode = fs::metadata(root.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        let public = fs::read_to_string(root.path().join("peer1/publickey-peer1")).unwrap();
        assert_eq!(public, format!("{}\n", key(2).public_key()));
    }

    #[test]
    fn a_directory_has_one_user() {
        let root = tempfile::tempdir().unwrap();
        let first = Directory::open(root.path()).unwrap();
        assert!(matches!(
            Directory::open(root.path()),
            Err(DirectoryError::InUse { .. })
        ));
        drop(first);
        Directory::open(root.path()).unwrap();
    }

    #[test]
    fn a_damaged_key_is_an_error_and_is_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("server/privatekey-server");
        fs::create_dir(root.path().join("server")).unwrap();
        for content in ["", "not a key\n"] {
            fs::write(&path, content).unwrap();
            let error = Directory::open(root.path()).unwrap().server_key().unwrap_err();
            assert!(
                error.to_string().contains("privatekey-server does not hold a key"),
                "{error}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_picture_that_cannot_be_drawn_is_removed_and_an_empty_one_drawn() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let peer = PeerId::numbered(1);
        let picture = directory.peer_path(&peer, Kind::Png);
        let drawn = || Picture::Drawn(b"png".to_vec());
        let keep = |conf: &str, drawn: Picture| {
            let draw = |_: &str, _: &Path, _: &Path| drawn;
            directory.keep_peer_conf(&peer, conf, |_| false, draw).unwrap()
        };
        for none in [Picture::Impossible, Picture::Later] {
            assert!(keep("one", drawn()) && picture.exists());
            assert!(keep("two", none) && !picture.exists());
        }
        fs::write(&picture, "").unwrap();
        assert!(!keep("two", drawn()));
        assert_eq!(fs::read_to_string(&picture).unwrap(), "png");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Directory::open(&file).unwrap_err();
        assert!(error.to_string().contains("--config-dir"), "{error}");
    }

    #[test]
    fn peers_that_somebody_added_by_hand_are_kept_at_a_takeover() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let [listed, stranger] = [1, 2].map(|byte| PublicKey::from_bytes([byte; 32]));
        let text = format!("[Interface]\n\n[Peer]\nPublicKey = {listed}\n\n[Peer]\n# office\nPublicKey = {stranger}\n");
        let copy = root.path().join("wg_confs/wg0.conf.before-adit");
        assert_eq!(directory.keep_strangers(&[listed]).unwrap(), 0, "there is none yet");
        fs::write(directory.server_conf_path(), &text).unwrap();
        assert_eq!(directory.keep_strangers(&[listed, stranger]).unwrap(), 0);
        assert!(!copy.exists());
        assert_eq!(directory.keep_strangers(&[listed]).unwrap(), 1);
        assert_eq!(fs::read_to_string(&copy).unwrap(), text);
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        // Once it is ours, what is in it is derived.
        fs::write(root.path().join(form::STATE), "").unwrap();
        assert_eq!(directory.keep_strangers(&[]).unwrap(), 0);
    }

    #[test]
    fn half_written_files_are_gone_after_the_next_start() {
        let root = tempfile::tempdir().unwrap();
        let leftovers = [
            "peer1/.peer1.conf.adit-new",
            "server/.privatekey-server.adit-new",
            "wg_confs/.wg0.conf.adit-new",
        ];
        for leftover in leftovers.map(|leftover| root.path().join(leftover)) {
            fs::create_dir(leftover.parent().unwrap()).unwrap();
            fs::write(&leftover, "half").unwrap();
        }
        Directory::open(root.path()).unwrap();
        for leftover in leftovers {
            assert!(!root.path().join(leftover).exists(), "{leftover}");
        }
    }
}
