//! The TCP engine in virtual time: against smoltcp, against itself, and against a peer that follows a script.

mod edges;
mod endpoint;
mod goodput;
mod link;
mod oracle;
mod property;
mod script;
