//! How many streams of events each user has open.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::problem::Problem;

/// The open streams, by user.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    counts: Arc<Mutex<HashMap<String, usize>>>,
    limit: usize,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    streams: Streams,
    subject: String,
}

impl Streams {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            counts: Arc::default(),
            limit,
        }
    }

    /// Takes a place for another stream.
    pub(crate) fn take(&self, subject: &str) -> Result<Place, Problem> {
        let mut counts = self.lock();
        let count = counts.entry(subject.to_owned()).or_default();
        if *count >= self.limit {
            let detail = format!("you follow {} leases at once, as many as one may", self.limit);
            return Err(
                Problem::too_many("too_many_streams", detail, Some(Duration::from_secs(5)))
                    .with_remedy("close a page that shows a lease"),
            );
        }
        *count += 1;
        Ok(Place {
            streams: self.clone(),
            subject: subject.to_owned(),
        })
    }

    /// How many there are in all.
    pub(crate) fn count(&self) -> usize {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.streams.lock();
        match counts.get_mut(&self.subject) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                counts.remove(&self.subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_streams_and_gets_one_back_for_each_that_ends() {
        let streams = Streams::new(2);
        let first = streams.take("anna").unwrap();
        let _second = streams.take("anna").unwrap();
        assert_eq!(streams.take("anna").unwrap_err().code, "too_many_streams");
        let _other = streams.take("bob").unwrap();
        drop(first);
        let third = streams.take("anna").unwrap();
        assert_eq!(streams.count(), 3);
        drop(third);
        assert_eq!(streams.count(), 2);
    }
}
