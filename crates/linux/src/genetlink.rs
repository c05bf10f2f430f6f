//! Generic netlink: messages, and the numbers of the families that the kernel has.

use netlink_packet_core::NetlinkSerializable;
use netlink_sys::protocols::NETLINK_GENERIC;

use crate::{
    attribute::{self, Attributes},
    netlink::{Error, Netlink},
};

/// Length of `struct genlmsghdr`: command, version and two bytes of nothing.
pub(crate) const HEADER_LEN: usize = 4;

/// The family that tells of the others (`GENL_ID_CTRL`).
const CONTROLLER: u16 = 0x10;
const CONTROLLER_VERSION: u8 = 2;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// One message to a family.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    family: u16,
    content: Attributes,
}

impl Message {
    /// A message for the family of this number, without attributes, and with room for so many bytes.
    pub(crate) fn new(family: u16, command: u8, version: u8, capacity: usize) -> Self {
        let mut content = Attributes::with_capacity(capacity);
        content.raw(&[command, version, 0, 0]);
        Self { family, content }
    }

    /// Its attributes, to add to them.
    pub(crate) fn attributes(&mut self) -> &mut Attributes {
        &mut self.content
    }

    /// Its bytes, from the generic header on.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.content.bytes()
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        self.bytes().len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(self.bytes());
    }
}

/// Opens a socket for generic netlink.
pub(crate) fn open() -> Result<Netlink, Error> {
    Netlink::open(NETLINK_GENERIC)
}

/// The number of the family of this name, for which the kernel loads the module if it is missing; `None` if it has none.
pub(crate) fn family(netlink: &mut Netlink, name: &str) -> Result<Option<u16>, Error> {
    let mut message = Message::new(CONTROLLER, CTRL_CMD_GETFAMILY, CONTROLLER_VERSION, 64);
    message.attributes().put_text(CTRL_ATTR_FAMILY_NAME, name);
    let mut number = None;
    let action = || format!("asking the kernel for {name}");
    match netlink.query(message, action, |_, payload| {
        let attributes = payload.get(HEADER_LEN..).unwrap_or_default();
        let found = attribute::read(attributes).find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID);
        number = found.and_then(|(_, value)| attribute::u16(value));
    }) {
        Ok(()) => Ok(number),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_knows_itself_and_no_family_that_is_not_there() {
        let Ok(mut netlink) = open() else {
            eprintln!("skipped: no generic netlink here");
            return;
        };
        assert_eq!(family(&mut netlink, "nlctrl").unwrap(), Some(CONTROLLER));
        assert_eq!(family(&mut netlink, "aditnone").unwrap(), None);
    }
}
