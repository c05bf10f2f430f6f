//! The peers of one server: who they are, what they get, and the names they ask for.

pub mod dns;
pub mod notify;
pub mod upstream;
