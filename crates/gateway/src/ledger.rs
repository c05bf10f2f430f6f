//! The records in a gateway's directory, and changes to several peers that are made whole or not at all.
//!
//! A change is announced in `.adit-change.json` before the first file of it is written, and is valid from the moment on
//! at which that file is removed. What a killed gateway leaves of a change that is still announced is undone at the
//! next start, or by the next change: what the peers' records and addresses were before is in the announcement.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    directory::{Directory, DirectoryError, Kind},
    environment::PeerId,
    file::{self, Worth},
    form,
    record::{self, Record, Standing},
};

/// The file that announces a change.
const ANNOUNCEMENT: &str = ".adit-change.json";

/// A change that is going on, as it stands in the file.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Announcement {
    peers: Vec<Before>,
}

/// What there was of a peer before a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before {
    /// The name of its directory.
    peer: String,
    /// Whether it had a directory.
    had_directory: bool,
    /// Its record.
    record: Record,
    /// The addresses in its configuration, as they are written there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<String>,
}

impl Before {
    /// What there is of a peer.
    ///
    /// # Errors
    ///
    /// If its configuration is there and cannot be read.
    pub(crate) fn of(directory: &Directory, peer: &PeerId, record: &Record) -> Result<Self, DirectoryError> {
        let conf = directory.peer_conf(peer)?;
        Ok(Self {
            peer: peer.file_name(),
            had_directory: directory.root().join(peer.file_name()).exists(),
            record: record.clone(),
            addresses: conf.map(|conf| form::addresses(&conf)).unwrap_or_default(),
        })
    }
}

impl Directory {
    /// What commands have said about a peer.
    ///
    /// # Errors
    ///
    /// If its record cannot be read, or is none.
    pub fn record(&self, peer: &PeerId) -> Result<Record, DirectoryError> {
        read_record(&self.root().join(peer.file_name()))
    }

    /// Every peer that has a record, in the order of the directories' names.
    ///
    /// # Errors
    ///
    /// If the directory or a record cannot be read.
    pub fn records(&self) -> Result<Vec<(PeerId, Record)>, DirectoryError> {
        let mut records = Vec::new();
        for entry in fs::read_dir(self.root()).map_err(error("read", self.root()))? {
            let entry = entry.map_err(error("read", self.root()))?;
            let name = entry.file_name();
            let Some(peer) = name.to_str().and_then(PeerId::of_file_name) else {
                continue;
            };
            let record = read_record(&entry.path())?;
            if !record.is_empty() {
                records.push((peer, record));
            }
        }
        records.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(records)
    }

    /// Keeps what commands have said about a peer.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn keep_record(&self, peer: &PeerId, record: &Record) -> Result<(), DirectoryError> {
        self.keep_record_of(&peer.file_name(), record)
    }

    fn keep_record_of(&self, name: &str, record: &Record) -> Result<(), DirectoryError> {
        let path = self.root().join(name).join(record::FILE_NAME);
        if record.is_empty() {
            return file::remove(&path).map_err(error("remove", &path));
        }
        file::make_private_directory(&self.root().join(name))
            .and_then(|()| file::write_if_changed(&path, record.text().as_bytes(), Worth::Kept))
            .map_err(error("write", &path))
            .map(drop)
    }

    /// Removes a peer's files, but not what a person has put beside them.
    ///
    /// # Errors
    ///
    /// If one cannot be removed.
    pub fn remove_peer(&self, peer: &PeerId, standing: Standing) -> Result<(), DirectoryError> {
        let directory = self.root().join(peer.file_name());
        let kept = (standing == Standing::Removed).then_some(record::FILE_NAME);
        remove_files(&directory, &peer.file_name(), kept)
    }

    /// Announces a change.
    pub(crate) fn announce(&self, peers: Vec<Before>) -> Result<(), DirectoryError> {
        let text = serde_json::to_vec(&Announcement { peers }).expect("names and records can be written");
        let path = self.root().join(ANNOUNCEMENT);
        file::write(&path, &text, Worth::Kept).map_err(error("write", &path))
    }

    /// Whether a change is announced: one that is going on, or that was to be undone and is not.
    pub(crate) fn is_announced(&self) -> bool {
        self.root().join(ANNOUNCEMENT).exists()
    }

    /// Says that the change is done: from here on it stays.
    pub(crate) fn settle(&self) -> Result<(), DirectoryError> {
        let path = self.root().join(ANNOUNCEMENT);
        file::remove(&path).map_err(error("remove", &path))
    }

    /// Undoes the change that is announced, if there is one. Gives the peers of which something was to be undone.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, written or removed; the change stays announced.
    pub fn undo(&self) -> Result<Vec<PeerId>, DirectoryError> {
        let path = self.root().join(ANNOUNCEMENT);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(error("read", &path)(cause)),
        };
        let announcement: Announcement =
            serde_json::from_slice(&text).map_err(|cause| error("read", &path)(cause.into()))?;
        let mut undone = Vec::new();
        for before in announcement.peers {
            // Names in the file are data: nothing but a peer's directory is touched.
            let Some(peer) = PeerId::of_file_name(&before.peer) else {
                continue;
            };
            if before.had_directory {
                self.keep_addresses(&peer, &before.addresses)?;
                self.keep_record(&peer, &before.record)?;
            } else {
                remove_files(&self.root().join(&before.peer), &before.peer, None)?;
            }
            undone.push(peer);
        }
        self.settle()?;
        Ok(undone)
    }

    /// Gives the addresses in a peer's configuration back what they were.
    fn keep_addresses(&self, peer: &PeerId, addresses: &[String]) -> Result<(), DirectoryError> {
        let Some(conf) = self.peer_conf(peer)?.filter(|conf| form::addresses(conf) != addresses) else {
            return Ok(());
        };
        if addresses.is_empty() {
            return Ok(());
        }
        // Its picture is drawn anew when it is kept.
        let (picture, path) = (self.peer_path(peer, Kind::Png), self.peer_path(peer, Kind::Conf));
        file::remove(&picture).map_err(error("remove", &picture))?;
        let conf = form::set_addresses(&conf, addresses);
        file::write(&path, conf.as_bytes(), Worth::Kept).map_err(error("write", &path))
    }
}

fn error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError + use<> {
    let path: PathBuf = path.to_owned();
    move |cause| DirectoryError::File { action, path, cause }
}

fn read_record(directory: &Path) -> Result<Record, DirectoryError> {
    let path = directory.join(record::FILE_NAME);
    match fs::read_to_string(&path) {
        Ok(text) => Record::read(&text)
            .map_err(|problem| error("read", &path)(io::Error::new(io::ErrorKind::InvalidData, problem))),
        Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Record::default())
        }
        Err(cause) => Err(error("read", &path)(cause)),
    }
}

/// Removes the files that a peer's directory has by its layout, and the directory if nothing else is in it.
fn remove_files(directory: &Path, name: &str, kept: Option<&str>) -> Result<(), DirectoryError> {
    let own = [
        format!("privatekey-{name}"),
        format!("publickey-{name}"),
        format!("presharedkey-{name}"),
        format!("{name}.conf"),
        format!("{name}.png"),
        // Last: as long as it is there, it is known what is to become of the others.
        record::FILE_NAME.to_owned(),
    ];
    for file in own.iter().filter(|file| Some(file.as_str()) != kept) {
        let path = directory.join(file);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(error("remove", &path)(cause)),
            _ => {}
        }
    }
    if directory.exists() {
        file::remove_leftovers(directory).map_err(error("read", directory))?;
    }
    // What else is in it is not ours.
    let _not_empty = fs::remove_dir(directory);
    Ok(())
}
