//! Docker's calls of a network driver: *libnetwork: docs/remote.md, docs/ipam.md*.
//!
//! Docker finds a driver by its socket in `/run/docker/plugins`, and calls it by HTTP. What is said is in `message`; what is
//! answered is the driver's own.

pub mod message;
mod server;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hyper::StatusCode;
use serde_json::Value;

pub use self::server::Socket;

/// How long what a driver does for a call may take. Docker waits, and so does the person.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Who answers Docker's calls.
#[async_trait]
pub trait Answer: Send + Sync + 'static {
    /// Answers a call, which is carried out to its end, whoever waits for the answer.
    async fn answer(self: Arc<Self>, method: &str, body: &[u8]) -> (StatusCode, Value);
}
