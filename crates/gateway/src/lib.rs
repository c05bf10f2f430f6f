//! The peers of one server: who they are, what they get, and the names they ask for.

pub mod client;
pub mod control;
pub mod daemon;
pub mod directory;
pub mod dns;
pub mod entry;
pub mod environment;
pub mod events;
pub mod file;
pub mod firewall;
pub mod health;
pub mod hooks;
pub mod http;
pub mod key;
mod ledger;
mod members;
pub mod metrics;
pub mod name;
pub mod network;
pub mod notify;
mod ordered;
mod probe;
pub mod reach;
pub mod record;
pub mod redial;
pub mod refusals;
pub mod roster;
pub mod server;
pub mod text;
pub mod upstream;
pub mod watcher;

pub use members::KeyTaken;
pub use name::Name;
