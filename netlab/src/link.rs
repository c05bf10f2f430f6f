//! What joins hosts: links, switches, addresses, routes.

use std::net::IpAddr;

use crate::Host;

/// Which help a link's hardware seems to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offloads {
    /// Everything, as between two containers on one machine: super-packets cross whole.
    All,
    /// Only packets of the MTU cross, but the receiver joins them again: nearest to a network card.
    ReceiveOnly,
    /// None at all.
    Off,
}

impl Host {
    /// Runs `ip` with `arguments`, split at spaces, and gives its output.
    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        self.command("ip").args(arguments.split_whitespace()).run()
    }

    /// Joins this host and `other` by a cable, with addresses at both ends.
    ///
    /// IPv6 addresses are usable at once: duplicate address detection is off.
    #[track_caller]
    pub fn link(&self, name: &str, addresses: &[&str], other: &Self, other_name: &str, other_addresses: &[&str]) {
        let there = other.namespace_path();
        self.ip(&format!(
            "link add {name} type veth peer name {other_name} netns {there}"
        ));
        self.bring_up(name, addresses);
        other.bring_up(other_name, other_addresses);
        self.wait_for_carrier(name);
        other.wait_for_carrier(other_name);
    }

    /// Makes this host a switch for `cables`, each a host, its interface's name, and its addresses.
    #[track_caller]
    pub fn switch(&self, cables: &[(&Self, &str, &[&str])]) {
        self.ip("link add switch type bridge forward_delay 0");
        self.ip("link set switch up");
        for (number, (host, name, addresses)) in cables.iter().enumerate() {
            let port = format!("port{number}");
            host.link(name, addresses, self, &port, &[]);
            self.ip(&format!("link set {port} master switch"));
        }
    }

    /// Adds an address, such as `192.0.2.1/24`, to a link.
    #[track_caller]
    pub fn add_address(&self, link: &str, address: &str) {
        let family = if address.contains(':') { "nodad" } else { "" };
        self.ip(&format!("address add {address} dev {link} {family}"));
    }

    /// Takes an address from a link.
    #[track_caller]
    pub fn remove_address(&self, link: &str, address: &str) {
        self.ip(&format!("address del {address} dev {link}"));
    }

    /// Adds a route: `default via 192.0.2.1`, `unreachable 198.51.100.0/24`, `blackhole 2001:db8:dead::/48`.
    #[track_caller]
    pub fn route(&self, route: &str) {
        let family = if route.contains(':') { "-6" } else { "-4" };
        self.ip(&format!("{family} route add {route}"));
    }

    /// Sets a link's MTU.
    #[track_caller]
    pub fn set_mtu(&self, link: &str, mtu: u32) {
        self.ip(&format!("link set {link} mtu {mtu}"));
    }

    /// Sets which help a link's hardware seems to give.
    #[track_caller]
    pub fn set_offloads(&self, link: &str, offloads: Offloads) {
        let (send, receive) = match offloads {
            Offloads::All => ("on", "on"),
            Offloads::ReceiveOnly => ("off", "on"),
            Offloads::Off => ("off", "off"),
        };
        let features = [
            "-K",
            link,
            "tso",
            send,
            "gso",
            send,
            "tx-udp-segmentation",
            send,
            "gro",
            receive,
        ];
        self.command("ethtool").args(features).run();
    }

    /// Writes a setting of the namespace: `net.ipv4.ip_forward` and the like.
    ///
    /// # Panics
    ///
    /// If the kernel does not take it.
    #[track_caller]
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let written = self.run(|| std::fs::write(&path, value));
        written.unwrap_or_else(|error| panic!("set {name} to {value} on {}: {error}", self.name()));
    }

    /// Forwards IPv4 and IPv6 between this host's links.
    #[track_caller]
    pub fn forward(&self) {
        self.sysctl("net.ipv4.ip_forward", "1");
        self.sysctl("net.ipv6.conf.all.forwarding", "1");
    }

    /// Lets every user open ping sockets, or none.
    #[track_caller]
    pub fn allow_ping_sockets(&self, allowed: bool) {
        self.sysctl(
            "net.ipv4.ping_group_range",
            if allowed { "0 2147483647" } else { "1 0" },
        );
    }

    /// The names of this host's links.
    #[must_use]
    pub fn links(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .ip("-oneline link show")
            .lines()
            .filter_map(|line| line.split(": ").nth(1)?.split('@').next().map(str::to_owned))
            .collect();
        names.sort();
        names
    }

    /// This host's own addresses, but for those of one link only (`fe80::`).
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let text = self.ip("-oneline address show scope global") + &self.ip("-oneline address show scope host");
        text.lines()
            .filter_map(|line| line.split_whitespace().nth(3)?.split('/').next()?.parse().ok())
            .collect()
    }

    /// Everything of the network that a program could leave behind, as text: links, addresses, routes, rules, nftables.
    #[must_use]
    pub fn network_state(&self) -> String {
        // One command, for each costs a slow machine much.
        let script = "set -e
            for family in 4 6; do
                printf 'route show table all\\nrule\\n' | ip -$family -batch -
            done
            printf 'link\\naddress\\n' | ip -brief -batch -
            if command -v nft >/dev/null; then nft list ruleset; fi";
        let text = self.command("sh").args(["-c", script]).run();
        // The kernel adds these a second after a link came up, when it has found nobody with the same address.
        let lines = text.lines().filter(|line| !line.starts_with("local fe80:"));
        lines.fold(String::new(), |text, line| text + line + "\n")
    }

    fn bring_up(&self, link: &str, addresses: &[&str]) {
        for address in addresses {
            self.add_address(link, address);
        }
        self.ip(&format!("link set {link} up"));
    }

    fn wait_for_carrier(&self, link: &str) {
        crate::wait_until("a link has a carrier", std::time::Duration::from_secs(5), || {
            self.ip(&format!("link show {link}")).contains("LOWER_UP").then_some(())
        });
    }
}
