//! The TCP engine in virtual time: against smoltcp, against itself, and against a peer that follows a script.

#![allow(clippy::cast_possible_truncation, reason = "numbers of tests are small")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod edges;
mod endpoint;
mod ends;
mod goodput;
mod link;
mod oracle;
mod property;
mod repairs;
mod script;
