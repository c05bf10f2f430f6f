//! Flows that idle. Their ends are held by processes of their own, for each process may have only so many descriptors.

use std::io::Write as _;
use std::time::Duration;

use netlab::{Process, load};

use crate::rootless::Rootless;

/// Where the server keeps them.
const PORT: u16 = 5202;

/// Flows between the client and the server, until they are dropped.
pub(crate) struct Idle {
    _ends: [Process; 2],
}

impl Idle {
    /// Opens `count` of them; each has carried a byte each way.
    pub(crate) fn open(rootless: &Rootless, count: usize) -> Self {
        let network = &rootless.network;
        let this = std::env::current_exe().expect("this program has a path");
        let mut server = network.server.command(&this).args(["keep"]).spawn();
        server.wait_for("keeping", Duration::from_secs(10));
        for host in [&network.client, &network.gateway] {
            host.sysctl("net.ipv4.ip_local_port_range", "1024 65535");
        }
        let target = rootless.target(PORT).to_string();
        let arguments = ["hold", &target, &count.to_string()];
        let mut client = network.client.command(&this).args(arguments).spawn();
        client.wait_for("holding", Duration::from_secs(120));
        Self {
            _ends: [client, server],
        }
    }
}

/// How many flows a gateway can carry for one peer: each takes a descriptor, and adit leaves a fifth of them to others.
pub(crate) fn most() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX) / 4 * 3)
}

/// Whether this process is one that holds an end; it has then done so until it was killed.
pub(crate) fn is_wanted(words: &[&str]) -> bool {
    let say = |word: &str| {
        println!("{word}");
        std::io::stdout().flush().expect("standard output is a log");
    };
    // The soft limit is raised by making a lab.
    let _lab = matches!(words, ["keep" | "hold", ..]).then(netlab::Lab::new);
    match words {
        ["keep"] => load::keep(PORT, || say("keeping")).expect("keep connections"),
        ["hold", target, count] => {
            let (target, count) = (target.parse().expect("an address"), count.parse().expect("a number"));
            let held = load::hold(target, count).expect("open connections");
            say("holding");
            loop {
                std::thread::park();
                std::hint::black_box(&held);
            }
        }
        _ => return false,
    }
    true
}
