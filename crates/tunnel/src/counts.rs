//! What a tunnel counts, as one list.

use dataplane::{engine, netstack, tun, udp};
use linux::link;

/// Who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The kernel's interface, on the kernel plane.
    Interface,
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
            Self::Interface => "interface",
            Self::WireGuard => "wireguard",
            Self::Sockets => "sockets",
            Self::Tun => "tun",
            Self::Netstack => "netstack",
        }
    }
}

/// One counter. The names are those of the fields of `dataplane`'s counters and of [`link::Traffic`]; on every plane
/// `received` and `sent` are packets that passed.
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
    traffic: engine::Traffic,
    engine: &engine::Counters,
    sockets: &udp::Counters,
    tun: Option<&tun::Counters>,
    netstack: Option<&netstack::Counters>,
) -> Vec<Count> {
    let of = |stage| move |(name, value)| Count { stage, name, value };
    let passed = [("received", traffic.received), ("sent", traffic.sent)];
    let mut counts: Vec<Count> = passed.into_iter().map(of(Stage::WireGuard)).collect();
    counts.extend(engine.iter().map(of(Stage::WireGuard)));
    counts.extend(sockets.iter().map(of(Stage::Sockets)));
    counts.extend(tun.into_iter().flat_map(tun::Counters::iter).map(of(Stage::Tun)));
    let netstack = netstack.into_iter().flat_map(netstack::Counters::iter);
    counts.extend(netstack.map(of(Stage::Netstack)));
    counts
}

/// What the kernel counts of a tunnel that it handles.
pub(crate) fn of_interface(traffic: &link::Traffic) -> Vec<Count> {
    let counts = [
        ("received", traffic.received),
        ("sent", traffic.sent),
        ("receive_errors", traffic.receive_errors),
        ("send_errors", traffic.send_errors),
        ("receive_dropped", traffic.receive_dropped),
        ("send_dropped", traffic.send_dropped),
    ];
    let stage = Stage::Interface;
    counts.map(|(name, value)| Count { stage, name, value }).into()
}
