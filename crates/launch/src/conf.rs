//! The configuration that a client imports.

use std::net::IpAddr;

use ipnet::IpNet;
use wg::PublicKey;

use crate::{
    Lease,
    lease::{GatewayFacts, LeasePeer},
    node::Terms,
};

/// Stands where the private key belongs, which only the client has.
pub const PRIVATE_KEY: &str = "{{PRIVATE_KEY}}";

/// What every line ends with if there is no gateway behind the configuration.
pub const SAMPLE: &str = "# SAMPLE, not a gateway";

/// A configuration but for the private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Whose.
    pub peer: String,
    /// The key that the private one belongs to.
    pub public_key: PublicKey,
    /// The text, with [`PRIVATE_KEY`] where the private key belongs.
    pub text: String,
    /// Whether there is no gateway behind it.
    pub is_sample: bool,
}

/// What every client of a lease is told alike.
pub fn terms(lease: &Lease, gateway: &GatewayFacts) -> Terms {
    let own = || {
        gateway
            .addresses
            .iter()
            .map(|address| address.addr().to_string())
            .collect()
    };
    Terms {
        endpoint: gateway.endpoint.clone(),
        dns: lease.order.dns.clone().unwrap_or_else(own),
        allowed_ips: lease.order.allowed_ips.clone(),
        mtu: lease.order.mtu,
    }
}

/// The text for a peer in wg-quick's form; `None` until the gateway has told its addresses.
pub fn configuration(lease: &Lease, peer: &LeasePeer) -> Option<Configuration> {
    let (gateway, public_key) = (lease.gateway.as_ref()?, peer.public_key?);
    if peer.addresses.is_empty() {
        return None;
    }
    let text = text(&terms(lease, gateway), gateway.public_key, &peer.addresses, PRIVATE_KEY);
    Some(Configuration {
        peer: peer.name.clone(),
        public_key,
        text: if lease.is_sample { mark(&text) } else { text },
        is_sample: lease.is_sample,
    })
}

pub(crate) fn text(terms: &Terms, gateway: PublicKey, addresses: &[IpAddr], private_key: &str) -> String {
    let mut addresses = addresses.to_vec();
    addresses.sort();
    let addresses: Vec<IpNet> = addresses.into_iter().map(IpNet::from).collect();
    let mut lines = vec![
        "[Interface]".to_owned(),
        format!("PrivateKey = {private_key}"),
        format!("Address = {}", list(&addresses)),
    ];
    if !terms.dns.is_empty() {
        lines.push(format!("DNS = {}", list(&terms.dns)));
    }
    lines.extend(terms.mtu.map(|mtu| format!("MTU = {mtu}")));
    lines.extend([
        String::new(),
        "[Peer]".to_owned(),
        format!("PublicKey = {gateway}"),
        format!("Endpoint = {}", terms.endpoint),
        format!("AllowedIPs = {}", list(&terms.allowed_ips)),
        // Clients sit behind NAT, and the page shows whether they are there.
        "PersistentKeepalive = 25".to_owned(),
    ]);
    lines.join("\n") + "\n"
}

/// Marks every line.
pub fn mark(text: &str) -> String {
    let marked = text
        .lines()
        .map(|line| format!("{line} {SAMPLE}").trim_start().to_owned() + "\n");
    marked.collect()
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
