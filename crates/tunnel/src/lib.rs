//! One tunnel on any plane, the sockets by which other programs see it, and what wg-quick does.

pub mod control;
mod counts;
pub mod device;
mod plane;
pub mod quick;
pub mod show;
mod tunnel;
pub mod uapi;

pub use counts::{Count, Stage};
pub use dataplane::{
    engine::{Refusal, RefusalCause},
    netstack,
};
pub use plane::{Choice, ChoiceError, Chosen, Plane, Unavailable, choose, choose_interface};
pub use tunnel::{ApplyError, CloseReason, OpenError, Place, Spec, Tunnel, check_environment, clear_leftovers};
