//! The signals that end `up` before it is done.

use std::{sync::mpsc, thread, time::Duration};

use linux::signal::{Signal, Signals};

/// How often it is looked for a signal while something that cannot be waited for beside signals goes on.
const INTERVAL: Duration = Duration::from_millis(50);

/// A signal came before the tunnel was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{signal} came before the tunnel was up")]
pub struct Interrupted {
    /// The signal.
    pub signal: Signal,
}

/// Hears the signals that were taken for `up`, if any were.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ear<'a>(pub(super) Option<&'a Signals>);

impl Ear<'_> {
    /// An error if a signal has arrived.
    pub(super) fn check(self) -> Result<(), Interrupted> {
        self.wait(Duration::ZERO)
    }

    /// Waits so long, or until a signal arrives.
    pub(super) fn wait(self, time: Duration) -> Result<(), Interrupted> {
        let Some(signals) = self.0 else {
            thread::sleep(time);
            return Ok(());
        };
        // A descriptor that cannot be read has no signal to tell of.
        match signals.wait(Some(time)) {
            Ok(Some(signal)) => Err(Interrupted { signal }),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Does what cannot be broken off. If a signal arrives meanwhile, it goes on in a thread that nobody waits for.
    pub(super) fn beside<R: Send + 'static>(self, work: impl FnOnce() -> R + Send + 'static) -> Result<R, Interrupted> {
        if self.0.is_none() {
            return Ok(work());
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        let worker = thread::spawn(move || {
            // Nobody listens after a signal.
            let _unheard = sender.send(work());
        });
        loop {
            match receiver.recv_timeout(INTERVAL) {
                Ok(done) => return Ok(done),
                Err(mpsc::RecvTimeoutError::Timeout) => self.check()?,
                Err(mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
                    Err(panic) => std::panic::resume_unwind(panic),
                    Ok(()) => unreachable!("it sends before it ends"),
                },
            }
        }
    }
}
