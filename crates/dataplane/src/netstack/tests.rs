//! The plane on real sockets, a client with another TCP stack at the other end. Needs no privilege.

mod client;
mod datagrams;
mod fairness;
mod streams;
mod throughput;
