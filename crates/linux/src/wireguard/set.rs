//! Lays a change to an interface out in messages that the kernel takes.

use std::net::SocketAddr;

use wg::{AllowedIpChange, IpNet, PeerUpdate, Update, key::KEY_LEN};

use super::{VERSION, WG_CMD_SET_DEVICE, allowed_ip_attribute, device_attribute, peer_attribute, peer_flag};
use crate::{
    attribute::{self, Attributes, HEADER_LEN, Nest},
    genetlink::{self, Message},
};

/// Length of a message, in bytes: the kernel takes up to 64 KiB in one attribute, and the peers are one.
const LIMIT: usize = 32 * 1024;

/// Length of the longest endpoint (`struct sockaddr_in6`).
const SOCKADDR_IN6_LEN: usize = 28;

/// The most that a peer takes besides its networks, with the header of the list that they stand in.
const PEER_LEN: usize = 2 * HEADER_LEN
    + 2 * attribute::len(KEY_LEN)
    + attribute::len(4)
    + attribute::len(SOCKADDR_IN6_LEN)
    + attribute::len(2);

/// The most that a network takes.
const NETWORK_LEN: usize = HEADER_LEN + attribute::len(2) + attribute::len(16) + attribute::len(1);

/// The messages that carry a change out, one after the other. The port is a message of its own, the first: it is what
/// may be refused, and nothing has changed then.
///
/// Takings of single networks are left out: see [`Update::without_removals`].
pub(super) fn messages(family: u16, index: u32, update: &Update) -> Vec<Message> {
    let mut messages = Messages {
        family,
        index,
        done: Vec::new(),
        open: None,
    };
    if let Some(port) = update.listen_port {
        let mut message = messages.fresh(64);
        message
            .attributes()
            .put(device_attribute::LISTEN_PORT, &port.to_ne_bytes());
        messages.done.push(message);
    }
    if update.fwmark.is_some() || update.private_key.is_some() {
        let mut message = messages.fresh(128);
        let attributes = message.attributes();
        if let Some(mark) = update.fwmark {
            attributes.put(device_attribute::FWMARK, &mark.to_ne_bytes());
        }
        if let Some(key) = &update.private_key {
            attributes.put(device_attribute::PRIVATE_KEY, key.danger_bytes());
        }
        messages.done.push(message);
    }
    for peer in &update.peers {
        messages.peer(peer);
    }
    messages.close();
    messages.done
}

/// Messages, of which the last may be open for more peers.
struct Messages {
    family: u16,
    index: u32,
    done: Vec<Message>,
    open: Option<(Message, Nest)>,
}

impl Messages {
    fn fresh(&self, capacity: usize) -> Message {
        let capacity = capacity + genetlink::HEADER_LEN + attribute::len(4);
        let mut message = Message::new(self.family, WG_CMD_SET_DEVICE, VERSION, capacity);
        message
            .attributes()
            .put(device_attribute::IFINDEX, &self.index.to_ne_bytes());
        message
    }

    /// The list of peers of a message that has room for so much.
    fn room_for(&mut self, len: usize) -> &mut Attributes {
        let is_full = |(message, _): &(Message, Nest)| message.bytes().len() + len > LIMIT;
        if self.open.as_ref().is_some_and(is_full) {
            self.close();
        }
        if self.open.is_none() {
            let mut message = self.fresh(LIMIT);
            let peers = message.attributes().begin(device_attribute::PEERS);
            self.open = Some((message, peers));
        }
        let (message, _) = self.open.as_mut().expect("it was opened just above");
        message.attributes()
    }

    fn close(&mut self) {
        if let Some((mut message, peers)) = self.open.take() {
            message.attributes().end(peers);
            self.done.push(message);
        }
    }

    /// Adds a peer, and goes on with it in further messages as long as it has networks.
    fn peer(&mut self, update: &PeerUpdate) {
        let mut networks = update.allowed_ips.iter().filter_map(|change| match change {
            AllowedIpChange::Add(network) => Some(*network),
            AllowedIpChange::Remove(_) => None,
        });
        let mut networks = networks.by_ref().filter(|_| !update.remove).peekable();
        let mut is_first = true;
        while is_first || networks.peek().is_some() {
            let attributes = self.room_for(PEER_LEN + NETWORK_LEN);
            let peer = attributes.begin(0);
            attributes.put(peer_attribute::PUBLIC_KEY, update.public_key.as_bytes());
            if is_first {
                settings(attributes, update);
            } else {
                // It is there, or it was not to be made.
                attributes.put(peer_attribute::FLAGS, &peer_flag::UPDATE_ONLY.to_ne_bytes());
            }
            is_first = false;
            if networks.peek().is_some() {
                let list = attributes.begin(peer_attribute::ALLOWEDIPS);
                while attributes.bytes().len() + NETWORK_LEN <= LIMIT
                    && let Some(network) = networks.next()
                {
                    put_network(attributes, network);
                }
                attributes.end(list);
            }
            attributes.end(peer);
        }
    }
}

/// Adds what a peer is besides its networks.
fn settings(attributes: &mut Attributes, update: &PeerUpdate) {
    let mut flags = 0;
    for (is_set, flag) in [
        (update.remove, peer_flag::REMOVE_ME),
        (update.update_only, peer_flag::UPDATE_ONLY),
        (update.replace_allowed_ips, peer_flag::REPLACE_ALLOWEDIPS),
    ] {
        if is_set {
            flags |= flag;
        }
    }
    if flags != 0 {
        attributes.put(peer_attribute::FLAGS, &flags.to_ne_bytes());
    }
    if update.remove {
        return;
    }
    if let Some(key) = &update.preshared_key {
        attributes.put(peer_attribute::PRESHARED_KEY, key.danger_bytes());
    }
    if let Some(endpoint) = update.endpoint {
        attributes.put(peer_attribute::ENDPOINT, &sockaddr(endpoint));
    }
    if let Some(secs) = update.persistent_keepalive {
        attributes.put(peer_attribute::PERSISTENT_KEEPALIVE_INTERVAL, &secs.to_ne_bytes());
    }
}

fn put_network(attributes: &mut Attributes, network: IpNet) {
    let entry = attributes.begin(0);
    let (family, prefix_len) = match network {
        IpNet::V4(network) => (libc::AF_INET, network.prefix_len()),
        IpNet::V6(network) => (libc::AF_INET6, network.prefix_len()),
    };
    let family = u16::try_from(family).expect("families are small numbers");
    attributes.put(allowed_ip_attribute::FAMILY, &family.to_ne_bytes());
    match network.network() {
        std::net::IpAddr::V4(address) => attributes.put(allowed_ip_attribute::IPADDR, &address.octets()),
        std::net::IpAddr::V6(address) => attributes.put(allowed_ip_attribute::IPADDR, &address.octets()),
    }
    attributes.put(allowed_ip_attribute::CIDR_MASK, &[prefix_len]);
    attributes.end(entry);
}

/// An address as `struct sockaddr_in` or `struct sockaddr_in6`.
fn sockaddr(endpoint: SocketAddr) -> Vec<u8> {
    let family = |number: i32| u16::try_from(number).expect("families are small numbers").to_ne_bytes();
    let mut bytes = Vec::with_capacity(SOCKADDR_IN6_LEN);
    match endpoint {
        SocketAddr::V4(endpoint) => {
            bytes.extend(family(libc::AF_INET));
            bytes.extend(endpoint.port().to_be_bytes());
            bytes.extend(endpoint.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(endpoint) => {
            bytes.extend(family(libc::AF_INET6));
            bytes.extend(endpoint.port().to_be_bytes());
            bytes.extend(endpoint.flowinfo().to_be_bytes());
            bytes.extend(endpoint.ip().octets());
            bytes.extend(endpoint.scope_id().to_ne_bytes());
        }
    }
    bytes
}
