//! IP addresses of interfaces.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's vocabulary grows; what is not used here is passed over"
)]

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
};

use crate::{
    Family,
    netlink::{Error, Netlink, decode},
};

/// Gives an interface an address; the prefix's network is reached through it. As `ip address add` does.
///
/// # Errors
///
/// The kernel's refusal; [`Error::is_there_already`] if the interface has it.
pub fn add(netlink: &mut Netlink, index: u32, address: IpNet) -> Result<(), Error> {
    let message = RouteNetlinkMessage::NewAddress(message(index, address));
    netlink.request(message, NLM_F_CREATE | NLM_F_EXCL, || {
        format!("adding the address {address}")
    })
}

/// Gives an interface an address as [`add`] does, and of IPv6 without asking around whether somebody else has it
/// (*RFC 4862, 5.4*): it is of use at once.
///
/// # Errors
///
/// As [`add`].
pub fn add_at_once(netlink: &mut Netlink, index: u32, address: IpNet) -> Result<(), Error> {
    let mut message = message(index, address);
    if address.addr().is_ipv6() {
        message.header.flags |= AddressHeaderFlags::Nodad;
    }
    let message = RouteNetlinkMessage::NewAddress(message);
    netlink.request(message, NLM_F_CREATE | NLM_F_EXCL, || {
        format!("adding the address {address}")
    })
}

/// Takes an address from an interface.
///
/// # Errors
///
/// The kernel's refusal; [`Error::is_missing`] if the interface does not have it.
pub fn delete(netlink: &mut Netlink, index: u32, address: IpNet) -> Result<(), Error> {
    let message = RouteNetlinkMessage::DelAddress(message(index, address));
    netlink.request(message, 0, || format!("removing the address {address}"))
}

/// The addresses of an interface, of both families, in the kernel's order.
///
/// # Errors
///
/// The kernel's refusal.
pub fn list(netlink: &mut Netlink, index: u32) -> Result<Vec<IpNet>, Error> {
    let mut wanted = AddressMessage::default();
    wanted.header.index = index;
    let action = || format!("listing the addresses of the interface number {index}");
    netlink.dump(&RouteNetlinkMessage::GetAddress(wanted), action, |header, payload| {
        let RouteNetlinkMessage::NewAddress(found) = decode(header, payload)? else {
            return None;
        };
        (found.header.index == index).then(|| own(&found)).flatten()
    })
}

/// The interface's own address: `IFA_LOCAL` where there is one (`IFA_ADDRESS` is then the other end of the line).
fn own(message: &AddressMessage) -> Option<IpNet> {
    let mut own = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) if own.is_none() => own = Some(*address),
            _ => {}
        }
    }
    IpNet::new(own?, message.header.prefix_len).ok()
}

fn message(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = Family::of(address.addr()).into();
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.header.scope = match address.addr() {
        IpAddr::V4(v4) if v4.is_loopback() => AddressScope::Host,
        IpAddr::V4(_) | IpAddr::V6(_) => AddressScope::Universe,
    };
    message.attributes = vec![
        AddressAttribute::Local(address.addr()),
        AddressAttribute::Address(address.addr()),
    ];
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns;

    #[test]
    fn addresses_of_both_families_come_and_go() {
        let Some(namespace) = netns::for_test() else { return };
        namespace
            .run(|| {
                let mut netlink = Netlink::route().unwrap();
                let wanted: Vec<IpNet> = ["10.1.2.3/24", "10.1.2.4/32", "fd00::1/64", "fd00::2/128"]
                    .map(|text| text.parse().unwrap())
                    .to_vec();
                for address in &wanted {
                    add(&mut netlink, 1, *address).unwrap();
                }
                let again = add(&mut netlink, 1, wanted[0]).unwrap_err();
                assert!(again.is_there_already(), "{again}");
                let mut found = list(&mut netlink, 1).unwrap();
                found.sort();
                assert_eq!(found, wanted);
                for address in &wanted {
                    delete(&mut netlink, 1, *address).unwrap();
                }
                assert_eq!(list(&mut netlink, 1).unwrap(), []);
                assert!(delete(&mut netlink, 1, wanted[0]).unwrap_err().is_missing());
                assert!(add(&mut netlink, 4242, wanted[0]).unwrap_err().is_missing());
            })
            .unwrap();
    }
}
