//! `adit peer list`.

use std::time::{Duration, SystemTime};

use gateway::control::{Client, Listed, Reply, Request};

use crate::{amount, columns::columns, duration, output};

/// The arguments of `adit peer list`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Who; everybody if nobody is named.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Lists only peers with a session.
    #[arg(long)]
    connected: bool,
    /// Prints one JSON object: names, keys, addresses, endpoints, handshakes (seconds since 1970) and bytes.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(client: &mut Client, arguments: &Arguments) -> anyhow::Result<()> {
    let request = Request::List {
        names: arguments.names.clone(),
    };
    let mut peers = match super::ask(client, &request)? {
        Reply::Peers { peers } => peers,
        other @ (Reply::Changed { .. }
        | Reply::Conf { .. }
        | Reply::Health { .. }
        | Reply::Token { .. }
        | Reply::Refused { .. }) => {
            return super::unexpected(&other);
        }
    };
    peers.retain(|peer| peer.connected || !arguments.connected);
    if arguments.json {
        return super::print_json(&serde_json::json!({ "peers": peers }));
    }
    output::bytes(table(&peers, SystemTime::now()).as_bytes())
}

/// The peers in columns as wide as they have to be.
fn table(peers: &[Listed], now: SystemTime) -> String {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut rows = vec![["NAME", "ADDRESSES", "ENDPOINT", "HANDSHAKE", "RECEIVED", "SENT"].map(str::to_owned)];
    rows.extend(peers.iter().map(|peer| row(peer, now)));
    columns(&rows)
}

fn row(peer: &Listed, now: Duration) -> [String; 6] {
    let addresses: Vec<String> = peer.addresses.iter().map(ToString::to_string).collect();
    let ago = |then: u64| {
        format!(
            "{} ago",
            duration::humane(now.saturating_sub(Duration::from_secs(then)))
        )
    };
    let handshake = match peer.latest_handshake {
        Some(then) if then < now.as_secs() => ago(then),
        Some(_) => "just now".to_owned(),
        None => "never".to_owned(),
    };
    [
        peer.name.clone(),
        addresses.join(", "),
        peer.endpoint
            .map_or_else(|| "-".to_owned(), |endpoint| endpoint.to_string()),
        handshake,
        amount::bytes(peer.received_bytes),
        amount::bytes(peer.sent_bytes),
    ]
}

#[cfg(test)]
mod tests {
    use gateway::text::Text;
    use wg::PublicKey;

    use super::*;

    #[test]
    fn peers_stand_in_columns() {
        let peer = |name: &str, handshake: Option<u64>| Listed {
            name: name.to_owned(),
            public_key: Text(PublicKey::from_bytes([1; 32])),
            addresses: vec!["10.13.13.2".parse().unwrap()],
            settings: gateway::record::Settings::default(),
            endpoint: handshake.map(|_| "192.0.2.1:7".parse().unwrap()),
            latest_handshake: handshake,
            connected: handshake.is_some(),
            received_bytes: 12_400_000,
            sent_bytes: 0,
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let peers = [peer("laptop", Some(970)), peer("a-phone", None), peer("b", Some(1_000))];
        assert_eq!(
            table(&peers, now),
            "NAME     ADDRESSES   ENDPOINT     HANDSHAKE  RECEIVED  SENT\n\
             laptop   10.13.13.2  192.0.2.1:7  30 s ago   12.4 MB   0 B\n\
             a-phone  10.13.13.2  -            never      12.4 MB   0 B\n\
             b        10.13.13.2  192.0.2.1:7  just now   12.4 MB   0 B\n"
        );
    }
}
