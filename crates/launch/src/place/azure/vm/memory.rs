//! What this process knows of machines beside what is noted: configurations with private keys, and what was read anew. Nothing
//! of it is ever kept on a disk; after a restart it is read of the machine once more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::output::Read;
use crate::{
    LeaseId,
    node::{Ready, Secret},
    place::Fault,
};

/// Least time between two readings of one machine that somebody asks for again and again.
const GAP: Duration = Duration::from_secs(60);

/// Ends that are no further apart are the same, in seconds: how long is left is told in whole ones.
const SAME: Duration = Duration::from_secs(2);

/// Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Mutex<HashMap<LeaseId, Known>>>);

#[derive(Debug, Default)]
struct Known {
    /// By the peer's name in lower case.
    configurations: HashMap<String, Secret>,
    /// What the gateway said when it was read last.
    ready: Option<Ready>,
    has_ended: bool,
    is_busy: bool,
    began: Option<Instant>,
    fault: Option<Fault>,
    /// The end that the machine was told, by the time since this machine was started.
    told: Option<Duration>,
}

impl Memory {
    fn all(&self) -> MutexGuard<'_, HashMap<LeaseId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a peer's configuration.
    pub(super) fn keep(&self, lease: LeaseId, peer: &str, text: Secret) {
        let mut all = self.all();
        let known = all.entry(lease).or_default();
        known.configurations.insert(peer.to_ascii_lowercase(), text);
    }

    /// A peer's configuration.
    pub(super) fn configuration(&self, lease: LeaseId, peer: &str) -> Option<Secret> {
        let all = self.all();
        all.get(&lease)?.configurations.get(&peer.to_ascii_lowercase()).cloned()
    }

    /// What the gateway said when it was read last; and whether it has ended since.
    pub(super) fn read(&self, lease: LeaseId) -> (Option<Ready>, bool) {
        let all = self.all();
        all.get(&lease)
            .map(|known| (known.ready.clone(), known.has_ended))
            .unwrap_or_default()
    }

    /// Whether a script may be begun: no other is under way, nor was one a moment ago. If it may, one is.
    pub(super) fn begin(&self, lease: LeaseId, is_urgent: bool) -> bool {
        let mut all = self.all();
        let known = all.entry(lease).or_default();
        let is_early = known.began.is_some_and(|began| began.elapsed() < GAP);
        if known.is_busy || is_early && !is_urgent {
            return false;
        }
        (known.is_busy, known.began) = (true, Some(Instant::now()));
        true
    }

    /// A reading has ended.
    pub(super) fn end(&self, lease: LeaseId, peer: Option<&str>, read: Result<Read, Fault>) {
        let mut all = self.all();
        // One of a lease that was forgotten meanwhile is of no use.
        let Some(known) = all.get_mut(&lease) else { return };
        known.is_busy = false;
        known.fault = None;
        match read {
            Ok(Read::Ready(found)) => {
                known.ready = Some(found.ready);
                if let (Some(peer), Some(text)) = (peer, found.configuration) {
                    known.configurations.insert(peer.to_ascii_lowercase(), text);
                }
            }
            Ok(Read::Ended) => known.has_ended = true,
            Ok(Read::Starting(_)) => {}
            Err(fault) => known.fault = Some(fault),
        }
    }

    /// Why the last script failed, told once.
    pub(super) fn fault(&self, lease: LeaseId) -> Option<Fault> {
        self.all().get_mut(&lease)?.fault.take()
    }

    /// Whether the machine was told that its gateway ends then.
    pub(super) fn is_told(&self, lease: LeaseId, end: Duration) -> bool {
        let all = self.all();
        all.get(&lease)
            .and_then(|known| known.told)
            .is_some_and(|told| told.abs_diff(end) <= SAME)
    }

    /// The machine was told that its gateway ends then.
    pub(super) fn tell(&self, lease: LeaseId, end: Duration) {
        self.all().entry(lease).or_default().told = Some(end);
    }

    /// Forgets a lease that is over.
    pub(super) fn forget(&self, lease: LeaseId) {
        self.all().remove(&lease);
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::place::azure::vm::tests::job;

    #[test]
    fn one_script_is_under_way_and_what_is_forgotten_stays_so() {
        let (memory, id) = (Memory::default(), job().id);
        assert!(memory.begin(id, false) && !memory.begin(id, true));
        memory.end(id, None, Ok(Read::Starting(String::new())));
        assert!(!memory.begin(id, false), "a moment ago there was one");
        assert!(memory.begin(id, true));
        memory.forget(id);
        memory.end(id, None, Ok(Read::Ended));
        assert_eq!(memory.read(id), (None, false));
    }

    #[test]
    fn a_configuration_is_there_for_its_peer_alone_and_is_not_shown() {
        let (memory, id) = (Memory::default(), job().id);
        memory.keep(id, "Phone", Secret::new(Zeroizing::new("PrivateKey".to_owned())));
        assert!(memory.configuration(id, "phone").is_some() && memory.configuration(id, "laptop").is_none());
        assert!(!format!("{memory:?}").contains("PrivateKey"));
        memory.forget(id);
        assert!(memory.configuration(id, "phone").is_none());
    }
}
