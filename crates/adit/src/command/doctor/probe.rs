//! The looks that `adit doctor` takes. Each leaves the machine as it was.

use std::{fs, io, path::Path};

use dataplane::{netstack, udp::Sockets};
use gateway::{
    reach::Sources,
    server,
    upstream::{RESOLV_CONF, Upstreams},
};
use linux::{
    nftables::{
        Nftables,
        wall::{self, Wall},
    },
    sysctl, tun, wireguard,
};
use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::options::DEFAULT_PORT;

/// Receive buffers that hold what arrives in a fiftieth of a second at 1 Gb/s.
const GOOD_BUFFER: u64 = 2_500_000;

/// Descriptors for a thousand connections at once and what a gateway needs itself.
const GOOD_DESCRIPTORS: u64 = 4_096;

/// The number of `CAP_NET_ADMIN` (capabilities(7)).
const NET_ADMIN: u32 = 12;

/// The ways to handle a tunnel's packets.
pub(super) fn planes() -> Vec<Finding> {
    vec![kernel_plane(), tun_plane(), netstack_plane()]
}

/// What makes the planes faster, or lets them do more.
pub(super) fn features() -> Vec<Finding> {
    let sockets = Sockets::bind(0, 0);
    let (ping_v4, ping_v6) = netstack::probe_echo();
    let sources = Sources::of_this_machine();
    vec![
        net_admin(),
        way_out("IPv4", sources.v4.map(|address| address.to_string())),
        way_out("IPv6", sources.v6.map(|address| address.to_string())),
        batching(
            "UDP GSO",
            sockets.as_ref().is_ok_and(|sockets| sockets.offloads().gso),
            "sending",
            "4.18",
        ),
        batching(
            "UDP GRO",
            sockets.as_ref().is_ok_and(|sockets| sockets.offloads().gro),
            "receiving",
            "5.0",
        ),
        ping("ping IPv4", ping_v4),
        ping("ping IPv6", ping_v6),
        receive_buffers(),
        descriptors(),
        control_sockets(),
        port(),
        forwarding(),
        resolvers(),
    ]
}

fn kernel_plane() -> Finding {
    const NAME: &str = "kernel";
    let is_there = wireguard::Wireguard::open();
    match (wireguard::probe(), is_there) {
        (Ok(()), _) => Finding::works(NAME, "the kernel has WireGuard"),
        (Err(wireguard::Error::NotPermitted { .. }), Ok(_)) => Finding::missing(
            NAME,
            "the kernel has WireGuard, but this process may not make interfaces",
            "run as root, or in a container with --cap-add NET_ADMIN",
        ),
        (_, Err(wireguard::Error::Missing)) => Finding::missing(
            NAME,
            "the kernel has no WireGuard",
            "load the module (modprobe wireguard), on the host if this is a container; the other planes do without",
        ),
        (_, Err(error)) | (Err(error), Ok(_)) => {
            Finding::missing(NAME, error.to_string(), "use another plane, which does without")
        }
    }
}

fn tun_plane() -> Finding {
    match tun::probe() {
        Ok(offloads) => {
            let offloads = match (offloads.tso, offloads.uso) {
                (true, true) => "with TCP and UDP offloads",
                (true, false) => "with TCP offloads; UDP offloads need Linux 6.2",
                (false, _) => "without offloads",
            };
            Finding::works("tun", format!("TUN devices can be made, {offloads}"))
        }
        // What the error says ends with what would mend it.
        Err(error) => {
            let text = error.to_string();
            match text.split_once(": ") {
                Some((what, remedy)) => Finding::missing("tun", what, remedy),
                None => Finding::missing("tun", text, "use the netstack plane, which needs no device"),
            }
        }
    }
}

fn netstack_plane() -> Finding {
    match Sockets::bind(0, 0) {
        Ok(_) => Finding::works("netstack", "UDP sockets can be opened; nothing else is needed"),
        Err(error) => Finding::missing(
            "netstack",
            format!("no UDP socket can be opened: {error}"),
            "look for a seccomp profile, a firewall for programs or a limit of open files that forbids it",
        ),
    }
}

fn net_admin() -> Finding {
    const NAME: &str = "NET_ADMIN";
    if has_capability(NET_ADMIN) {
        return Finding::works(NAME, "this process may make and change interfaces");
    }
    Finding::limited(
        NAME,
        "this process may not make interfaces: `adit up` and the tun plane need it, the netstack plane does not",
        "run as root, or in a container with --cap-add NET_ADMIN",
    )
}

/// Whether the capability with this number is in this process's effective set.
fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    set.is_some_and(|set| set >> number & 1 == 1)
}

fn way_out(name: &'static str, source: Option<String>) -> Finding {
    match source {
        Some(address) => Finding::works(name, format!("this machine goes out from {address}")),
        None => Finding::limited(
            name,
            format!("no route to the Internet: clients reach nothing outside over {name}"),
            format!("set up a default route for {name} on this machine, if its network has {name}"),
        ),
    }
}

fn batching(name: &'static str, works: bool, action: &str, since: &str) -> Finding {
    if works {
        return Finding::works(name, format!("{action} many datagrams in one call works"));
    }
    Finding::limited(
        name,
        format!("{action} many datagrams in one call does not work here: slower, not broken"),
        format!("a kernel from Linux {since} on has it; some 7.0 kernels have it broken"),
    )
}

fn ping(name: &'static str, result: io::Result<()>) -> Finding {
    match result {
        Ok(()) => Finding::works(name, "clients can ping hosts behind a gateway on the netstack plane"),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Finding::limited(
            name,
            "on the netstack plane clients can ping the gateway alone: ping sockets are not allowed for this user",
            "sysctl net.ipv4.ping_group_range=\"0 2147483647\", in a container --sysctl with the same",
        ),
        Err(error) => Finding::limited(
            name,
            format!("on the netstack plane clients can ping the gateway alone: {error}"),
            "the kernel needs this family's ping sockets",
        ),
    }
}

fn receive_buffers() -> Finding {
    const NAME: &str = "receive buffers";
    let max = sysctl::read("net.core.rmem_max")
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    match max {
        Some(max) if max >= GOOD_BUFFER => Finding::works(NAME, format!("net.core.rmem_max is {max} bytes")),
        Some(max) => Finding::limited(
            NAME,
            format!("net.core.rmem_max is {max} bytes: bursts of a fast client may be lost"),
            "sysctl net.core.rmem_max=7500000 net.core.wmem_max=7500000",
        ),
        None => Finding::works(NAME, "net.core.rmem_max cannot be read here, as in most containers"),
    }
}

fn descriptors() -> Finding {
    const NAME: &str = "open files";
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < GOOD_DESCRIPTORS => Finding::limited(
            NAME,
            format!("at most {limit}, one for each connection of the netstack plane"),
            "ulimit -Hn, LimitNOFILE= of systemd, or --ulimit nofile=65536 of a container",
        ),
        Some(limit) => Finding::works(
            NAME,
            format!("at most {limit}, one for each connection of the netstack plane"),
        ),
        None => Finding::works(NAME, "no limit"),
    }
}

fn control_sockets() -> Finding {
    const NAME: &str = "control sockets";
    let directory = tunnel::uapi::DIRECTORY;
    let existing = Path::new(directory).ancestors().find(|path| path.exists());
    let writable = existing.is_some_and(|path| {
        rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
    });
    if writable {
        return Finding::works(NAME, format!("`wg show` finds tunnels by their sockets in {directory}"));
    }
    Finding::limited(
        NAME,
        format!("{directory} cannot be written: `wg show` does not find tunnels, `adit show` does"),
        "run as root to have them there",
    )
}

fn port() -> Finding {
    const NAME: &str = "UDP port";
    if server::is_free(DEFAULT_PORT) {
        return Finding::works(NAME, format!("{DEFAULT_PORT} is free"));
    }
    Finding::limited(
        NAME,
        format!("{DEFAULT_PORT} is taken, perhaps by a gateway that is running"),
        "`adit launch` takes another port by itself; `adit serve` needs --listen",
    )
}

/// The name that a tunnel has in remedies.
const TUNNEL: &str = "wg0";

fn forwarding() -> Finding {
    const NAME: &str = "forwarding";
    let walls = Nftables::open().and_then(|mut nftables| wall::find(&mut nftables, TUNNEL, &linux::Family::ALL));
    match walls {
        Ok(walls) if walls.is_empty() => Finding::works(
            NAME,
            "no firewall of this machine's drops what a gateway on the kernel or tun plane forwards",
        ),
        Ok(walls) => {
            let whats: Vec<String> = walls.iter().map(Wall::describe).collect();
            let remedies: Vec<String> = walls.iter().map(|wall| wall.remedy(TUNNEL)).collect();
            Finding::limited(
                NAME,
                format!(
                    "{}: a gateway's peers may reach nothing beyond it",
                    whats.join(", and ")
                ),
                format!("for the tunnel {TUNNEL}: {}", remedies.join("; ")),
            )
        }
        Err(error) => Finding::works(
            NAME,
            format!("whether a firewall drops what is forwarded cannot be seen here: {error}"),
        ),
    }
}

fn resolvers() -> Finding {
    const NAME: &str = "resolvers";
    match Upstreams::system().read() {
        Ok(servers) => {
            let servers: Vec<String> = servers.iter().map(|server| server.address().ip().to_string()).collect();
            Finding::works(NAME, format!("a gateway's DNS asks {}", servers.join(", ")))
        }
        Err(error) => Finding::limited(
            NAME,
            format!("{RESOLV_CONF} cannot be read: {error}"),
            "name a resolver for the gateway's DNS: --dns-upstream ADDRESS",
        ),
    }
}
