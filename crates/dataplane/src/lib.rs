//! WireGuard in user space: the protocol, and the planes that move packets through it.

pub mod aead;
pub mod alarm;
mod allowed_ips;
pub mod buffer;
pub mod call;
mod cookie;
pub mod engine;
mod handshake;
mod inner;
pub mod ip;
mod limiter;
mod message;
pub mod netstack;
mod noise;
mod peer;
mod replay;
mod session;
mod tally;
pub mod time;
mod timers;
pub mod tun;
pub mod udp;
#[cfg(test)]
mod wire;
