//! The indices that this host gave out, and what each stands for.

use std::{
    collections::{HashMap, hash_map},
    hash::{BuildHasherDefault, Hasher},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use crate::{peer::Peer, session::Opener};

/// What an index stands for.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// An initiation that waits for its response.
    Handshake(Arc<Peer>),
    /// A session.
    Session(Arc<Peer>, Arc<Opener>),
}

/// Indices are random and ours, and looking one up that is not there does no harm: they are their own hash.
#[derive(Default)]
pub(super) struct IndexHasher(u64);

impl Hasher for IndexHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0 << 8 | u64::from(byte);
        }
    }

    fn write_u32(&mut self, index: u32) {
        // The map takes the bucket from the low bits and a tag from the high ones.
        self.0 = u64::from(index) << 32 | u64::from(index);
    }
}

type Table = HashMap<u32, Entry, BuildHasherDefault<IndexHasher>>;

/// All indices.
#[derive(Debug, Default)]
pub(super) struct IndexTable(RwLock<Table>);

impl IndexTable {
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, index: u32) -> Option<Entry> {
        self.read().get(&index).cloned()
    }

    /// Draws an index that is not in use, and gives it this meaning.
    pub(super) fn insert(&self, random: fn(&mut [u8]), entry: Entry) -> u32 {
        let mut table = self.write();
        loop {
            let mut bytes = [0; 4];
            random(&mut bytes);
            let index = u32::from_le_bytes(bytes);
            if let hash_map::Entry::Vacant(vacant) = table.entry(index) {
                vacant.insert(entry);
                return index;
            }
        }
    }

    /// Gives an index another meaning.
    pub(super) fn replace(&self, index: u32, entry: Entry) {
        self.write().insert(index, entry);
    }

    pub(super) fn remove(&self, indices: impl IntoIterator<Item = u32>) {
        let mut indices = indices.into_iter().peekable();
        if indices.peek().is_some() {
            let mut table = self.write();
            for index in indices {
                table.remove(&index);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.read().len()
    }
}
