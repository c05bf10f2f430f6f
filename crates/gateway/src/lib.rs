//! The peers of one server: who they are, what they get, and the names they ask for.

pub mod client;
pub mod directory;
pub mod dns;
pub mod environment;
pub mod file;
pub mod firewall;
pub mod key;
mod members;
pub mod name;
pub mod network;
pub mod notify;
pub mod reach;
pub mod roster;
pub mod server;
pub mod upstream;

pub use members::KeyTaken;
pub use name::Name;
