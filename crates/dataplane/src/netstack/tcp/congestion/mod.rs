//! How much may be on its way, and how fast it may go: what every controller is told and asked.

mod bbr;

use std::time::Duration;

use super::delivery::Sample;
use crate::time::Time;

pub(super) use bbr::Bbr as Controller;

/// What one acknowledgement told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ack {
    pub(super) now: Time,
    /// Bytes that it newly reports as arrived, in order or not.
    pub(super) delivered: u32,
    /// Bytes delivered since the connection's start.
    pub(super) total: u64,
    /// Bytes that it made us give up.
    pub(super) lost: u32,
    /// Bytes on their way, before it and after it.
    pub(super) prior_in_flight: u32,
    pub(super) in_flight: u32,
    pub(super) rtt: Option<Duration>,
    pub(super) sample: Sample,
}
