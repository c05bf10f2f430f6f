//! Fetches the place's image, once for however many leases wait for it.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use docker::engine::{CallError, Engine};

/// How the fetching goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Pull {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Running,
    Failed(CallError),
}

impl Pull {
    /// Begins to fetch, unless that is under way. It goes on beside the caller, who looks again later.
    ///
    /// # Errors
    ///
    /// Why the fetching that was under way before failed, once; the next call tries again.
    pub(super) fn go_on(&self, engine: &Engine, image: &str) -> Result<(), CallError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match mem::replace(&mut *state, State::Running) {
            State::Running => return Ok(()),
            State::Failed(error) => {
                *state = State::Idle;
                return Err(error);
            }
            State::Idle => {}
        }
        drop(state);
        let (engine, image) = (engine.clone(), image.to_owned());
        let state = Arc::clone(&self.state);
        tokio::spawn(async move {
            let mut end = End { state, error: None };
            let pulled = engine.pull(&image).await;
            end.error = pulled
                .err()
                .inspect(|error| tracing::warn!(image, %error, "the image could not be fetched"));
        });
        Ok(())
    }
}

/// Says what came of it, whatever happens to the task.
struct End {
    state: Arc<Mutex<State>>,
    error: Option<CallError>,
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = self.error.take().map_or(State::Idle, State::Failed);
    }
}
