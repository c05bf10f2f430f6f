//! What a client does through a gateway in a container.

use std::path::Path;
use std::time::Duration;

use netlab::{Host, traffic, wait_until};

use crate::network::{self, NAME, Network};

/// Bytes of the file that is fetched: many packets, a moment's work.
const SIZE: u64 = 5_000_011;

/// How long a client may take to ask for new keys after a gateway's restart.
const NEW_KEYS: Duration = Duration::from_secs(40);

/// Pings the gateway, fetches a file, and resolves a name by the gateway's DNS; the client's tunnel is up.
#[track_caller]
pub(crate) fn uses(client: &Host, file: &Path) {
    let gateway = setting(file, "DNS");
    client.command("ping").args(["-c1", "-W5", &gateway]).run();
    let whole = traffic::pattern_digest(SIZE);
    let fetched = client.run(|| traffic::download(network::server_v4(80), SIZE));
    assert_eq!(fetched.expect("download"), whole);
    let question = ["+short", "+time=5", "+tries=1", &format!("@{gateway}"), NAME, "A"];
    let answer = client.command("dig").args(question).run();
    assert_eq!(answer.trim(), network::server_v4(0).ip().to_string());
}

/// Waits until the tunnel works again after the gateway's restart.
#[track_caller]
pub(crate) fn comes_back(network: &Network) {
    wait_until("the client goes on", NEW_KEYS, || {
        network
            .client
            .run(|| traffic::echo(network::server_v4(7), b"hello").ok())
    });
}

/// The first value of `name` in a peer's file.
#[track_caller]
pub(crate) fn setting(file: &Path, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("read {}: {error}", file.display()));
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
    let value = value.unwrap_or_else(|| panic!("{} has no {name}", file.display()));
    value.split(',').next().expect("split gives one").trim().to_owned()
}
