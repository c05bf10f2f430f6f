//! The provider `pia` against a service that stands in for Private Internet Access, over TLS on this machine's loopback.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod dedicated;
mod ports;
mod servers;
mod service;
mod token;
mod trust;
