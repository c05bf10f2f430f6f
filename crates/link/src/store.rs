//! Where links are kept: a folder of root's, a file for each.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{Link, LinkName, secret::Secret};

/// Where it is unless it is put elsewhere.
pub const FOLDER: &str = "/var/lib/adit/link";

/// What the files of links, and of hosts that are about to join, end with.
const LINK: &str = "json";
const PENDING: &str = "joining";

/// The folder.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// A host that is about to join: the key that it has made, and the token's secret. If it asks once more, it is the same.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) key: Secret,
    pub(crate) token: Secret,
}

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct StoreError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub cause: io::Error,
}

impl Store {
    /// The store in this folder, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let made = fs::create_dir_all(folder).and_then(|()| fs::set_permissions(folder, Permissions::from_mode(0o700)));
        made.map_err(|cause| StoreError {
            path: folder.to_owned(),
            cause,
        })?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    fn path(&self, name: &LinkName, ending: &str) -> PathBuf {
        self.folder.join(format!("{name}.{ending}"))
    }

    /// The links, by name, and what is wrong with files that cannot be read: those are left as they are.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub fn load(&self) -> Result<(BTreeMap<LinkName, Link>, Vec<StoreError>), StoreError> {
        let (mut links, mut wrong) = (BTreeMap::new(), Vec::new());
        for name in self.names(LINK)? {
            let path = self.path(&name, LINK);
            match read::<Link>(&path) {
                Ok(link) if link.name == name => drop(links.insert(name, link)),
                Ok(link) => wrong.push(StoreError {
                    path,
                    cause: io::Error::other(format!("it is of the link {}: give it back its name", link.name)),
                }),
                Err(cause) => wrong.push(StoreError { path, cause }),
            }
        }
        Ok((links, wrong))
    }

    fn names(&self, ending: &str) -> Result<Vec<LinkName>, StoreError> {
        let failed = |cause| StoreError {
            path: self.folder.clone(),
            cause,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let file = entry.map_err(failed)?.file_name();
            let name = file.to_str().and_then(|file| file.rsplit_once('.'));
            if let Some((name, _)) = name.filter(|(_, found)| *found == ending)
                && let Ok(name) = name.parse()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Keeps a link, down to the disk.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; then the file is as it was.
    pub fn save(&self, link: &Link) -> Result<(), StoreError> {
        write(&self.path(&link.name, LINK), link)
    }

    /// Forgets a link.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn forget(&self, name: &LinkName) -> Result<(), StoreError> {
        remove(&self.path(name, LINK))
    }

    /// The links that this host was about to join when its daemon ended.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub(crate) fn pending(&self) -> Result<Vec<LinkName>, StoreError> {
        self.names(PENDING)
    }

    /// The key with which this host joins by a token: a new one, or that of before if it is the same token.
    pub(crate) fn begin_joining(&self, name: &LinkName, token: &Secret) -> Result<Secret, StoreError> {
        let path = self.path(name, PENDING);
        if let Ok(pending) = read::<Pending>(&path)
            && pending.token.danger_bytes() == token.danger_bytes()
        {
            return Ok(pending.key);
        }
        let key = Secret::random().map_err(|error| StoreError {
            path: path.clone(),
            cause: io::Error::other(error),
        })?;
        let token = token.clone();
        write(
            &path,
            &Pending {
                key: key.clone(),
                token,
            },
        )?;
        Ok(key)
    }

    /// Forgets that this host was about to join.
    pub(crate) fn end_joining(&self, name: &LinkName) -> Result<(), StoreError> {
        remove(&self.path(name, PENDING))
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let text = Zeroizing::new(fs::read(path)?);
    Ok(serde_json::from_slice(&text)?)
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let write = || {
        let text = Zeroizing::new(serde_json::to_vec_pretty(value)?);
        let beside = path.with_extension("new");
        let written = (|| {
            let mut options = fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&beside, path)
        })();
        if written.is_err() {
            let _was_never_there = fs::remove_file(&beside);
        }
        written
    };
    write().map_err(|cause| StoreError {
        path: path.to_owned(),
        cause,
    })
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(StoreError {
            path: path.to_owned(),
            cause,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Settings;

    fn link(name: &str) -> Link {
        Link::create(
            name.parse().unwrap(),
            "10.77.0.0/16".parse().unwrap(),
            "host-a".parse().unwrap(),
            None,
            51820,
            Settings::default(),
            [1, 2].map(|seed| Secret::from_bytes([seed; 32])),
            1000,
        )
        .unwrap()
    }

    #[test]
    fn links_are_kept_for_root_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("link");
        let store = Store::open(&path).unwrap();
        store.save(&link("blue")).unwrap();
        store.save(&link("green")).unwrap();
        for (file, mode) in [(path.clone(), 0o700), (path.join("blue.json"), 0o600)] {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, mode);
        }
        fs::write(path.join("broken.json"), "{").unwrap();
        fs::copy(path.join("blue.json"), path.join("red.json")).unwrap();
        let (links, wrong) = Store::open(&path).unwrap().load().unwrap();
        let names: Vec<_> = links.keys().map(LinkName::to_string).collect();
        assert_eq!(names, ["blue", "green"]);
        let wrong: Vec<_> = wrong.iter().map(StoreError::to_string).collect();
        assert!(wrong[0].contains("broken.json: EOF"), "{wrong:?}");
        assert!(wrong[1].contains("red.json: it is of the link blue"), "{wrong:?}");
        store.forget(&"blue".parse().unwrap()).unwrap();
        store.forget(&"blue".parse().unwrap()).unwrap();
        assert_eq!(store.load().unwrap().0.len(), 1);
    }

    #[test]
    fn who_asks_once_more_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let name = "blue".parse().unwrap();
        let token = |seed| Secret::from_bytes([seed; 32]);
        let first = store.begin_joining(&name, &token(1)).unwrap();
        let again = store.begin_joining(&name, &token(1)).unwrap();
        assert_eq!(first.danger_bytes(), again.danger_bytes());
        assert_eq!(store.pending().unwrap(), std::slice::from_ref(&name));
        let other = store.begin_joining(&name, &token(2)).unwrap();
        assert_ne!(first.danger_bytes(), other.danger_bytes());
        store.end_joining(&name).unwrap();
        assert!(store.pending().unwrap().is_empty());
    }
}
