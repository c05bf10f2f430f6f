//! (made by the first change)

pub mod signal;
