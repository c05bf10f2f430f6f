//! The thread that reads what is kept once and then writes it: storage may be slow, or away, and the gateway goes on.
//!
//! ```text
//!   gateway ── newest state ──▶ keeper ── sealed ──▶ file, or blob (if nobody else has written it)
//! ```

use std::{
    fmt, io,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender},
    time::{Duration, Instant},
};

use azure::blob::{Blob, Fault, Tag};
use gateway::key;
use launch::LeaseId;
use tokio::runtime::Runtime;
use wg::PrivateKey;

use super::{
    file::StateFile,
    kept::Kept,
    seal::{self, Key, NONCE_LEN},
};
use crate::log;

/// How long storage that is away is asked again at the start.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it is waited before the second attempt; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Longest state that is read: a thousand times what a gateway with one peer keeps.
const MAX_STATE: u64 = 1 << 20;

/// Where the state is.
#[derive(Clone, Debug)]
pub(super) enum Store {
    File(StateFile),
    Blob(Blob),
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.path().display().fmt(f),
            Self::Blob(blob) => blob.location().fmt(f),
        }
    }
}

/// What the gateway tells its keeper.
#[derive(Debug)]
pub(super) enum Order {
    /// This is to be kept. Only the newest is written.
    Keep(PrivateKey, Kept),
    /// The gateway ends: what has come is written once more, or, if its time is over, removed.
    End { removes: bool, done: SyncSender<()> },
}

/// What was there at the start.
pub(super) type Found = anyhow::Result<Option<(PrivateKey, Kept)>>;

/// What went wrong with storage.
#[derive(Debug)]
enum StoreError {
    /// It may work later.
    Away(String),
    /// Somebody else has written it since.
    Changed,
    /// It will not work.
    Refused(String),
}

impl StoreError {
    fn text(self) -> String {
        match self {
            Self::Away(text) | Self::Refused(text) => text,
            Self::Changed => "somebody else has written it meanwhile".to_owned(),
        }
    }
}

/// The keeper.
#[derive(Debug)]
pub(super) struct Keeper {
    store: Store,
    lease: LeaseId,
    key: Key,
    runtime: Runtime,
    /// Which content of the blob ours is; `None` if there is none yet.
    tag: Option<Tag>,
    /// The nonces of what was sent since the last answer: any of it may have arrived.
    sent: Vec<[u8; NONCE_LEN]>,
}

impl Keeper {
    pub(super) fn new(store: Store, lease: LeaseId, key: Key) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            store,
            lease,
            key,
            runtime,
            tag: None,
            sent: Vec::new(),
        })
    }

    /// Reads, says what was there, and writes until the gateway ends.
    pub(super) fn run(mut self, found: &mut dyn FnMut(Found) -> bool, orders: &Receiver<Order>) {
        let read = self.load();
        let goes_on = read.is_ok();
        // Whoever does not wait any more has ended.
        if found(read) && goes_on {
            self.write_on(orders);
        }
    }

    fn load(&mut self) -> Found {
        let begun = Instant::now();
        let mut wait = FIRST_WAIT;
        let bytes = loop {
            match self.read() {
                Ok(bytes) => break bytes,
                Err(StoreError::Away(why)) if begun.elapsed() + wait < PATIENCE => {
                    log::line(&format!("the state cannot be read, and is asked for again: {why}"));
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Err(error) => anyhow::bail!("--state {}: it cannot be read: {}", self.store, error.text()),
            }
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let wrong = |why: &dyn fmt::Display| anyhow::anyhow!("--state {}: {why}", self.store);
        if bytes.len() as u64 > MAX_STATE {
            return Err(wrong(&seal::SealError::Foreign));
        }
        let plain = seal::open(&bytes, self.lease, &self.key).map_err(|error| wrong(&error))?;
        let kept = Kept::read(&plain).map_err(|place| {
            wrong(&format!(
                "what is sealed in it is not understood at {place}: start the adit that wrote it"
            ))
        })?;
        Ok(Some(kept))
    }

    fn write_on(mut self, orders: &Receiver<Order>) {
        let mut wanted: Option<(PrivateKey, Kept)> = None;
        let mut next = Instant::now();
        let mut wait = FIRST_WAIT;
        let mut is_lost = false;
        loop {
            let order = match &wanted {
                Some(_) => match orders.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    Ok(order) => Some(order),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                },
                None => match orders.recv() {
                    Ok(order) => Some(order),
                    Err(_) => return,
                },
            };
            match order {
                Some(Order::Keep(..)) if is_lost => continue,
                Some(Order::Keep(private_key, kept)) => {
                    wanted = Some((private_key, kept));
                    // What fails is not tried more often because there is more of it.
                    continue;
                }
                Some(Order::End { removes, done }) => {
                    if !is_lost {
                        self.finish(removes, wanted.as_ref());
                    }
                    let _unheard = done.send(());
                    return;
                }
                None => {}
            }
            let Some((private_key, kept)) = &wanted else { continue };
            match self.write(private_key, kept) {
                Ok(()) => {
                    wanted = None;
                    (next, wait) = (Instant::now(), FIRST_WAIT);
                }
                Err(StoreError::Changed) => {
                    (wanted, is_lost) = (None, true);
                    log::line(&format!(
                        "warning: another gateway has written the state {}: this one writes it no more",
                        self.store
                    ));
                }
                Err(StoreError::Away(why) | StoreError::Refused(why)) => {
                    log::line(&format!(
                        "warning: the state {} cannot be written, and is tried again in {} s: {why}",
                        self.store,
                        wait.as_secs()
                    ));
                    next = Instant::now() + wait;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// The last that is done.
    fn finish(&mut self, removes: bool, wanted: Option<&(PrivateKey, Kept)>) {
        let (what, done) = match (removes, wanted) {
            (true, _) => ("removed", self.remove()),
            (false, Some((private_key, kept))) => ("written", self.write(private_key, kept)),
            (false, None) => return,
        };
        if let Err(error) = done {
            log::line(&format!(
                "warning: the state {} was not {what}: {}",
                self.store,
                error.text()
            ));
        }
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match &self.store {
            Store::File(file) => file
                .read(MAX_STATE + 1)
                .map_err(|error| StoreError::Refused(error.to_string())),
            Store::Blob(blob) => {
                let found = self.runtime.block_on(blob.read(MAX_STATE + 1)).map_err(of_blob)?;
                self.tag = found.as_ref().map(|content| content.tag.clone());
                Ok(found.map(|content| content.bytes))
            }
        }
    }

    fn write(&mut self, private_key: &PrivateKey, kept: &Kept) -> Result<(), StoreError> {
        let nonce = key::random().map_err(|error| StoreError::Refused(error.to_string()))?;
        let sealed = seal::seal(&kept.write(private_key), self.lease, &self.key, *nonce);
        let blob = match &self.store {
            Store::File(file) => {
                return file
                    .write(&sealed)
                    .map_err(|error| StoreError::Refused(error.to_string()));
            }
            Store::Blob(blob) => blob.clone(),
        };
        let mut written = self.runtime.block_on(blob.write(&sealed, self.tag.as_ref()));
        if written.as_ref().is_err_and(|error| error.fault == Fault::Changed) {
            // Perhaps by us: an answer may have been lost.
            let there = self.runtime.block_on(blob.read(MAX_STATE + 1)).map_err(of_blob)?;
            let is_ours = |bytes: &[u8]| seal::nonce(bytes).is_some_and(|nonce| self.sent.contains(nonce));
            let Some(there) = there.filter(|there| is_ours(&there.bytes)) else {
                return Err(StoreError::Changed);
            };
            written = self.runtime.block_on(blob.write(&sealed, Some(&there.tag)));
        }
        match written {
            Ok(tag) => {
                self.sent.clear();
                self.tag = Some(tag);
                Ok(())
            }
            Err(error) => {
                self.sent.push(*nonce);
                Err(of_blob(error))
            }
        }
    }

    fn remove(&mut self) -> Result<(), StoreError> {
        match (&self.store, &self.tag) {
            (Store::File(file), _) => file.remove().map_err(|error| StoreError::Refused(error.to_string())),
            (Store::Blob(blob), Some(tag)) => self.runtime.block_on(blob.remove(tag)).map_err(of_blob),
            (Store::Blob(_), None) => Ok(()),
        }
    }
}

fn of_blob(error: azure::blob::BlobError) -> StoreError {
    match error.fault {
        Fault::Transient => StoreError::Away(error.to_string()),
        Fault::Changed => StoreError::Changed,
        Fault::NoBlob | Fault::NoContainer | Fault::Denied | Fault::Refused => StoreError::Refused(error.to_string()),
    }
}
