//! Makes and finds interfaces of the kernel's WireGuard.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
};

use super::Error;
use crate::{
    link::{self, Link},
    netlink::Netlink,
};

/// The kind of WireGuard's interfaces.
pub const KIND: &str = "wireguard";

/// Makes an interface that is off and has no key, in group `group`, which is 0 unless somebody wants another.
///
/// # Errors
///
/// [`Error::Missing`], [`Error::NotPermitted`], and [`Error::Kernel`] if the name is taken.
pub fn create(netlink: &mut Netlink, name: &str, group: u32) -> Result<Link, Error> {
    request(netlink, name, group, None)?;
    link::find(netlink, name).map_err(Error::Kernel)?.ok_or(Error::Gone)
}

/// Makes an interface as [`create`] does, but in another namespace. Its UDP sockets are those of this one.
///
/// # Errors
///
/// As [`create`].
pub fn create_inside(netlink: &mut Netlink, name: &str, namespace: BorrowedFd<'_>) -> Result<(), Error> {
    request(netlink, name, 0, Some(namespace))
}

fn request(netlink: &mut Netlink, name: &str, group: u32, namespace: Option<BorrowedFd<'_>>) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    if group != 0 {
        message.attributes.push(LinkAttribute::Group(group));
    }
    let namespace = namespace.map(|namespace| LinkAttribute::NetNsFd(namespace.as_raw_fd()));
    message.attributes.extend(namespace);
    let kind = LinkInfo::Kind(InfoKind::Wireguard);
    message.attributes.push(LinkAttribute::LinkInfo(vec![kind]));
    let action = || format!("making the WireGuard interface {name}");
    let done = netlink.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, action);
    done.map_err(|error| match error.cause.raw_os_error() {
        Some(libc::EOPNOTSUPP) => Error::Missing,
        Some(libc::EPERM | libc::EACCES) => Error::NotPermitted { action: error.action },
        _ => Error::Kernel(error),
    })
}

/// The WireGuard interfaces of the namespace, in the order of their names.
///
/// # Errors
///
/// The kernel's refusal.
pub fn list(netlink: &mut Netlink) -> Result<Vec<Link>, Error> {
    let mut links = link::list(netlink).map_err(Error::Kernel)?;
    links.retain(is_wireguard);
    links.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(links)
}

fn is_wireguard(link: &Link) -> bool {
    link.kind.as_deref() == Some(KIND)
}
