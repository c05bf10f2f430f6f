//! The protocol of `wg`'s sockets: requests and replies as text.
//!
//! Source: <https://www.wireguard.com/xplatform/>. A server feeds what it reads to [`Incoming`] and answers each
//! [`Request`] with [`get_reply`] or [`set_reply`]; a client sends [`GET`] or a [`set_request`] and reads the answer
//! with [`parse_get_reply`] or [`parse_set_reply`].
//!
//! The endpoint of a link-local address may name its interface, `[fe80::1%eth0]:51820`. This crate asks no kernel
//! which index that is: what parses endpoints takes a `zone_index` function, from an interface's name to its index.

mod client;
mod draft;
mod error;
mod reply;
mod request;
mod value;

pub use client::{GET, parse_get_reply, parse_set_reply, set_request};
pub use error::{EADDRINUSE, EINVAL, EIO, EPROTO, Error, Fault};
pub use reply::{get_reply, set_reply};
pub use request::{Incoming, MAX_LINE, MAX_REQUEST, Request};
