//! A gateway on the tun plane, or with `ADIT_TEST_PLANE=kernel` on the kernel's, for which the kernel forwards as the gateway tells it.
//!
//! ```text
//!   client: wireguard-go ══ gateway (root): adit launch --plane tun ── server
//! ```

use std::time::Duration;

use crate::core::everything_passes;
use crate::gateway::{self, Gateway};
use crate::network::Network;
use crate::peer::Peer;

#[test]
fn a_gateway_on_a_plane_of_the_host_s_carries_everything_and_leaves_nothing() {
    crate::needs_a_lab!();
    netlab::requires!("ping");
    let network = Network::new();
    let before = network.gateway.network_state();
    let mut gateway = Gateway::launch_on(&network, &gateway::host_plane().unwrap_or_else(|| "tun".into()));
    let _peer = Peer::up(&network.client, &gateway.file("peer1"));
    everything_passes(&network);
    assert!(gateway.process.terminate(Duration::from_secs(3)).success());
    assert_eq!(network.gateway.network_state(), before);
}
