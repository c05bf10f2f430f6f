//! The netstack plane: inner flows end here and go on as this process's own sockets.
//!
//! It needs no root, no TUN device and no capability.
//!
//! ```text
//!   peers ═ UDP ═ Sockets ─ Engine ─ Switch ─┬─ Stream     ─ TCP socket  ═ servers
//!                                            ├─ Datagrams  ─ UDP socket  ═ servers
//!                                            ├─ Datagrams  ─ ping socket ═ hosts
//!                                            └─ the gateway's own answers and services
//! ```
//!
//! One thread waits on all sockets with epoll ([`Plane`] is its handle), in rounds: it receives a batch, opens it,
//! hands each packet to its flow, gives flows their turns, seals and sends what came of it.

mod access;
mod config;
mod counters;
mod datagrams;
mod flows;
mod gather;
mod mailbox;
mod output;
mod peers;
mod plane;
mod policy;
mod reactor;
mod reassembly;
mod route;
mod server;
mod stream;
mod switch;
mod sys;
pub mod tcp;
#[cfg(test)]
mod tests;
mod timers;

pub use config::{Config, Limits, Protocol, Reserved, SHARE, Timeouts};
pub use counters::Counters;
pub use plane::{Plane, probe_echo};
pub use policy::{Policy, Verdict};
