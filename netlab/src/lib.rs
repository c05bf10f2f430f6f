//! Hosts in network namespaces, for tests.
//!
//! A [`Lab`] owns hosts; each [`Host`] is a network namespace with a mount namespace of its own, so that every host
//! has its own links, routes, `/run`, `/sys` and `/etc/resolv.conf`. Namespaces are anonymous: they live as long as a
//! process or a descriptor holds them, so that nothing of a lab outlives its test, however that ended.
//!
//! ```no_run
//! netlab::requires!("root", "ip", "ping");
//! let lab = netlab::Lab::new();
//! let (left, right) = (lab.host("left"), lab.host("right"));
//! left.link("eth0", &["192.0.2.1/24", "2001:db8::1/64"], &right, "eth0", &["192.0.2.2/24", "2001:db8::2/64"]);
//! left.command("ping").args(["-c1", "192.0.2.2"]).run();
//! ```
//!
//! Everything here panics with a plain sentence when it fails, for it runs in tests only.
#![allow(
    clippy::print_stderr,
    reason = "what a test leaves to say goes to its captured output"
)]

mod account;
pub mod capture;
mod command;
pub mod cpu;
pub mod groups;
mod host;
mod lab;
mod link;
pub mod load;
mod namespace;
mod need;
pub mod node;
mod pace;
mod process;
pub mod recording;
pub mod relay;
pub mod serve;
pub mod traffic;
mod wait;

pub use account::{Account, accounts, processes_in};
pub use command::{Command, Output};
pub use host::Host;
pub use lab::Lab;
pub use link::Offloads;
pub use need::{missing, skip, tool};
pub use pace::{amount, slowness};
pub use process::Process;
pub use wait::wait_until;
