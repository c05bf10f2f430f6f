//! One end of a TCP connection: one object a flow, no I/O and no clock.
//!
//! ```text
//!   client ── segments ──► handle_segment    readable, consume ──► outside socket
//!          ◄─ segments ─── poll_transmit      spare, commit   ◄──
//! ```
//!
//! Its life: a SYN makes a [`Connection`] that answers nothing. Meanwhile the caller dials the outside; then it calls
//! [`Connection::dialled`], or [`Connection::abort`] if the outside refused, or drops the object and answers by ICMP.
//! After each batch of events the caller calls [`Connection::poll_transmit`] and looks at
//! [`Connection::poll_timeout`]; it drops the object once [`Connection::is_closed`].
//!
//! [`Opening`] is the other way to one: there we are who sends the SYN.

mod acknowledge;
mod acks;
mod config;
mod congestion;
mod connection;
mod delivery;
mod header;
mod opening;
mod outside;
mod pacer;
mod ranges;
mod receive;
mod recovery;
mod ring;
mod rtt;
mod scoreboard;
mod segment;
mod send;
mod seq;
mod transmit;

pub use config::{Config, Keepalive};
pub use connection::{Connection, End, State};
pub use header::{Header, MAX_HEADER_LEN, checksum, write_checksum};
pub use opening::{Opened, Opening};
pub use segment::{Block, Flags, HEADER_LEN, Options, SackBlocks, Segment, Timestamps};
pub use seq::Seq;
