//! Leases: gateways on demand, from request to removal.
//!
//! [`lease`] is the state machine, pure; [`store`] keeps its rows; [`place`] says where gateways run; [`Launcher`] drives
//! them all and is what the hub and the command line talk to.

mod clock;
pub mod conf;
mod id;
mod instance;
pub mod launcher;
pub mod lease;
mod moment;
pub mod node;
pub mod order;
pub mod place;
pub mod policy;
mod secret;
pub mod store;

pub use clock::Clock;
pub use id::{LeaseId, LeaseIdError};
pub use instance::instance;
pub use launcher::Launcher;
pub use lease::{Lease, State};
pub use moment::Moment;
pub use secret::{LauncherSecret, SecretError};
