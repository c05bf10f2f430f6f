//! Network interfaces.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NlasIterator};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};

use crate::{
    attribute::text,
    netlink::{Error, Netlink},
};

/// Longest name of an interface, in bytes (`IFNAMSIZ` less the zero).
pub const NAME_LEN: usize = 15;

/// Length of `struct ifinfomsg`.
const HEADER_LEN: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_STATS64: u16 = 23;
const IFLA_GROUP: u16 = 27;
const IFLA_INFO_KIND: u16 = 1;
const RTM_NEWLINK: u16 = 16;

/// An interface as it was when asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it, unique in its namespace.
    pub index: u32,
    /// Its name, unique in its namespace.
    pub name: String,
    /// Largest packet that it sends, in bytes.
    pub mtu: u32,
    /// `tun`, `wireguard`, `veth` and so on; `None` for hardware.
    pub kind: Option<String>,
    /// Whether it is switched on.
    pub up: bool,
    /// What somebody wrote beside its name.
    pub alias: Option<String>,
    /// The group that it belongs to; 0 is every interface's at first.
    pub group: u32,
}

/// Packets that an interface has handled since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received.
    pub received: u64,
    /// Sent.
    pub sent: u64,
    /// Received and not taken for what they are.
    pub receive_errors: u64,
    /// Not sent, for nobody is there to send them to.
    pub send_errors: u64,
    /// Received and dropped.
    pub receive_dropped: u64,
    /// Dropped before they were sent.
    pub send_dropped: u64,
}

/// Whether the kernel takes this as an interface's name: 1 to 15 bytes, none of them `/`, `:`, `%` or a space, and not
/// `.` or `..`.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_LEN).contains(&name.len())
        && name != "."
        && name != ".."
        && !name
            .bytes()
            .any(|byte| matches!(byte, b'/' | b':' | b'%' | 0) || byte.is_ascii_whitespace())
}

/// The interface of this name, `None` if there is none.
///
/// # Errors
///
/// The kernel's refusal.
pub fn find(netlink: &mut Netlink, name: &str) -> Result<Option<Link>, Error> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    one(netlink, message, || format!("looking for the interface {name}"))
}

/// The interface of this index, `None` if there is none.
///
/// # Errors
///
/// The kernel's refusal.
pub fn by_index(netlink: &mut Netlink, index: u32) -> Result<Option<Link>, Error> {
    let message = at(index);
    one(netlink, message, || format!("looking for the interface number {index}"))
}

/// All interfaces of the namespace.
///
/// # Errors
///
/// The kernel's refusal.
pub fn list(netlink: &mut Netlink) -> Result<Vec<Link>, Error> {
    let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
    netlink.dump(
        &message,
        || "listing the interfaces".into(),
        |header, payload| read(header.message_type, payload),
    )
}

/// Switches an interface on.
///
/// # Errors
///
/// The kernel's refusal.
pub fn set_up(netlink: &mut Netlink, index: u32) -> Result<(), Error> {
    let mut message = at(index);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    set(netlink, message, || {
        format!("switching the interface number {index} on")
    })
}

/// Switches an interface off; its routes go.
///
/// # Errors
///
/// The kernel's refusal.
pub fn set_down(netlink: &mut Netlink, index: u32) -> Result<(), Error> {
    let mut message = at(index);
    message.header.change_mask = LinkFlags::Up;
    set(netlink, message, || {
        format!("switching the interface number {index} off")
    })
}

/// Sets the largest packet that an interface sends, in bytes.
///
/// # Errors
///
/// The kernel's refusal, for a size that the interface cannot have.
pub fn set_mtu(netlink: &mut Netlink, index: u32, mtu: u32) -> Result<(), Error> {
    let mut message = at(index);
    message.attributes.push(LinkAttribute::Mtu(mtu));
    set(netlink, message, || format!("setting the MTU to {mtu}"))
}

/// Gives an interface another name.
///
/// # Errors
///
/// The kernel's refusal, if the name is taken or no name.
pub fn rename(netlink: &mut Netlink, index: u32, name: &str) -> Result<(), Error> {
    let mut message = at(index);
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    set(netlink, message, || {
        format!("naming the interface number {index} {name}")
    })
}

/// Writes something beside an interface's name, and puts it into a group, in one step.
///
/// # Errors
///
/// The kernel's refusal.
pub fn set_alias(netlink: &mut Netlink, index: u32, alias: &str, group: u32) -> Result<(), Error> {
    let mut message = at(index);
    message.attributes.push(LinkAttribute::Group(group));
    message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
    set(netlink, message, || {
        format!("marking the interface number {index} as {alias}")
    })
}

/// Makes a bridge, off and without ports.
///
/// # Errors
///
/// The kernel's refusal; [`Error::is_there_already`] if the name is taken.
pub fn create_bridge(netlink: &mut Netlink, name: &str) -> Result<(), Error> {
    let info = vec![LinkInfo::Kind(InfoKind::Bridge)];
    create(netlink, name, info, || format!("making the bridge {name}"))
}

/// Makes two interfaces, `name` and `other`, off: what enters the one comes out of the other. Each goes with the other.
///
/// # Errors
///
/// The kernel's refusal; [`Error::is_there_already`] if a name is taken.
pub fn create_veth(netlink: &mut Netlink, name: &str, other: &str) -> Result<(), Error> {
    let mut peer = LinkMessage::default();
    peer.attributes.push(LinkAttribute::IfName(other.to_owned()));
    let info = vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ];
    create(netlink, name, info, || {
        format!("making the interfaces {name} and {other}")
    })
}

fn create(
    netlink: &mut Netlink,
    name: &str,
    info: Vec<LinkInfo>,
    action: impl FnOnce() -> String,
) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::LinkInfo(info));
    netlink.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, action)
}

/// Makes an interface a port of a bridge.
///
/// # Errors
///
/// The kernel's refusal.
pub fn set_bridge(netlink: &mut Netlink, index: u32, bridge: u32) -> Result<(), Error> {
    let mut message = at(index);
    message.attributes.push(LinkAttribute::Controller(bridge));
    set(netlink, message, || {
        format!("putting the interface number {index} into the bridge number {bridge}")
    })
}

/// Sets the hardware address of an interface that has one.
///
/// # Errors
///
/// The kernel's refusal.
pub fn set_hardware_address(netlink: &mut Netlink, index: u32, address: [u8; 6]) -> Result<(), Error> {
    let mut message = at(index);
    message.attributes.push(LinkAttribute::Address(address.to_vec()));
    set(netlink, message, || {
        format!("setting the hardware address of the interface number {index}")
    })
}

/// Moves an interface to another network namespace; it keeps its name, loses its addresses, and is off there.
///
/// # Errors
///
/// The kernel's refusal, if the name is taken there.
pub fn move_to(netlink: &mut Netlink, index: u32, namespace: BorrowedFd<'_>) -> Result<(), Error> {
    let mut message = at(index);
    message.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
    set(netlink, message, || {
        format!("moving the interface number {index} to another namespace")
    })
}

/// Removes an interface.
///
/// # Errors
///
/// The kernel's refusal; [`Error::is_missing`] if there is none.
pub fn delete(netlink: &mut Netlink, index: u32) -> Result<(), Error> {
    let message = RouteNetlinkMessage::DelLink(at(index));
    netlink.request(message, 0, || format!("removing the interface number {index}"))
}

/// Removes the interface of this name, if there is one, in the calling thread's namespace.
///
/// # Errors
///
/// The kernel's refusal.
pub fn remove(name: &str) -> Result<(), Error> {
    let mut netlink = Netlink::route()?;
    match find(&mut netlink, name)? {
        Some(link) => delete(&mut netlink, link.index),
        None => Ok(()),
    }
}

/// Whether this process may make and change interfaces of the namespace. Changes nothing: it asks for the removal of an
/// interface that cannot exist.
///
/// # Errors
///
/// The kernel's refusal, for another reason.
pub fn may_change(netlink: &mut Netlink) -> Result<bool, Error> {
    // Indices are positive.
    match delete(netlink, i32::MAX.cast_unsigned()) {
        Err(error) if error.is_forbidden() => Ok(false),
        Err(error) if !error.is_missing() => Err(error),
        _ => Ok(true),
    }
}

fn at(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn set(netlink: &mut Netlink, message: LinkMessage, action: impl FnOnce() -> String) -> Result<(), Error> {
    netlink.request(RouteNetlinkMessage::SetLink(message), 0, action)
}

fn one(netlink: &mut Netlink, message: LinkMessage, action: impl FnOnce() -> String) -> Result<Option<Link>, Error> {
    let mut found = None;
    let message = RouteNetlinkMessage::GetLink(message);
    match netlink.query(message, action, |header, payload| {
        found = read(header.message_type, payload)
    }) {
        Ok(()) => Ok(found),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the interface of this index has handled, `None` if there is none.
///
/// # Errors
///
/// The kernel's refusal.
pub fn traffic(netlink: &mut Netlink, index: u32) -> Result<Option<Traffic>, Error> {
    let action = || format!("asking what the interface number {index} has handled");
    let message = RouteNetlinkMessage::GetLink(at(index));
    let mut found = None;
    match netlink.query(message, action, |header, payload| {
        let attributes = payload.get(HEADER_LEN..).filter(|_| header.message_type == RTM_NEWLINK);
        let mut attributes = NlasIterator::new(attributes.unwrap_or_default()).flatten();
        if let Some(counters) = attributes.find(|attribute| attribute.kind() == IFLA_STATS64) {
            found = Some(read_traffic(counters.value()));
        }
    }) {
        Ok(()) => Ok(found),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the beginning of a `struct rtnl_link_stats64`; what is not there is 0.
fn read_traffic(counters: &[u8]) -> Traffic {
    let (words, _) = counters.as_chunks();
    let word = |at: usize| words.get(at).map_or(0, |word| u64::from_ne_bytes(*word));
    // Numbers 2 and 3 are bytes.
    Traffic {
        received: word(0),
        sent: word(1),
        receive_errors: word(4),
        send_errors: word(5),
        receive_dropped: word(6),
        send_dropped: word(7),
    }
}

/// Reads the few attributes that matter here and passes over the others, so that no exotic interface is in the way.
fn read(message_type: u16, payload: &[u8]) -> Option<Link> {
    if message_type != RTM_NEWLINK {
        return None;
    }
    let word = |at: usize| Some(u32::from_ne_bytes(payload.get(at..at + 4)?.try_into().ok()?));
    let (index, flags) = (word(4)?, word(8)?);
    let mut link = Link {
        index,
        name: String::new(),
        mtu: 0,
        kind: None,
        up: LinkFlags::from_bits_retain(flags).contains(LinkFlags::Up),
        alias: None,
        group: 0,
    };
    for attribute in NlasIterator::new(payload.get(HEADER_LEN..)?).flatten() {
        match attribute.kind() {
            IFLA_IFNAME => link.name = text(attribute.value()),
            IFLA_MTU => link.mtu = attribute.value().try_into().map_or(0, u32::from_ne_bytes),
            IFLA_IFALIAS => link.alias = Some(text(attribute.value())),
            IFLA_GROUP => link.group = attribute.value().try_into().map_or(0, u32::from_ne_bytes),
            IFLA_LINKINFO => {
                link.kind = NlasIterator::new(attribute.value())
                    .flatten()
                    .find(|inner| inner.kind() == IFLA_INFO_KIND)
                    .map(|inner| text(inner.value()));
            }
            _ => {}
        }
    }
    Some(link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns;

    #[test]
    fn only_what_the_kernel_takes_is_a_name() {
        for (name, taken) in [
            ("wg0", true),
            ("a", true),
            ("fifteen-bytes-x", true),
            ("", false),
            (".", false),
            ("..", false),
            ("sixteen-bytes-xy", false),
            ("wg 0", false),
            ("wg/0", false),
            ("wg:0", false),
            ("wg%d", false),
            ("wg\t", false),
        ] {
            assert_eq!(is_name(name), taken, "{name:?}");
        }
    }

    #[test]
    fn the_loopback_interface_is_found_and_switched_on_and_off() {
        let Some(namespace) = netns::for_test() else { return };
        namespace
            .run(|| {
                let mut netlink = Netlink::route().unwrap();
                let lo = find(&mut netlink, "lo").unwrap().unwrap();
                assert_eq!((lo.index, lo.mtu, lo.up), (1, 65536, false));
                set_up(&mut netlink, lo.index).unwrap();
                set_mtu(&mut netlink, lo.index, 1280).unwrap();
                let changed = by_index(&mut netlink, 1).unwrap().unwrap();
                assert_eq!((changed.mtu, changed.up), (1280, true));
                assert!(list(&mut netlink).unwrap().contains(&changed));
                set_down(&mut netlink, 1).unwrap();
                assert!(!by_index(&mut netlink, 1).unwrap().unwrap().up);
            })
            .unwrap();
    }

    #[test]
    fn what_enters_one_end_of_a_pair_comes_out_of_the_other_s_bridge() {
        let Some(namespace) = netns::for_test() else { return };
        namespace
            .run(|| {
                let mut netlink = Netlink::route().unwrap();
                create_bridge(&mut netlink, "br").unwrap();
                assert!(create_bridge(&mut netlink, "br").unwrap_err().is_there_already());
                create_veth(&mut netlink, "here", "there").unwrap();
                let [bridge, here, there] =
                    ["br", "here", "there"].map(|name| find(&mut netlink, name).unwrap().unwrap());
                assert_eq!(
                    [bridge.kind.as_deref(), here.kind.as_deref()],
                    [Some("bridge"), Some("veth")]
                );
                set_bridge(&mut netlink, here.index, bridge.index).unwrap();
                set_hardware_address(&mut netlink, there.index, [2, 0, 0, 0, 0, 7]).unwrap();
                remove("there").unwrap();
                remove("there").unwrap();
                assert_eq!(find(&mut netlink, "here").unwrap(), None);
            })
            .unwrap();
    }

    #[test]
    fn the_loopback_counts_what_it_carries() {
        let Some(namespace) = netns::for_test() else { return };
        namespace
            .run(|| {
                let mut netlink = Netlink::route().unwrap();
                set_up(&mut netlink, 1).unwrap();
                let before = traffic(&mut netlink, 1).unwrap().unwrap();
                let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                for _ in 0..5 {
                    socket.send_to(b"hello", socket.local_addr().unwrap()).unwrap();
                }
                let after = traffic(&mut netlink, 1).unwrap().unwrap();
                assert_eq!((after.received - before.received, after.sent - before.sent), (5, 5));
                assert_eq!(traffic(&mut netlink, 4242).unwrap(), None);
            })
            .unwrap();
    }

    #[test]
    fn an_interface_that_is_not_there_is_none_or_missing() {
        let Some(namespace) = netns::for_test() else { return };
        namespace
            .run(|| {
                let mut netlink = Netlink::route().unwrap();
                assert_eq!(find(&mut netlink, "wg9").unwrap(), None);
                assert_eq!(by_index(&mut netlink, 4242).unwrap(), None);
                assert!(delete(&mut netlink, 4242).unwrap_err().is_missing());
                let error = rename(&mut netlink, 4242, "wg9").unwrap_err();
                assert!(
                    error.to_string().starts_with("naming the interface number 4242 wg9: "),
                    "{error}"
                );
            })
            .unwrap();
    }
}
