//! The hub in a real browser, beside a provider of sign-ins that we did not write, and clients of its gateways.

#[path = "../lab/network.rs"]
#[allow(dead_code, reason = "the lab's own tests use the rest")]
mod network;
#[path = "../lab/peer.rs"]
#[allow(dead_code, reason = "the lab's own tests use the rest")]
mod peer;

#[macro_use]
mod browser;
#[allow(dead_code, reason = "the tests in Docker use the rest")]
mod stage;

mod deaths;
mod driver;
mod person;
mod pictures;
mod walk;
mod ways;
