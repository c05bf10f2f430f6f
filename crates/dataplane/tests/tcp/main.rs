//! The TCP engine in virtual time: against smoltcp, against itself, and against a peer that follows a script.

mod endpoint;
mod goodput;
mod link;
mod oracle;
