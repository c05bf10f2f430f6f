//! The peers of one server: who they are, what they get, and the names they ask for.

pub mod dns;
pub mod environment;
pub mod file;
pub mod name;
pub mod notify;
pub mod reach;
pub mod upstream;

pub use name::Name;
