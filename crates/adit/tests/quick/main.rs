//! `adit up` and `adit down`: beside wg-quick, through failures, and killed at any moment.

mod beside_wg_quick;
mod ends;
mod forwarded;
mod interrupted;
mod killed;

use std::path::PathBuf;
use std::time::Instant;

use netlab::{Host, Lab, Process};
use wg::PrivateKey;

const ADIT: &str = env!("CARGO_BIN_EXE_adit");

/// What every host's resolv.conf says before a tunnel takes it.
const RESOLV_CONF: &str = "nameserver 192.0.2.53\nsearch example.org\n";

fn private(number: u8) -> String {
    PrivateKey::from_bytes([number; 32]).danger_base64().to_string()
}

fn public(number: u8) -> String {
    PrivateKey::from_bytes([number; 32]).public_key().to_string()
}

/// A host with a network and default routes of both families, and the router that they lead to.
fn host(lab: &Lab) -> (Host, Host) {
    let (host, router) = (lab.host("host"), lab.router("router"));
    host.link(
        "eth0",
        &["192.0.2.1/24", "2001:db8::1/64"],
        &router,
        "eth0",
        &["192.0.2.254/24", "2001:db8::fe/64"],
    );
    host.route("default via 192.0.2.254");
    host.route("default via 2001:db8::fe");
    host.set_resolv_conf(RESOLV_CONF);
    (host, router)
}

/// Writes a configuration for this host.
fn write(host: &Host, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = host.folder().join(format!("{name}.conf"));
    std::fs::write(&path, text).expect("write a configuration");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("make a file its owner's alone");
    path
}

/// Everything that a tunnel could leave behind.
fn state(host: &Host) -> String {
    let setting = host
        .command("cat")
        .arg("/proc/sys/net/ipv4/conf/all/src_valid_mark")
        .run();
    let files = host
        .command("find")
        .args(["/run/adit", "/run/wireguard", "-type", "f,s"])
        .output()
        .stdout;
    format!(
        "{}\n{setting}\n{:?}\n{}\n{files}\n{:?}",
        host.network_state(),
        copies_of_resolv_conf(host),
        host.resolv_conf(),
        host.processes()
    )
}

/// Signals `adit up` at 40 moments, spread over the time that it takes. Each time `settle` waits for its end and sees to what is
/// left, the host is then as it was before, and `settle` says whether it was half-way; more than two must have been.
#[track_caller]
fn signalled_at_any_moment(signal: i32, mut settle: impl FnMut(&Host, u32, &mut Process) -> bool) {
    let lab = Lab::new();
    let (host, _router) = host(&lab);
    let path = write(&host, "wg0", &everything());
    let before = state(&host);
    let begin = Instant::now();
    host.command(ADIT).arg("up").arg(&path).run();
    let whole = begin.elapsed();
    host.command(ADIT).args(["down", "wg0"]).run();
    let rounds: u32 = 40;
    let mut half_way = 0;
    for round in 0..rounds {
        let mut process = host.command(ADIT).arg("up").arg(&path).spawn();
        let begin = Instant::now();
        while begin.elapsed() < whole * round / rounds {
            std::thread::yield_now();
        }
        process.signal(signal);
        half_way += usize::from(settle(&host, round, &mut process));
        assert_eq!(state(&host), before, "round {round}");
    }
    assert!(half_way > 2, "too few rounds were ended half-way: {half_way}");
}

/// What lies beside the host's resolv.conf for its sake: hosts share `/etc`, but not the inode in these names.
fn copies_of_resolv_conf(host: &Host) -> Vec<String> {
    use std::os::unix::fs::MetadataExt as _;
    let own = std::fs::metadata(host.folder().join("resolv.conf")).expect("look at the host's resolv.conf");
    let names = host.command("ls").args(["-A", "/etc"]).run();
    let mark = format!(":{}", own.ino());
    names
        .lines()
        .filter(|name| name.contains(&mark))
        .map(str::to_owned)
        .collect()
}

/// A configuration that uses most of what there is.
fn everything() -> String {
    format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.9.0.2/24, fd09::2/64\nDNS = 10.9.0.1, lan\nListenPort = 51820\n\n\
         [Peer]\nPublicKey = {}\nEndpoint = 192.0.2.254:51820\nAllowedIPs = 0.0.0.0/0, ::/0, 10.77.0.0/16\n",
        private(1),
        public(2)
    )
}
