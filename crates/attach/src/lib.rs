//! Containers that get a tunnel as their only way out: who they are, where their configuration comes from, what is done
//! inside their network namespaces, and what happens when something fails.

pub mod attachment;
pub mod control;
pub mod daemon;
pub mod driver;
pub mod inside;
mod metrics;
mod offer;
pub mod once;
pub mod provider;
pub mod saved;
pub mod status;
pub mod wish;

pub use docker::Container;
pub use offer::{Offer, Server};
pub use wish::Wish;

/// The name of the tunnel's interface inside a container. The guard lets nothing else out, so no other may have it.
pub const INTERFACE: &str = "wg0";
