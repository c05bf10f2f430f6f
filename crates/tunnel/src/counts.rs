//! What a tunnel counts, as one list.

use dataplane::{engine, netstack, tun, udp};

/// Who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The protocol.
    WireGuard,
    /// The UDP sockets.
    Sockets,
    /// The TUN device.
    Tun,
    /// The gateway on sockets alone.
    Netstack,
}

impl Stage {
    /// As one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::WireGuard => "wireguard",
            Self::Sockets => "sockets",
            Self::Tun => "tun",
            Self::Netstack => "netstack",
        }
    }
}

/// One counter. The names are those of the fields of `dataplane`'s counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Who counts.
    pub stage: Stage,
    /// What is counted.
    pub name: &'static str,
    /// How often it happened.
    pub value: u64,
}

/// All counters of a tunnel that this process handles.
pub(crate) fn counts(
    engine: &engine::Counters,
    sockets: &udp::Counters,
    tun: Option<&tun::Counters>,
    netstack: Option<&netstack::Counters>,
) -> Vec<Count> {
    let of = |stage| move |(name, value)| Count { stage, name, value };
    let mut counts: Vec<Count> = engine.iter().map(of(Stage::WireGuard)).collect();
    counts.extend(sockets.iter().map(of(Stage::Sockets)));
    counts.extend(tun.into_iter().flat_map(tun::Counters::iter).map(of(Stage::Tun)));
    let netstack = netstack.into_iter().flat_map(netstack::Counters::iter);
    counts.extend(netstack.map(of(Stage::Netstack)));
    counts
}
