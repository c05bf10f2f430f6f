//! Azure Resource Manager over its REST API: requests, long-running operations, errors and what mends them, tokens; and the
//! blobs of Azure Storage.
//!
//! What decides is pure ([`retry`], [`operation`], [`error`], the cache's rules): it takes answers and the time, and reads no
//! clock. [`Arm`] is the shell that sends.

mod answer;
mod arm;
pub mod blob;
pub mod clock;
pub mod cloud;
pub mod credential;
pub mod error;
mod http;
pub mod id;
pub mod location;
pub mod operation;
pub mod path;
pub mod request;
mod request_id;
pub mod retry;
mod token;

#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use arm::{Arm, ArmError, SetUpError};
pub use cloud::Cloud;
pub use credential::Credential;
pub use error::{Kind, ServiceError};
pub use id::ResourceId;
pub use operation::{Operation, Progress};
pub use path::Path;
pub use request::{Method, Request};
pub use request_id::RequestId;
pub use token::{Token, Tokens};
