//! Engines that talk to each other over a simulated network, in virtual time.

mod network;
mod sessions;
