//! wireguard-go and the kernel's forwarding in the place of our gateway, with `ADIT_TEST_GATEWAY=reference`.
//!
//! What a test asks of our gateway has to hold with this one too: a failure here is the test's own.

use std::path::Path;
use std::time::Duration;

use netlab::serve::{self, Server};
use netlab::{Host, Process};

use crate::network::{NAME, Network, server_v4, server_v6};

/// What leaves for the world has the gateway's own address.
const HIDE: &str = r#"
table inet nat {
    chain out {
        type nat hook postrouting priority srcnat;
        oifname "eth0" masquerade
    }
}
"#;

/// Whether the tests run against this gateway.
pub(crate) fn wanted() -> bool {
    std::env::var_os("ADIT_TEST_GATEWAY").is_some_and(|value| value == "reference")
}

/// Starts `program`, which makes an interface as wireguard-go does, and writes the files of two peers into `folder`.
pub(crate) fn start(network: &Network, program: &Path, folder: &Path) -> (Process, (Server, Server)) {
    let host = &network.gateway;
    let process = host.command(program).args(["-f", "wg0"]).spawn();
    netlab::wait_until("wg0 is there", Duration::from_secs(5), || {
        host.links().contains(&"wg0".to_owned()).then_some(())
    });
    let (private, public) = keys(host);
    let mut text = format!("[Interface]\nPrivateKey = {private}\nListenPort = 51820\n");
    for number in [2, 3] {
        let (peer_private, peer_public) = keys(host);
        let addresses = format!("10.13.13.{number}/32, fd0d::{number}/128");
        text += &format!("[Peer]\nPublicKey = {peer_public}\nAllowedIPs = {addresses}\n");
        let file = format!(
            "[Interface]\nPrivateKey = {peer_private}\nAddress = {addresses}\nDNS = 10.13.13.1\n\
             [Peer]\nPublicKey = {public}\nEndpoint = 203.0.113.2:51820\nAllowedIPs = 0.0.0.0/0, ::/0\n",
        );
        std::fs::write(folder.join(format!("peer{}.conf", number - 1)), file).expect("write a peer's file");
    }
    host.command("wg")
        .args(["setconf", "wg0", "/dev/stdin"])
        .input(text)
        .run();
    for address in ["10.13.13.1/24", "fd0d::1/64"] {
        host.add_address("wg0", address);
    }
    host.ip("link set wg0 up mtu 1420");
    forward(host);
    let names = serve::dns(host, &[(NAME, &[server_v4(0).ip(), server_v6(0).ip()])]);
    (process, names)
}

/// Lets the kernel forward from a tunnel to the world.
pub(crate) fn forward(host: &Host) {
    host.forward();
    host.command("nft").args(["-f", "/dev/stdin"]).input(HIDE).run();
}

fn keys(host: &Host) -> (String, String) {
    let private = host.command("wg").arg("genkey").run().trim().to_owned();
    let public = host
        .command("wg")
        .arg("pubkey")
        .input(private.clone())
        .run()
        .trim()
        .to_owned();
    (private, public)
}
