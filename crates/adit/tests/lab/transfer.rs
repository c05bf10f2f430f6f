//! Much data, one stream at a time: what arrives is what was sent.
//!
//! ```text
//!   client ══ tunnel ══ gateway (nobody) ── server: HTTP
//! ```

use netlab::traffic;

use crate::gateway::Gateway;
use crate::network::{self, NAME, Network};
use crate::peer::Peer;

const GIGABYTE: u64 = 1_000_000_000;

#[test]
fn a_gigabyte_arrives_whole_each_way() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let peer = Peer::up(&network.client, &gateway.file("peer1"));
    let server = network::server_v4(80);
    let gigabyte = netlab::amount(GIGABYTE);
    let whole = traffic::pattern_digest(gigabyte);
    let (down, up) = network
        .client
        .run(|| (traffic::download(server, gigabyte), traffic::upload(server, gigabyte)));
    assert_eq!(down.expect("download"), whole);
    assert_eq!(up.expect("upload"), whole);
    let (received, sent) = peer.transferred();
    assert!(
        received > gigabyte && sent > gigabyte,
        "it went through the tunnel: {received} {sent}"
    );
}

#[test]
fn ipv6_carries_as_much_as_ipv4() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    let (server, size) = (network::server_v6(80), netlab::amount(GIGABYTE / 5));
    let whole = traffic::pattern_digest(size);
    let (down, up) = network
        .client
        .run(|| (traffic::download(server, size), traffic::upload(server, size)));
    assert_eq!((down.expect("download"), up.expect("upload")), (whole.clone(), whole));
}

#[test]
fn curl_fetches_by_name_and_the_server_sees_the_gateway() {
    crate::needs_a_lab!();
    netlab::requires!("curl");
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    for (family, address) in [("-4", "203.0.113.2"), ("-6", "2001:db8:3::2")] {
        let url = format!("http://{NAME}/address");
        let seen = network
            .client
            .command("curl")
            .args(["-sS", "--max-time", "10", family, &url])
            .run();
        assert_eq!(seen, address, "{family}");
    }
    let size = netlab::amount(3_000_017);
    let url = format!("http://{NAME}/bytes/{size}");
    let fetched = network
        .client
        .command("sh")
        .args(["-c", &format!("curl -sS {url} | sha256sum")])
        .run();
    assert_eq!(fetched.split_whitespace().next(), Some(&*traffic::pattern_digest(size)));
}
