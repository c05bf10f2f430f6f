//! Who holds which server or file: no two containers the same.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What each holder has, by the holder's ID.
#[derive(Debug, Default)]
pub(super) struct Reservations(Mutex<BTreeMap<String, String>>);

impl Reservations {
    /// Gives `holder` the first of `wanted` that nobody else holds, instead of what it had. Nothing changes if all are
    /// taken.
    pub(super) fn take(&self, holder: &str, wanted: impl IntoIterator<Item = String>) -> Option<String> {
        let mut held = self.lock();
        let mut wanted = wanted.into_iter();
        let found = wanted.find(|server| !held.iter().any(|(other, has)| other != holder && has == server))?;
        held.insert(holder.to_owned(), found.clone());
        Some(found)
    }

    /// Notes what a holder has, whoever else has it.
    pub(super) fn note(&self, holder: &str, server: &str) {
        self.lock().insert(holder.to_owned(), server.to_owned());
    }

    /// Takes back what a holder has.
    pub(super) fn release(&self, holder: &str) -> Option<String> {
        self.lock().remove(holder)
    }

    /// Who holds a server.
    pub(super) fn holder_of(&self, server: &str) -> Option<String> {
        let held = self.lock();
        let found = held.iter().find(|(_, has)| *has == server);
        found.map(|(holder, _)| holder.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(reservations: &Reservations, holder: &str, wanted: &[&str]) -> Option<String> {
        reservations.take(holder, wanted.iter().map(|server| (*server).to_owned()))
    }

    #[test]
    fn what_one_holds_no_other_gets() {
        let reservations = Reservations::default();
        assert_eq!(take(&reservations, "a", &["x", "y"]).as_deref(), Some("x"));
        assert_eq!(take(&reservations, "b", &["x", "y"]).as_deref(), Some("y"));
        assert_eq!(take(&reservations, "c", &["x", "y"]), None);
        assert_eq!(
            take(&reservations, "a", &["x"]).as_deref(),
            Some("x"),
            "its own it gets again"
        );
        assert_eq!(reservations.release("a").as_deref(), Some("x"));
        assert_eq!(take(&reservations, "b", &["x"]).as_deref(), Some("x"));
        assert_eq!(
            take(&reservations, "c", &["y"]).as_deref(),
            Some("y"),
            "what it had is free"
        );
        assert_eq!(reservations.holder_of("x").as_deref(), Some("b"));
    }
}
