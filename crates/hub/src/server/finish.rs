//! A request that changes something is carried out to its end, though its client be gone.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::sync::Notify;
use tracing::Instrument as _;

use crate::{App, problem::Problem, request_id};

/// Counts what is being carried out.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderWay(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    count: AtomicUsize,
    is_none: Notify,
}

/// Counts until it is dropped.
#[derive(Debug)]
struct Guard(UnderWay);

impl UnderWay {
    fn begin(&self) -> Guard {
        self.0.count.fetch_add(1, Ordering::SeqCst);
        Guard(self.clone())
    }

    /// Waits until nothing is being carried out.
    pub(super) async fn end(&self) {
        loop {
            let is_none = self.0.is_none.notified();
            if self.0.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            is_none.await;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.0.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.0.is_none.notify_waiters();
        }
    }
}

/// Runs what changes something in a task of its own.
pub(super) async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    // `StartVPN` waits for a gateway: it ends when nobody waits with it.
    if request.method().is_safe() || request.uri().path() == "/api/StartVPN" {
        return next.run(request).await;
    }
    let guard = app.under_way.begin();
    let work = request_id::carry(async move {
        let response = next.run(request).await;
        drop(guard);
        response
    });
    match tokio::spawn(work.in_current_span()).await {
        Ok(response) => response,
        Err(error) => Problem::internal(&error).into_response(),
    }
}
