//! Looks for gateways that no lease of this user knows: nobody else does without a hub.
//!
//! Each command makes one round. What a round marks, the next command's removes if it is still there.

use std::{sync::Arc, thread, time::Duration};

use launch::launcher::{Adopt, Config, Launcher};

use super::{Book, Places};

/// How long a command waits for its round at its end.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// Makes a round.
pub(super) async fn round(book: Book, launcher: Launcher) {
    let mut marks = book.marks();
    // Of a trial run nothing can be left.
    launcher.sweep(&mut marks, |place| !place.is_sample).await;
    // Unmarked, it lives one round longer.
    let _later = book.keep_marks(&marks);
}

/// Makes a round beside whatever this process does, for who drives no lease through a launcher.
pub(crate) fn beside(book: Book, places: Places) {
    let sweep = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return;
        };
        runtime.block_on(async {
            let config = book.instance().map(|instance| Config {
                sweep_every: None,
                adopt: Adopt::Only(Vec::new()),
                ..Config::new(instance)
            });
            let Ok(config) = config else { return };
            if let Ok(launcher) = Launcher::start(config, Arc::clone(&book.database) as _, places) {
                let _late = tokio::time::timeout(LIMIT, round(book, launcher.clone())).await;
                launcher.stop().await;
            }
        });
    };
    // Another command looks, too.
    let _without = thread::Builder::new().name("sweep".to_owned()).spawn(sweep);
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use async_trait::async_trait;
    use launch::{
        LeaseId, Moment,
        node::Question,
        place::{Creation, Description, Fault, FaultKind, Job, Place, Reached, Removal},
    };

    use super::*;

    /// A place that has what no lease knows.
    #[derive(Debug, Default)]
    struct Left {
        there: Mutex<Vec<LeaseId>>,
        is_silent: AtomicBool,
    }

    #[async_trait]
    impl Place for Left {
        fn describe(&self) -> Description {
            Description {
                name: "left".to_owned(),
                ..Description::default()
            }
        }

        async fn create(&self, _: &Job) -> Result<Creation, Fault> {
            Err(Fault::new(FaultKind::Refused, "no", "no"))
        }

        async fn ask(&self, _: &Job, _: &Question) -> Result<Reached, Fault> {
            Err(Fault::new(FaultKind::Refused, "no", "no"))
        }

        async fn remove(&self, job: &Job) -> Result<Removal, Fault> {
            self.there.lock().unwrap().retain(|id| *id != job.id);
            Ok(Removal::Gone)
        }

        async fn list(&self, _: &str) -> Result<Vec<LeaseId>, Fault> {
            if self.is_silent.load(Ordering::Relaxed) {
                return Err(Fault::new(FaultKind::Unclear, "no", "no answer"));
            }
            Ok(self.there.lock().unwrap().clone())
        }
    }

    #[tokio::test]
    async fn what_one_command_marks_the_next_one_removes_unless_nobody_can_tell() {
        let folder = tempfile::tempdir().unwrap();
        let place = Arc::new(Left::default());
        let id = |number: u128| LeaseId::new(Moment::from_millis(1), number);
        // (what is new there, whether the place can tell, what is there afterwards)
        for (new, is_silent, left) in [
            (Some(1), false, vec![1]),
            (None, true, vec![1]),
            (Some(2), false, vec![2]),
            (None, false, vec![]),
            (None, false, vec![]),
        ] {
            place.there.lock().unwrap().extend(new.map(id));
            place.is_silent.store(is_silent, Ordering::Relaxed);
            let book = Book::open(folder.path()).unwrap();
            let config = Config {
                sweep_every: None,
                ..Config::new(book.instance().unwrap())
            };
            let places: Places = vec![Arc::clone(&place) as _];
            let launcher = Launcher::start(config, Arc::clone(&book.database) as _, places).unwrap();
            round(book, launcher.clone()).await;
            launcher.stop().await;
            let there = place.there.lock().unwrap().clone();
            assert_eq!(there, left.into_iter().map(id).collect::<Vec<_>>());
        }
    }
}
