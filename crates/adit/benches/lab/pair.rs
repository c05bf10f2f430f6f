//! Two hosts with a tunnel between them.
//!
//! ```text
//!   left  192.0.2.1 ────── veth ────── 192.0.2.2  right
//!   wg0   10.0.0.1  ══════ tunnel ════ 10.0.0.2   wg0
//! ```

use std::net::Ipv4Addr;
use std::time::Duration;

use netlab::{Host, Lab, Offloads, Process};
use wg::{PrivateKey, PublicKey};

use crate::contender::Contender;

/// What the path between them is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    /// What the veth does for its hosts.
    pub(crate) offloads: Offloads,
    /// The veth's MTU; the tunnel's is 80 bytes less.
    pub(crate) mtu: u32,
    /// How many peers both ends know; the first of them is the other end.
    pub(crate) peers: u32,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            offloads: Offloads::All,
            mtu: 1_500,
            peers: 1,
        }
    }
}

/// The hosts, and who carries their packets.
pub(crate) struct Pair {
    pub(crate) left: Host,
    pub(crate) right: Host,
    /// Where traffic for `right` is sent: through the tunnel, if there is one.
    pub(crate) target: Ipv4Addr,
    _programs: Vec<Process>,
    _lab: Lab,
}

impl Pair {
    /// Brings up the tunnel.
    ///
    /// # Errors
    ///
    /// If a program is not installed.
    pub(crate) fn new(ends: [Contender; 2], path: Path) -> Result<Self, String> {
        let lab = Lab::new();
        let hosts = ["left", "right"].map(|name| lab.host(name));
        let [left, right] = hosts.clone();
        left.link("eth0", &["192.0.2.1/24"], &right, "eth0", &["192.0.2.2/24"]);
        for host in &hosts {
            host.set_mtu("eth0", path.mtu);
            host.set_offloads("eth0", path.offloads);
        }
        let mut pair = Self {
            left,
            right,
            target: Ipv4Addr::new(192, 0, 2, 2),
            _programs: Vec::new(),
            _lab: lab,
        };
        if ends[0] == Contender::Veth {
            return Ok(pair);
        }
        let keys = [key(), key()];
        for (here, end) in ends.into_iter().enumerate() {
            let (host, there) = (&hosts[here], 1 - here);
            let program = end.program(host);
            let program = program.ok_or_else(|| format!("{end:?} is not installed"))?;
            pair._programs.push(end.start(&program, host, "wg0"));
            let text = configuration(&keys[here], &keys[there].public_key(), there, path.peers);
            let set = host.command("wg").args(["setconf", "wg0", "/dev/stdin"]).input(text);
            set.limit(Duration::from_secs(60)).run();
            host.add_address("wg0", &format!("10.0.0.{}/24", here + 1));
            host.ip(&format!("link set wg0 up mtu {}", path.mtu - 80));
        }
        pair.target = Ipv4Addr::new(10, 0, 0, 2);
        // The first packet shakes hands; a program that is still starting may miss it.
        let first = pair.left.command("ping").args(["-c1", "-w20", "-i0.2", "10.0.0.2"]);
        first.run();
        Ok(pair)
    }
}

/// What `wg setconf` reads: one peer that is the other end, and as many as are wanted that never come.
fn configuration(private: &PrivateKey, public: &PublicKey, there: usize, peers: u32) -> String {
    let mut text = format!(
        "[Interface]\nPrivateKey = {}\nListenPort = 51820\n\
         [Peer]\nPublicKey = {public}\nEndpoint = 192.0.2.{1}:51820\nAllowedIPs = 10.0.0.{1}/32\n",
        private.danger_base64().as_str(),
        there + 1
    );
    for number in 1..peers {
        let address = Ipv4Addr::from(0x0a01_0000 + number);
        text += &format!(
            "[Peer]\nPublicKey = {}\nAllowedIPs = {address}/32\n",
            key().public_key()
        );
    }
    text
}

/// A fresh key.
pub(crate) fn key() -> PrivateKey {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    PrivateKey::from_random(bytes)
}
