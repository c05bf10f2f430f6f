//! The numbers of a gateway as a page for Prometheus (text format 0.0.4).
//!
//! Pure: the numbers come from the caller. Every metric is in [`METRICS`], and its place in the page is its place there.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use tunnel::{Count, Stage};

use crate::{Name, events::Totals, refusals::REFUSED};

/// The page's type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a page is made of.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The interface's name.
    pub interface: String,
    /// Who handles its packets.
    pub plane: String,
    /// When the gateway was opened.
    pub started: SystemTime,
    /// Whether it is healthy.
    pub healthy: bool,
    /// Its peers.
    pub peers: Vec<PeerSample>,
    /// What its plane counts.
    pub counts: Vec<Count>,
}

/// The numbers of one peer.
#[derive(Clone, Debug)]
pub struct PeerSample {
    /// Who.
    pub name: Name,
    /// Bytes received from it.
    pub received_bytes: u64,
    /// Bytes sent to it.
    pub sent_bytes: u64,
    /// When its latest handshake was completed; `None` is never.
    pub latest_handshake: Option<SystemTime>,
    /// Its sessions.
    pub totals: Totals,
}

/// One metric, for the page and for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// Its labels, between commas.
    pub labels: &'static str,
    /// What it says.
    pub help: &'static str,
}

const fn metric(name: &'static str, kind: &'static str, labels: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind,
        labels,
        help,
    }
}

/// Every metric of a page.
pub const METRICS: [Metric; 20] = [
    metric("adit_build_info", "gauge", "version", "The version of adit; always 1."),
    metric(
        "adit_gateway_info",
        "gauge",
        "interface, plane",
        "The gateway's interface and the plane that handles its packets; always 1.",
    ),
    metric(
        "adit_gateway_start_time_seconds",
        "gauge",
        "",
        "When the gateway was opened, in seconds since 1970.",
    ),
    metric(
        "adit_gateway_healthy",
        "gauge",
        "",
        "Whether the gateway is healthy, as /healthz has it.",
    ),
    metric("adit_gateway_peers", "gauge", "", "Peers that may connect."),
    metric("adit_gateway_connected_peers", "gauge", "", "Peers that are connected."),
    metric(
        "adit_peer_received_bytes_total",
        "counter",
        "peer",
        "Bytes received from the peer, in UDP payloads that were authentic.",
    ),
    metric(
        "adit_peer_sent_bytes_total",
        "counter",
        "peer",
        "Bytes sent to the peer, in UDP payloads.",
    ),
    metric(
        "adit_peer_latest_handshake_timestamp_seconds",
        "gauge",
        "peer",
        "When the peer's latest handshake was completed, in seconds since 1970; 0 is never.",
    ),
    metric(
        "adit_peer_connected",
        "gauge",
        "peer",
        "Whether the peer's latest handshake is younger than 180 seconds.",
    ),
    metric(
        "adit_peer_sessions_total",
        "counter",
        "peer",
        "How often the peer connected, not having been connected before.",
    ),
    metric(
        "adit_peer_connected_seconds_total",
        "counter",
        "peer",
        "For how long the peer was connected since the gateway was opened.",
    ),
    metric(
        "adit_refused_handshakes_total",
        "counter",
        "cause",
        "Handshake messages that were refused, by cause; none are known on the kernel plane.",
    ),
    metric(
        "adit_packets_total",
        "counter",
        "direction",
        "Packets that were received from peers and passed on, and that were sent to peers.",
    ),
    metric(
        "adit_dropped_packets_total",
        "counter",
        "stage, cause",
        "Packets and datagrams that were dropped, by the part that dropped them and the cause.",
    ),
    metric(
        "adit_flows",
        "gauge",
        "protocol",
        "Flows of peers that live, on the netstack plane.",
    ),
    metric(
        "adit_opened_flows_total",
        "counter",
        "protocol",
        "Flows of peers that were opened, on the netstack plane.",
    ),
    metric(
        "adit_failed_flows_total",
        "counter",
        "cause",
        "TCP flows of peers that could not be connected, on the netstack plane.",
    ),
    metric(
        "adit_forwarded_packets_total",
        "counter",
        "",
        "Packets passed from one peer to another, on the netstack plane.",
    ),
    metric(
        "adit_flow_waits_total",
        "counter",
        "",
        "Times that a TCP flow waited for its peer's share of memory, on the netstack plane.",
    ),
];

/// The page.
pub fn render(snapshot: &Snapshot) -> String {
    let mut page = Page {
        text: String::with_capacity(8192 + 512 * snapshot.peers.len()),
    };
    for metric in &METRICS {
        page.metric(metric, snapshot);
    }
    page.text
}

struct Page {
    text: String,
}

impl Page {
    /// One metric with all its samples. One that has none leaves nothing.
    fn metric(&mut self, metric: &Metric, snapshot: &Snapshot) {
        let before = self.text.len();
        let Metric { name, kind, help, .. } = metric;
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        let header = self.text.len();
        match *name {
            "adit_build_info" => self.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1),
            "adit_gateway_info" => {
                let labels = [("interface", &*snapshot.interface), ("plane", &*snapshot.plane)];
                self.sample(name, &labels, 1);
            }
            "adit_gateway_start_time_seconds" => self.sample(name, &[], unix(snapshot.started)),
            "adit_gateway_healthy" => self.sample(name, &[], u64::from(snapshot.healthy)),
            "adit_gateway_peers" => self.sample(name, &[], snapshot.peers.len() as u64),
            "adit_gateway_connected_peers" => {
                let connected = snapshot.peers.iter().filter(|peer| peer.totals.connected).count();
                self.sample(name, &[], connected as u64);
            }
            _ => match peer_value(name) {
                Some(value) => {
                    for peer in &snapshot.peers {
                        self.sample(name, &[("peer", peer.name.as_str())], value(peer));
                    }
                }
                None => self.counts(name, &snapshot.counts),
            },
        }
        if self.text.len() == header {
            self.text.truncate(before);
        }
    }

    /// The counters that go under this name.
    fn counts(&mut self, metric: &str, counts: &[Count]) {
        for count in counts {
            if let Some((_, labels)) = place(count).filter(|(name, _)| *name == metric) {
                self.sample(metric, &labels, count.value);
            }
        }
    }

    /// Labels are our own words and names of peers, in which nothing is to be escaped.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            self.write(format_args!("{before}{label}=\"{text}\""));
        }
        self.text.push_str(if labels.is_empty() { " " } else { "} " });
        self.write(format_args!("{value}\n"));
    }

    fn write(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.text.write_fmt(arguments).expect("a string takes everything");
    }
}

/// How a peer's metric is read.
fn peer_value(metric: &str) -> Option<fn(&PeerSample) -> u64> {
    Some(match metric {
        "adit_peer_received_bytes_total" => |peer| peer.received_bytes,
        "adit_peer_sent_bytes_total" => |peer| peer.sent_bytes,
        "adit_peer_latest_handshake_timestamp_seconds" => |peer| peer.latest_handshake.map_or(0, unix),
        "adit_peer_connected" => |peer| u64::from(peer.totals.connected),
        "adit_peer_sessions_total" => |peer| peer.totals.session_starts,
        "adit_peer_connected_seconds_total" => |peer| peer.totals.connected_time.as_secs(),
        _ => return None,
    })
}

/// The metric that a counter belongs to, and its labels there.
fn place(count: &Count) -> Option<(&'static str, Vec<(&'static str, &'static str)>)> {
    let protocols = ["tcp", "udp", "echo"];
    let protocol = |suffix| {
        protocols
            .into_iter()
            .find(|protocol| count.name.strip_prefix(protocol) == Some(suffix))
    };
    let dropped = || {
        (
            "adit_dropped_packets_total",
            vec![("stage", count.stage.word()), ("cause", count.name)],
        )
    };
    Some(match count.stage {
        Stage::WireGuard | Stage::Interface if ["received", "sent"].contains(&count.name) => {
            ("adit_packets_total", vec![("direction", count.name)])
        }
        Stage::WireGuard if REFUSED.contains(&count.name) => {
            ("adit_refused_handshakes_total", vec![("cause", count.name)])
        }
        // It was sent, by another way.
        Stage::Sockets if count.name == "source_lost" => return None,
        Stage::Interface | Stage::WireGuard | Stage::Sockets | Stage::Tun => dropped(),
        Stage::Netstack => match count.name {
            "forwarded" => ("adit_forwarded_packets_total", Vec::new()),
            "memory_limit" => ("adit_flow_waits_total", Vec::new()),
            "tcp_refused" => ("adit_failed_flows_total", vec![("cause", "refused")]),
            "tcp_unreachable" => ("adit_failed_flows_total", vec![("cause", "unreachable")]),
            _ => match (protocol("_flows"), protocol("_opened")) {
                (Some(protocol), _) => ("adit_flows", vec![("protocol", protocol)]),
                (_, Some(protocol)) => ("adit_opened_flows_total", vec![("protocol", protocol)]),
                (None, None) => dropped(),
            },
        },
    })
}

fn unix(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn snapshot(peers: u32) -> Snapshot {
        let of = |stage, name, value| Count { stage, name, value };
        Snapshot {
            interface: "wg0".into(),
            plane: "netstack".into(),
            started: UNIX_EPOCH + Duration::from_secs(1_795_234_320),
            healthy: true,
            peers: (1..=peers)
                .map(|number| PeerSample {
                    name: Name::numbered(number),
                    received_bytes: 1000 + u64::from(number),
                    sent_bytes: 5,
                    latest_handshake: (number == 1).then(|| UNIX_EPOCH + Duration::from_secs(1_795_234_400)),
                    totals: Totals {
                        connected: number == 1,
                        session_starts: 2,
                        connected_time: Duration::from_millis(90_700),
                    },
                })
                .collect(),
            counts: vec![
                of(Stage::WireGuard, "received", 900),
                of(Stage::WireGuard, "sent", 1_000),
                of(Stage::WireGuard, "wrong_mac1", 3),
                of(Stage::WireGuard, "spoofed_sources", 4),
                of(Stage::Sockets, "full", 1),
                of(Stage::Sockets, "source_lost", 1),
                of(Stage::Netstack, "tcp_flows", 7),
                of(Stage::Netstack, "tcp_opened", 70),
                of(Stage::Netstack, "tcp_refused", 2),
                of(Stage::Netstack, "tcp_limit", 1),
                of(Stage::Netstack, "forwarded", 8),
                of(Stage::Netstack, "memory_limit", 0),
            ],
        }
    }

    #[test]
    fn a_page_has_each_number_under_its_name() {
        let page = render(&snapshot(2));
        for line in [
            "adit_gateway_info{interface=\"wg0\",plane=\"netstack\"} 1",
            "adit_gateway_start_time_seconds 1795234320",
            "adit_gateway_healthy 1",
            "adit_gateway_peers 2",
            "adit_gateway_connected_peers 1",
            "adit_peer_received_bytes_total{peer=\"peer2\"} 1002",
            "adit_peer_sent_bytes_total{peer=\"peer1\"} 5",
            "adit_peer_latest_handshake_timestamp_seconds{peer=\"peer1\"} 1795234400",
            "adit_peer_latest_handshake_timestamp_seconds{peer=\"peer2\"} 0",
            "adit_peer_connected{peer=\"peer2\"} 0",
            "adit_peer_sessions_total{peer=\"peer1\"} 2",
            "adit_peer_connected_seconds_total{peer=\"peer1\"} 90",
            "adit_refused_handshakes_total{cause=\"wrong_mac1\"} 3",
            "adit_packets_total{direction=\"received\"} 900",
            "adit_packets_total{direction=\"sent\"} 1000",
            "adit_dropped_packets_total{stage=\"wireguard\",cause=\"spoofed_sources\"} 4",
            "adit_dropped_packets_total{stage=\"sockets\",cause=\"full\"} 1",
            "adit_dropped_packets_total{stage=\"netstack\",cause=\"tcp_limit\"} 1",
            "adit_flows{protocol=\"tcp\"} 7",
            "adit_opened_flows_total{protocol=\"tcp\"} 70",
            "adit_failed_flows_total{cause=\"refused\"} 2",
            "adit_forwarded_packets_total 8",
            "# TYPE adit_peer_connected gauge",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
        assert!(!page.contains("source_lost"));
    }

    #[test]
    fn what_is_not_known_is_left_out_with_its_name() {
        let page = render(&Snapshot {
            counts: Vec::new(),
            peers: Vec::new(),
            ..snapshot(0)
        });
        assert!(!page.contains("adit_refused_handshakes_total") && !page.contains("adit_peer_"));
        assert!(page.contains("adit_gateway_peers 0"));
    }

    #[test]
    fn what_the_kernel_counts_has_the_same_names() {
        let of = |name, value| Count {
            stage: Stage::Interface,
            name,
            value,
        };
        let page = render(&Snapshot {
            counts: vec![of("received", 5), of("sent", 6), of("send_errors", 7)],
            ..snapshot(0)
        });
        for line in [
            "adit_packets_total{direction=\"received\"} 5",
            "adit_packets_total{direction=\"sent\"} 6",
            "adit_dropped_packets_total{stage=\"interface\",cause=\"send_errors\"} 7",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
    }

    #[test]
    fn a_page_of_10_000_peers_is_made_in_less_than_a_second() {
        let snapshot = snapshot(10_000);
        let began = std::time::Instant::now();
        let page = render(&snapshot);
        assert_eq!(
            page.lines().filter(|line| line.starts_with("adit_peer_")).count(),
            60_000
        );
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
    }

    #[test]
    fn every_metric_is_in_the_documentation() {
        let guide = include_str!("../../../docs/guide/observe.md");
        for Metric {
            name,
            kind,
            labels,
            help,
        } in METRICS
        {
            let labels: Vec<String> = labels
                .split(", ")
                .filter(|label| !label.is_empty())
                .map(|label| format!("`{label}`"))
                .collect();
            let row = format!("| `{name}` | {kind} | {} | {help} |", labels.join(", "));
            assert!(guide.contains(&row), "docs/guide/observe.md misses the row\n{row}");
        }
    }
}
