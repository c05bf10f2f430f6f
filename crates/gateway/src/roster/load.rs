//! Reads what a directory holds of many peers, and shares such work out among the processors.

use std::{panic::resume_unwind, thread};

use wg::{PrivateKey, PublicKey};

use crate::{
    directory::{Directory, DirectoryError, Stored},
    environment::PeerId,
};

/// What the directory holds of a peer.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) stored: Stored,
    /// That of its private key.
    pub(super) public_key: Option<PublicKey>,
}

pub(super) fn public_key(stored: &Stored) -> Option<PublicKey> {
    stored.private_key.as_ref().map(PrivateKey::public_key)
}

/// Reads what there is of all these peers.
pub(super) fn load(directory: &Directory, ids: &[PeerId]) -> Result<Vec<Loaded>, DirectoryError> {
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
pub(super) fn in_threads<T: Sync, R: Send, E: Send>(
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
