//! What a connection may use, and how long it waits.

use std::time::Duration;

use super::segment::HEADER_LEN;

/// The settings of a connection. The same for all flows of a plane, but for the family.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The largest segment that fits through the tunnel, without IP and TCP header; in bytes.
    pub mss: u16,
    /// The segment size of a client that names none (RFC 9293 3.7.1).
    pub default_mss: u16,
    /// The receive buffer of a new connection, in bytes.
    pub receive_initial: u32,
    /// What the receive buffer may grow to, in bytes.
    pub receive_max: u32,
    /// What the send buffer may grow to, in bytes.
    pub send_max: u32,
    /// How long a connection that we ended first is remembered: twice the segment lifetime.
    pub time_wait: Duration,
    /// How long the client may stay silent while something waits for its answer (RFC 9293 3.8.3). Long by default: a
    /// phone goes through tunnels of the other kind.
    pub give_up: Duration,
    /// How long the client may take to answer our SYN.
    pub syn_give_up: Duration,
    /// When to ask an idle client whether it is still there; `None` is never.
    pub keepalive: Option<Keepalive>,
}

/// How an idle client is asked whether it is still there (RFC 9293 3.8.4).
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// After how long a silence to ask first.
    pub idle: Duration,
    /// How long to wait for an answer before asking again.
    pub interval: Duration,
    /// How many questions may stay without an answer.
    pub probes: u8,
}

impl Config {
    /// Settings for IPv4 in a tunnel of `mtu` bytes.
    pub fn ipv4(mtu: u16) -> Self {
        Self::new(mtu, 20, 536)
    }

    /// Settings for IPv6 in a tunnel of `mtu` bytes.
    pub fn ipv6(mtu: u16) -> Self {
        Self::new(mtu, 40, 1220)
    }

    fn new(mtu: u16, ip_header: u16, default_mss: u16) -> Self {
        let tcp_header = u16::try_from(HEADER_LEN).unwrap_or(20);
        Self {
            mss: mtu.saturating_sub(ip_header + tcp_header).max(SMALLEST_MSS),
            default_mss,
            receive_initial: 128 * 1024,
            receive_max: WINDOW_MAX,
            send_max: WINDOW_MAX,
            time_wait: Duration::from_secs(10),
            give_up: Duration::from_secs(900),
            syn_give_up: Duration::from_secs(30),
            keepalive: Some(Keepalive {
                idle: Duration::from_secs(7200),
                interval: Duration::from_secs(75),
                probes: 9,
            }),
        }
    }

    /// By how many bits windows are shifted, so that the largest can be told (RFC 7323 2).
    pub(super) fn window_scale(&self) -> u8 {
        (0..14).find(|scale| self.receive_max >> scale <= 0xffff).unwrap_or(14)
    }
}

/// What either buffer may grow to: what is under way in 200 ms at 1 Gbit/s, and a quarter more for the time that
/// a lost segment takes. A buffer grows only with what its connection is seen to use.
const WINDOW_MAX: u32 = 32 * 1024 * 1024;

/// The least segment size: a client that names less is not believed, so that headers do not outweigh data.
pub(super) const SMALLEST_MSS: u16 = 88;
