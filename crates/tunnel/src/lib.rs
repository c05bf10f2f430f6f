//! One tunnel on any plane, the socket by which other programs see it, and what wg-quick does.

pub mod uapi;
