//! Files that are read out of a container: by the engine, so that the container needs no program for it.

use std::io::Read as _;

use bollard::query_parameters::DownloadFromContainerOptions;
use futures_util::StreamExt as _;
use zeroize::Zeroizing;

use super::{CallError, Engine};

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
