//! Hosts that pair up by one token, and the containers on them: who is a member, how they find each other, and what is made
//! of it on each host.
//!
//! ```text
//!   host-a                                    host-b
//!   web 10.77.0.2 ─┐                        ┌─ 10.77.1.2 curl
//!        adbr-blue ┴ adit-blue ══ UDP ══ adit-blue ┴ adbr-blue
//!                        └── members' exchange ──┘
//! ```
//!
//! `members`, `invitation`, `link` and `reach` are pure: they say who is who, and where it is looked for. `host` makes it so,
//! `daemon` is the loop around them.

pub mod addresses;
pub mod control;
pub mod daemon;
pub mod driver;
mod exchange;
mod host;
pub mod invitation;
mod join;
pub mod link;
pub mod members;
pub mod name;
mod network;
mod reach;
pub mod record;
pub mod secret;
pub mod status;
pub mod store;
mod text;
pub mod token;

pub use link::Link;
pub use name::{HostName, LinkName};
pub use token::Token;

/// The port on which members speak with each other, on their own addresses inside the tunnel: TCP.
pub const PORT: u16 = 51820;

/// The UDP port of a link's tunnel, unless it is taken.
pub const LISTEN_PORT: u16 = 51820;
