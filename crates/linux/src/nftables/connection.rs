//! The way to the kernel's nf_tables.

use netlink_packet_core::{NetlinkHeader, NetlinkSerializable};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::{
    Batch, TableFamily, attribute,
    batch::{self, SUBSYSTEM},
};
use crate::netlink::{Error, Netlink};

/// `NFT_MSG_GETGEN`.
const GET_GENERATION: u16 = 16;

/// nf_tables of the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Nftables {
    netlink: Netlink,
}

/// A message that is no library's.
#[derive(Clone, Debug)]
pub(super) struct Request {
    kind: u16,
    body: Vec<u8>,
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.body.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.body);
    }
}

impl Nftables {
    /// Opens the way.
    ///
    /// # Errors
    ///
    /// The socket's error, if the kernel has no netfilter or the sandbox forbids it.
    pub fn open() -> Result<Self, Error> {
        let netlink = Netlink::open(NETLINK_NETFILTER)?;
        Ok(Self { netlink })
    }

    /// Whether the kernel has nf_tables at all. What may not be asked is taken to be there.
    pub fn is_there() -> bool {
        let asked = Self::open().and_then(|mut nftables| nftables.generation());
        asked.is_ok() || asked.is_err_and(|error| error.is_forbidden())
    }

    /// Makes the changes of a batch, all of them or none. An empty one is none.
    ///
    /// # Errors
    ///
    /// The kernel's first refusal, with `action` as what was tried. One that is too large for the socket's buffer, in a
    /// container that may not enlarge it, is an error, too.
    pub fn commit(&mut self, batch: &Batch, action: impl FnOnce() -> String) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        self.netlink.transaction(|sequence| batch.encode(sequence), action)
    }

    /// A number that is another one after each change of this namespace's tables, whoever made it.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn generation(&mut self) -> Result<u32, Error> {
        let request = Request {
            kind: SUBSYSTEM << 8 | GET_GENERATION,
            body: batch::header(0, 0).to_vec(),
        };
        let mut generation = None;
        let action = || "asking for the generation of nf_tables".to_owned();
        self.netlink.query(request, action, |_, payload| {
            generation = generation.or(payload.get(4..).and_then(|bytes| attribute::find_number(bytes, 1)));
        })?;
        Ok(generation.unwrap_or_default())
    }

    /// Asks for all objects of a kind (`NFT_MSG_GET…`), of one table if `attributes` say so.
    pub(super) fn dump<R>(
        &mut self,
        message: u16,
        family: Option<TableFamily>,
        attributes: &[u8],
        action: &str,
        mut decode: impl FnMut(TableFamily, &[u8]) -> Option<R>,
    ) -> Result<Vec<R>, Error> {
        let family = family.map_or(0, TableFamily::number);
        let mut body = batch::header(family, 0).to_vec();
        body.extend_from_slice(attributes);
        let request = Request {
            kind: SUBSYSTEM << 8 | message,
            body,
        };
        let decode = |_: &NetlinkHeader, payload: &[u8]| {
            let family = TableFamily::from_number(*payload.first()?)?;
            decode(family, payload.get(4..)?)
        };
        self.netlink.dump(&request, || action.to_owned(), decode)
    }
}
