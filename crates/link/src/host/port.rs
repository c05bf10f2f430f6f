//! A container's place on the bridge of its link: two interfaces, one in the bridge, one for Docker to move.

use linux::{link, netlink::Netlink};

use super::{HostError, MTU};
use crate::LinkName;

/// Digits of the endpoint's ID in the names; an interface's has 15 bytes.
const DIGITS: usize = 11;

fn names(endpoint: &str) -> (String, String) {
    let id = endpoint.get(..DIGITS).unwrap_or(endpoint);
    (format!("adl{id}"), format!("adc{id}"))
}

/// Makes a place on the bridge of a link; gives the name of the interface that Docker is to move.
pub(crate) fn plug(link: &LinkName, endpoint: &str, hardware: Option<[u8; 6]>) -> Result<String, HostError> {
    unplug(endpoint);
    let (here, there) = names(endpoint);
    let mut netlink = Netlink::route()?;
    let made = (|| {
        let bridge = link.bridge();
        let missing = || linux::netlink::Error {
            action: format!("looking for the interface {bridge}"),
            cause: std::io::ErrorKind::NotFound.into(),
            explanation: None,
        };
        let bridge = link::find(&mut netlink, &bridge)?.ok_or_else(missing)?;
        link::create_veth(&mut netlink, &here, &there)?;
        for name in [&here, &there] {
            let found = link::find(&mut netlink, name)?.ok_or_else(missing)?;
            link::set_mtu(&mut netlink, found.index, MTU.into())?;
            if *name == here {
                link::set_bridge(&mut netlink, found.index, bridge.index)?;
                link::set_up(&mut netlink, found.index)?;
            } else if let Some(hardware) = hardware {
                link::set_hardware_address(&mut netlink, found.index, hardware)?;
            }
        }
        Ok(())
    })();
    match made {
        Ok(()) => Ok(there),
        Err(error) => {
            unplug(endpoint);
            Err(error)
        }
    }
}

/// Removes the place of an endpoint, if it has one.
pub(crate) fn unplug(endpoint: &str) {
    let _gone_already = link::remove(&names(endpoint).0);
}
