//! What is said of each container: by `adit attach status`, and by the metrics.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// All containers that are to have a tunnel, as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Whether the container engine answers.
    pub engine: bool,
    /// The containers, in the order of their names.
    pub containers: Vec<Entry>,
}

/// One container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What people call it; the network's name, if a driver's endpoint is nobody's yet.
    pub container: String,
    /// Its ID, 64 hexadecimal digits; empty while it is not known.
    pub id: String,
    /// `closed`, `asking`, `placing`, `handshaking`, `up`, `silent` or `failed`.
    pub state: String,
    /// The provider's name.
    pub provider: Option<String>,
    /// What the provider calls the other end.
    pub server: Option<String>,
    /// Where the other end is.
    pub region: Option<String>,
    /// The other end's address.
    pub endpoint: Option<SocketAddr>,
    /// Who handles the packets.
    pub plane: Option<String>,
    /// The tunnel's name on this host.
    pub tunnel: Option<String>,
    /// The container's addresses in the tunnel.
    pub addresses: Vec<IpAddr>,
    /// Seconds since the last handshake; `None` is never.
    pub handshake_age_secs: Option<u64>,
    /// Bytes received through the tunnel.
    pub received_bytes: u64,
    /// Bytes sent through the tunnel.
    pub sent_bytes: u64,
    /// The port that the provider forwards.
    pub forwarded_port: Option<u16>,
    /// What failed last and has not been mended.
    pub error: Option<String>,
}

impl Status {
    /// A table for people; empty if there is no container.
    pub fn table(&self) -> String {
        let head = [
            "CONTAINER",
            "STATE",
            "SERVER",
            "ADDRESS",
            "HANDSHAKE",
            "RECEIVED",
            "SENT",
            "PORT",
        ]
        .map(str::to_owned);
        let mut rows = vec![head];
        rows.extend(self.containers.iter().map(Entry::row));
        let widths: Vec<_> = (0..8)
            .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for (number, row) in rows.iter().enumerate() {
            let cells: Vec<_> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            text += cells.join("  ").trim_end();
            text.push('\n');
            let error = number
                .checked_sub(1)
                .and_then(|entry| self.containers[entry].error.as_ref());
            if let Some(error) = error {
                text += &format!("  {error}\n");
            }
        }
        text
    }
}

impl Entry {
    fn row(&self) -> [String; 8] {
        let dash = || "-".to_owned();
        let server = match (&self.server, &self.region) {
            (Some(server), Some(region)) => format!("{server} ({region})"),
            (Some(server), None) => server.clone(),
            (None, _) => dash(),
        };
        [
            self.container.clone(),
            self.state.clone(),
            server,
            self.addresses.first().map_or_else(dash, IpAddr::to_string),
            self.handshake_age_secs.map_or_else(dash, |age| format!("{age} s ago")),
            amount(self.received_bytes),
            amount(self.sent_bytes),
            self.forwarded_port.map_or_else(dash, |port| port.to_string()),
        ]
    }
}

/// Bytes in the unit that leaves one to three digits before the point.
fn amount(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "B" {
                format!("{bytes} B")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_a_table_with_errors_below_their_rows() {
        let up = Entry {
            container: "torrent".to_owned(),
            state: "up".to_owned(),
            server: Some("zurich401".to_owned()),
            region: Some("swiss".to_owned()),
            addresses: vec!["10.1.2.3".parse().unwrap()],
            handshake_age_secs: Some(7),
            received_bytes: 1_234_567,
            sent_bytes: 999,
            forwarded_port: Some(47047),
            ..Entry::default()
        };
        let closed = Entry {
            container: "b".to_owned(),
            state: "closed".to_owned(),
            error: Some("label adit.dns=x: it takes IP addresses, separated by commas".to_owned()),
            ..Entry::default()
        };
        let status = Status {
            engine: true,
            containers: vec![up, closed],
        };
        assert_eq!(
            status.table(),
            "CONTAINER  STATE   SERVER             ADDRESS   HANDSHAKE  RECEIVED  SENT   PORT\n\
             torrent    up      zurich401 (swiss)  10.1.2.3  7 s ago    1.2 MB    999 B  47047\n\
             b          closed  -                  -         -          0 B       0 B    -\n\
             \u{20} label adit.dns=x: it takes IP addresses, separated by commas\n"
        );
    }
}
