//! A person's walk in the page: launches, saves the configuration, connects, ends.

use std::fs;
use std::path::Path;
use std::time::Duration;

use netlab::{Host, traffic, wait_until};
use serde_json::json;

use crate::browser::{Visit, visit};
use crate::network::{self, Network};
use crate::peer::Peer;

/// How long what takes a moment may take.
const SOON: Duration = Duration::from_secs(30);

/// Bytes of what is fetched through the gateway.
const SIZE: u64 = 2_000_003;

/// What a walk leaves.
pub(crate) struct Walk {
    /// What the browser did.
    pub(crate) visit: Visit,
    /// The client's private key.
    pub(crate) key: String,
}

/// Opens the hub's `link` in a browser on the network's gateway, launches at `place`, where that is the default, and uses
/// the gateway from the network's client until the person ends it.
#[track_caller]
pub(crate) fn walk(network: &Network, link: &str, place: &str) -> Walk {
    let saved = network.client.folder().join("phone.conf");
    let args = json!({ "link": link, "place": place, "saved": saved });
    let gateway = network.gateway.clone();
    let browser = std::thread::Builder::new()
        .name(std::thread::current().name().unwrap_or("walk").to_owned())
        .spawn(move || visit(&gateway, "walk.mjs", &args))
        .expect("start a thread");
    wait_until("the page's configuration is saved", Duration::from_secs(60), || {
        let is_whole = fs::read_to_string(&saved).is_ok_and(|text| text.contains("PersistentKeepalive"));
        assert!(is_whole || !browser.is_finished(), "the visit ended before");
        is_whole.then_some(())
    });
    let peer = Peer::up(&network.client, &saved);
    fetches(&network.client);
    let visit = browser.join().expect("the visit goes well");
    // The page has ended the lease: nothing comes through any more.
    has_stopped(&network.client);
    peer.down();
    let key = private_key(&fs::read_to_string(&saved).expect("read the configuration"));
    Walk { visit, key }
}

/// Downloads through the client's tunnel.
#[track_caller]
pub(crate) fn fetches(client: &Host) {
    let whole = traffic::pattern_digest(SIZE);
    let fetched = client.run(|| traffic::download(network::server_v4(80), SIZE));
    assert_eq!(fetched.expect("download through the gateway"), whole);
}

/// Waits until nothing comes through the client's tunnel.
#[track_caller]
pub(crate) fn has_stopped(client: &Host) {
    wait_until("the client's traffic stops", SOON, || {
        let echoed = client.run(|| traffic::echo(network::server_v4(7), b"hello"));
        echoed.is_err().then_some(())
    });
}

/// The private key in a configuration.
fn private_key(conf: &str) -> String {
    let line = conf.lines().find_map(|line| line.strip_prefix("PrivateKey = "));
    line.expect("a configuration has a private key").to_owned()
}

/// Every file below a folder that holds the text.
pub(crate) fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if fs::read(&path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text)) {
            found.push(path.display().to_string());
        }
    }
    found
}
