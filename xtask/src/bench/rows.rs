//! The rows: what is measured, of whom, and in which figures. `crates/adit/benches/lab/rows.rs` measures them.

/// Which table of the page a row is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// Two hosts with a tunnel, both ends of the same program.
    Tunnel,
    /// The same with wireguard-go at the far end.
    Mixed,
    /// A gateway on sockets alone between a client and a server.
    Netstack,
}

/// One number of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    /// Its name in the line that the measuring program prints.
    pub(crate) name: &'static str,
    /// What it is beside the row's own title; empty for the row's main figure.
    pub(crate) what: &'static str,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// How many decimals mean something.
    pub(crate) decimals: usize,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Its name, for `--rows` and for the measuring program.
    pub(crate) name: &'static str,
    /// What a reader of the page calls it.
    pub(crate) title: &'static str,
    /// The table that it is in.
    pub(crate) table: Table,
    /// Of whom it is measured, adit first.
    pub(crate) contenders: &'static [&'static str],
    /// Its numbers, the main one first.
    pub(crate) figures: &'static [Figure],
    /// How many stretches of `--seconds` it measures.
    pub(crate) stretches: u64,
    /// Seconds that it takes beside them: to bring up hosts and tunnels, to warm up, to open flows.
    pub(crate) setup: u64,
}

impl Row {
    /// The contender that adit is compared with.
    pub(crate) fn baseline(&self) -> Option<&'static str> {
        let mut names = self.contenders.iter().copied();
        names.find(|name| name.starts_with("wireguard-go"))
    }
}

const fn figure(name: &'static str, what: &'static str, unit: &'static str, decimals: usize) -> Figure {
    Figure {
        name,
        what,
        unit,
        decimals,
    }
}

const TUNNELS: &[&str] = &["adit", "wireguard-go", "gotatun", "boringtun"];
const TUNNELS_AND_NONE: &[&str] = &["adit", "wireguard-go", "gotatun", "boringtun", "veth"];
const MIXED: &[&str] = &["adit", "wireguard-go"];
const GATEWAYS: &[&str] = &["adit", "wireguard-go-netstack"];
const CARRIERS: &[&str] = &["adit", "wireguard-go-netstack", "onetun"];

const BYTES: &[Figure] = &[
    figure("gbit", "", "Gbit/s", 2),
    figure("cpu", "CPU of both ends", "s/GB", 2),
];
const PACKETS: &[Figure] = &[
    figure("packets", "received", "1,000/s", 0),
    figure("loss", "lost", "%", 1),
];
const PINGS: &[Figure] = &[
    figure("median", "median", "µs", 0),
    figure("p99", "99th percentile", "µs", 0),
];

const fn row(
    name: &'static str,
    title: &'static str,
    table: Table,
    contenders: &'static [&'static str],
    figures: &'static [Figure],
) -> Row {
    Row {
        name,
        title,
        table,
        contenders,
        figures,
        stretches: 1,
        setup: 3,
    }
}

/// All rows, in the order of the page.
pub(crate) const ROWS: &[Row] = &[
    row("tcp-1-up", "TCP, 1 stream, up", Table::Tunnel, TUNNELS_AND_NONE, BYTES),
    row("tcp-1-down", "TCP, 1 stream, down", Table::Tunnel, TUNNELS, BYTES),
    row("tcp-8-up", "TCP, 8 streams, up", Table::Tunnel, TUNNELS, BYTES),
    row("tcp-8-down", "TCP, 8 streams, down", Table::Tunnel, TUNNELS, BYTES),
    row(
        "tcp-1-gro",
        "TCP, 1 stream, only GRO on the veth",
        Table::Tunnel,
        TUNNELS,
        BYTES,
    ),
    row(
        "tcp-1-plain",
        "TCP, 1 stream, no offload on the veth",
        Table::Tunnel,
        TUNNELS,
        BYTES,
    ),
    row("tcp-1-jumbo", "TCP, 1 stream, MTU 9,000", Table::Tunnel, TUNNELS, BYTES),
    row(
        "tcp-1-peers",
        "TCP, 1 stream, 200 peers known",
        Table::Tunnel,
        TUNNELS,
        BYTES,
    ),
    row(
        "udp-1420",
        "UDP flood, packets of 1,420 bytes",
        Table::Tunnel,
        TUNNELS,
        PACKETS,
    ),
    row(
        "udp-64",
        "UDP flood, packets of 64 bytes",
        Table::Tunnel,
        TUNNELS,
        PACKETS,
    ),
    row(
        "request",
        "Request and response of 1 byte",
        Table::Tunnel,
        TUNNELS_AND_NONE,
        &[figure("rate", "", "1/s", 0)],
    ),
    row("ping-idle", "Ping, idle", Table::Tunnel, TUNNELS_AND_NONE, PINGS),
    row("ping-loaded", "Ping beside 1 TCP stream", Table::Tunnel, TUNNELS, PINGS),
    row(
        "handshakes",
        "Handshakes answered",
        Table::Tunnel,
        TUNNELS,
        &[
            figure("rate", "", "1/s", 0),
            figure("cpu", "CPU of the responder for each", "µs", 0),
        ],
    ),
    row("mixed-up", "TCP, 1 stream, to wireguard-go", Table::Mixed, MIXED, BYTES),
    row(
        "mixed-down",
        "TCP, 1 stream, from wireguard-go",
        Table::Mixed,
        MIXED,
        BYTES,
    ),
    row("netstack-up", "TCP, 1 stream, up", Table::Netstack, CARRIERS, BYTES),
    row("netstack-down", "TCP, 1 stream, down", Table::Netstack, CARRIERS, BYTES),
    Row {
        stretches: 2,
        setup: 5,
        ..row(
            "netstack-loss-1000",
            "Download, 20 ms RTT, 0.1 % lost",
            Table::Netstack,
            GATEWAYS,
            &[figure("mbit", "", "Mbit/s", 0)],
        )
    },
    Row {
        stretches: 2,
        setup: 5,
        ..row(
            "netstack-loss-10000",
            "Download, 20 ms RTT, 1 % lost",
            Table::Netstack,
            GATEWAYS,
            &[figure("mbit", "", "Mbit/s", 0)],
        )
    },
    row(
        "netstack-connections",
        "New TCP connections",
        Table::Netstack,
        GATEWAYS,
        &[figure("rate", "", "1/s", 0)],
    ),
    Row {
        stretches: 2,
        setup: 12,
        ..row(
            "netstack-idle",
            "TCP, 1 stream, beside 10,000 idle flows",
            Table::Netstack,
            GATEWAYS,
            &[
                figure("gbit", "", "Gbit/s", 2),
                figure("share", "share of the stream alone", "", 2),
            ],
        )
    },
    Row {
        stretches: 0,
        setup: 12,
        ..row(
            "netstack-memory",
            "Memory of an idle flow",
            Table::Netstack,
            GATEWAYS,
            &[figure("flow", "", "kB", 1)],
        )
    },
];

/// The row of that name.
pub(crate) fn named(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_adit_in_it_first() {
        for (number, row) in ROWS.iter().enumerate() {
            assert_eq!(ROWS.iter().position(|other| other.name == row.name), Some(number));
            assert_eq!(row.contenders[0], "adit", "{}", row.name);
            assert!(row.baseline().is_some_and(|name| row.contenders.contains(&name)));
            assert!(!row.figures.is_empty(), "{}", row.name);
        }
    }
}
