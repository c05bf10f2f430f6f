//! WireGuard in user space: the protocol, and the planes that move packets through it.

pub mod buffer;
pub mod ip;
pub mod netstack;
pub mod time;
pub mod udp;
