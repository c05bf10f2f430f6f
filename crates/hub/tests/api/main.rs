//! The HTTP API from outside: each test has a hub of its own, on a store in memory and the place `simulate`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod accounts;
mod alias;
mod document;
mod events;
mod leases;
mod listener;
mod logs;
mod metrics;
mod monitor;
mod refusals;
mod refused;
mod retention;
mod schema;
mod stage;
mod trace;
