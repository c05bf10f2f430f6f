//! Files that are read out of a container and put into it: by the engine, so that the container needs no program for it.

use std::io::{self, Read as _};

use bollard::{
    body_full,
    query_parameters::{DownloadFromContainerOptions, UploadToContainerOptions},
};
use futures_util::StreamExt as _;
use zeroize::Zeroizing;

use super::{CallError, Engine};

/// What is put into a container: root's, and what others may do with it is read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// A folder, which may be there already.
    Folder {
        /// Where, from the root on, without a slash before it.
        path: String,
    },
    /// A file, in place of what is there. For a moment it is not there, or not whole.
    File {
        /// Where, from the root on, without a slash before it. Its folder is there, or put before it.
        path: String,
        /// What is in it, without a secret.
        content: Vec<u8>,
        /// Whether it is a program.
        is_program: bool,
    },
}

/// Longest file that is read, in bytes.
const MOST: usize = 4 << 20;

/// What stands around a file in an archive: heads, a long name, and its end.
const AROUND: usize = 64 << 10;

impl Engine {
    /// A file of a container, running or not; `None` if the container has no such file.
    ///
    /// # Errors
    ///
    /// [`CallError::Missing`] without the container; [`CallError::Unclear`] if the engine breaks off, or gives something
    /// else than a file of at most 4 MiB.
    pub async fn read_file(&self, container: &str, path: &str) -> Result<Option<Zeroizing<Vec<u8>>>, CallError> {
        let options = DownloadFromContainerOptions { path: path.to_owned() };
        let client = self.client().await?;
        let mut stream = std::pin::pin!(client.download_from_container(container, Some(options)));
        let mut archive = Zeroizing::new(Vec::with_capacity(AROUND));
        while let Some(piece) = stream.next().await {
            match piece.map_err(CallError::from) {
                Ok(piece) if archive.len() + piece.len() > MOST + AROUND => {
                    return Err(CallError::Unclear(format!("{path} in the container is too long")));
                }
                Ok(piece) => archive.extend_from_slice(&piece),
                // The engine says the same of a container and of a file.
                Err(CallError::Missing(message)) => {
                    let is_there = self.find(container).await?.is_some();
                    return if is_there {
                        Ok(None)
                    } else {
                        Err(CallError::Missing(message))
                    };
                }
                Err(error) => return Err(error),
            }
        }
        let file = only_file(&archive);
        file.map(Some)
            .ok_or_else(|| CallError::Unclear(format!("{path} in the container is not a file, or was cut off")))
    }

    /// Puts folders and files into a container, running or not.
    ///
    /// # Errors
    ///
    /// [`CallError::Missing`] without the container; [`CallError::Refused`] if nothing can be written in it.
    pub async fn put(&self, container: &str, all: &[Put]) -> Result<(), CallError> {
        let archive = packed(all).map_err(|error| CallError::Refused(error.to_string()))?;
        let options = UploadToContainerOptions {
            path: "/".to_owned(),
            ..UploadToContainerOptions::default()
        };
        let client = self.client().await?;
        Ok(client
            .upload_to_container(container, Some(options), body_full(archive.into()))
            .await?)
    }
}

/// An archive with folders and files that are root's.
fn packed(all: &[Put]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for put in all {
        let (path, kind, mode, content) = match put {
            Put::Folder { path } => (path, tar::EntryType::Directory, 0o755, &[][..]),
            Put::File {
                path,
                content,
                is_program,
            } => {
                let mode = if *is_program { 0o755 } else { 0o644 };
                (path, tar::EntryType::Regular, mode, content.as_slice())
            }
        };
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content)?;
    }
    archive.into_inner()
}

/// The one file of an archive, if it is whole.
fn only_file(archive: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut archive = tar::Archive::new(archive);
    let entry = archive.entries().ok()?.next()?.ok()?;
    if !entry.header().entry_type().is_file() {
        return None;
    }
    let len = usize::try_from(entry.size()).ok().filter(|len| *len <= MOST)?;
    let mut content = Zeroizing::new(Vec::with_capacity(len));
    entry.take(MOST as u64).read_to_end(&mut content).ok()?;
    (content.len() == len).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(kind: tar::EntryType, content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_data(&mut header, "peer_phone.conf", content).unwrap();
        archive.into_inner().unwrap()
    }

    #[test]
    fn what_is_put_into_a_container_is_root_s() {
        let archive = packed(&[
            Put::Folder { path: "a".to_owned() },
            Put::File {
                path: "a/program".to_owned(),
                content: b"#!".to_vec(),
                is_program: true,
            },
            Put::File {
                path: "b".to_owned(),
                content: Vec::new(),
                is_program: false,
            },
        ]);
        let archive = archive.unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let header = entry.header();
            let path = entry.path().unwrap().display().to_string();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0), "{path}");
            format!("{path} {:o} {content}", header.mode().unwrap())
        });
        let entries: Vec<String> = entries.collect();
        assert_eq!(entries, ["a 755 ", "a/program 755 #!", "b 644 "]);
    }

    #[test]
    fn a_file_is_taken_whole_or_not_at_all() {
        let content = [7; 1000];
        let whole = archive(tar::EntryType::Regular, &content);
        assert_eq!(only_file(&whole).unwrap().as_slice(), content);
        let folder = archive(tar::EntryType::Directory, b"");
        let mut huge = whole.clone();
        huge[124..136].copy_from_slice(b"77777777777\0");
        for wrong in [&whole[..600], &whole[..100], &[], &folder, &huge] {
            assert_eq!(only_file(wrong), None);
        }
    }
}
