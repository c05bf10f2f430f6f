//! Changes that are made together or not at all.

use super::{
    Rule, TableFamily,
    attribute::{self, Attributes},
    expression::value,
    set::{Element, Set},
};

/// `NFNL_SUBSYS_NFTABLES`, in the high byte of a message's type.
pub(super) const SUBSYSTEM: u16 = 10;

/// Messages of nf_tables (`NFT_MSG_…`).
pub(super) const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;

/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;

/// Flags of netlink messages.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const EXCLUSIVE: u16 = 0x200;
const APPEND: u16 = 0x800;

/// Elements of one message are fewer bytes than this; an attribute holds less than 64 KiB.
const MOST_OF_ELEMENTS: usize = 32 * 1024;

/// Names of one message; each is about 30 bytes.
const MOST_OF_NAMES: usize = 1000;

/// `IFNAMSIZ`, in bytes.
const NAME_SIZE: u32 = 16;

/// What kind of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainType {
    /// Lets packets pass or not.
    Filter,
    /// Is asked once for each flow, for its addresses.
    Nat,
    /// As a filter, and the packet finds its way again if it was changed.
    Route,
}

/// Where packets come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before it is known where a packet goes.
    Prerouting = 0,
    /// To this host.
    Input = 1,
    /// Through this host.
    Forward = 2,
    /// From this host.
    Output = 3,
    /// All that leaves.
    Postrouting = 4,
}

/// What becomes of packets for which no rule of a base chain decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// They are gone.
    Drop = 0,
    /// They go on.
    Accept = 1,
}

/// Where a base chain hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// What kind.
    pub kind: ChainType,
    /// Where.
    pub hook: Hook,
    /// In which order among other chains there, the lowest first: -300 raw, -150 mangle, 0 filter, 100 srcnat.
    pub priority: i32,
    /// What becomes of the rest.
    pub policy: Policy,
}

/// Changes of tables, in the order in which they are to be made. They all happen, at one moment, or none does.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    messages: Vec<Vec<u8>>,
    sets: u32,
}

impl Batch {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Puts the changes of another batch behind these.
    pub fn append(&mut self, other: Self) {
        self.messages.extend(other.messages);
        self.sets = self.sets.max(other.sets);
    }

    fn push(&mut self, family: TableFamily, message: u16, flags: u16, attributes: &Attributes) {
        let kind = SUBSYSTEM << 8 | message;
        self.messages
            .push(frame(kind, flags, family.number(), 0, attributes.as_bytes()));
    }

    /// Makes a table, with a comment to know it by. It must not be there.
    pub fn add_table(&mut self, family: TableFamily, table: &str, comment: &str) {
        let mut attributes = Attributes::default();
        attributes.text(1, table).number(2, 0);
        if !comment.is_empty() {
            attributes.bytes(6, &attribute::comment(comment));
        }
        self.push(family, NEW_TABLE, CREATE | EXCLUSIVE, &attributes);
    }

    /// Removes a table and all that is in it, if there is one.
    pub fn remove_table(&mut self, family: TableFamily, table: &str) {
        // The kernel's own word for "if there is one" is younger (6.3): made first, it is there.
        let mut attributes = Attributes::default();
        attributes.text(1, table);
        self.push(family, NEW_TABLE, CREATE, &attributes);
        self.push(family, DELETE_TABLE, 0, &attributes);
    }

    /// Makes a chain: a base chain if it hangs somewhere, else one to jump to.
    pub fn add_chain(&mut self, family: TableFamily, table: &str, name: &str, base: Option<Chain>) {
        let mut attributes = Attributes::default();
        attributes.text(1, table).text(3, name);
        if let Some(base) = base {
            let mut hook = Attributes::default();
            hook.number(1, base.hook as u32)
                .number(2, base.priority.cast_unsigned());
            let kind = match base.kind {
                ChainType::Filter => "filter",
                ChainType::Nat => "nat",
                ChainType::Route => "route",
            };
            attributes.nested(4, &hook).number(5, base.policy as u32).text(7, kind);
        }
        self.push(family, NEW_CHAIN, CREATE, &attributes);
    }

    /// Removes a chain with its rules; nothing may jump to it.
    pub fn remove_chain(&mut self, family: TableFamily, table: &str, name: &str) {
        self.clear_chain(family, table, name);
        let mut attributes = Attributes::default();
        attributes.text(1, table).text(3, name);
        self.push(family, DELETE_CHAIN, 0, &attributes);
    }

    /// Removes all rules of a chain.
    pub fn clear_chain(&mut self, family: TableFamily, table: &str, name: &str) {
        let mut attributes = Attributes::default();
        attributes.text(1, table).text(2, name);
        self.push(family, DELETE_RULE, 0, &attributes);
    }

    /// Puts a rule behind all others of its chain.
    pub fn add_rule(&mut self, family: TableFamily, table: &str, chain: &str, rule: &Rule) {
        let mut attributes = Attributes::default();
        attributes.text(1, table).text(2, chain);
        rule.write(&mut attributes);
        self.push(family, NEW_RULE, CREATE | APPEND, &attributes);
    }

    /// Puts a rule before all others of its chain.
    pub fn insert_rule(&mut self, family: TableFamily, table: &str, chain: &str, rule: &Rule) {
        let mut attributes = Attributes::default();
        attributes.text(1, table).text(2, chain);
        rule.write(&mut attributes);
        self.push(family, NEW_RULE, CREATE, &attributes);
    }

    /// Puts a rule before the one with this number, which is of the same chain.
    pub fn insert_rule_before(&mut self, family: TableFamily, table: &str, chain: &str, handle: u64, rule: &Rule) {
        let mut attributes = Attributes::default();
        attributes.text(1, table).text(2, chain).long(6, handle);
        rule.write(&mut attributes);
        self.push(family, NEW_RULE, CREATE, &attributes);
    }

    /// Removes one rule, by the number that the kernel gave it.
    pub fn remove_rule(&mut self, family: TableFamily, table: &str, chain: &str, handle: u64) {
        let mut attributes = Attributes::default();
        attributes.text(1, table).text(2, chain).long(3, handle);
        self.push(family, DELETE_RULE, 0, &attributes);
    }

    /// Makes a set.
    pub fn add_set(&mut self, family: TableFamily, table: &str, set: &Set) {
        self.sets += 1;
        let mut attributes = Attributes::default();
        attributes.text(1, table);
        set.write(self.sets, &mut attributes);
        self.push(family, NEW_SET, CREATE, &attributes);
    }

    /// Makes a set of interfaces' names, with these in it.
    pub fn add_names(&mut self, family: TableFamily, table: &str, set: &str, names: &[String]) {
        // As `nft` numbers the type `ifname`, and what it keeps beside a set to print such names: that they are in the
        // host's order.
        const NAME_TYPE: u32 = 41;
        const KEY_ORDER: u8 = 0;
        const HOST_ORDER: u32 = 1;
        let mut order = vec![KEY_ORDER, 4];
        order.extend_from_slice(&HOST_ORDER.to_ne_bytes());
        self.sets += 1;
        let mut attributes = Attributes::default();
        attributes
            .text(1, table)
            .text(2, set)
            .number(3, 0)
            .number(4, NAME_TYPE)
            .number(5, NAME_SIZE)
            .number(10, self.sets)
            .bytes(13, &order);
        self.push(family, NEW_SET, CREATE, &attributes);
        for names in names.chunks(MOST_OF_NAMES) {
            let mut list = Attributes::default();
            for name in names {
                let mut bytes = name.clone().into_bytes();
                bytes.resize(NAME_SIZE as usize, 0);
                let mut element = Attributes::default();
                element.nested(1, &value(&bytes));
                list.nested(1, &element);
            }
            let mut attributes = Attributes::default();
            attributes.text(1, table).text(2, set).nested(3, &list);
            self.push(family, NEW_ELEMENT, CREATE, &attributes);
        }
    }

    /// Puts elements into a set.
    pub fn add_elements(&mut self, family: TableFamily, table: &str, set: &Set, elements: &[Element]) {
        self.elements(family, table, set, elements, (NEW_ELEMENT, CREATE));
    }

    /// Takes elements out of a set, all of which must be there.
    pub fn remove_elements(&mut self, family: TableFamily, table: &str, set: &Set, elements: &[Element]) {
        self.elements(family, table, set, elements, (DELETE_ELEMENT, 0));
    }

    /// Empties a set.
    pub fn clear_set(&mut self, family: TableFamily, table: &str, set: &Set) {
        let mut attributes = Attributes::default();
        attributes.text(1, table).text(2, &set.name);
        self.push(family, DELETE_ELEMENT, 0, &attributes);
    }

    fn elements(&mut self, family: TableFamily, table: &str, set: &Set, elements: &[Element], how: (u16, u16)) {
        let mut list = Attributes::default();
        let mut flush = |list: &mut Attributes| {
            let list = std::mem::take(list);
            if list.len() > 0 {
                let mut attributes = Attributes::default();
                attributes.text(1, table).text(2, &set.name).nested(3, &list);
                self.push(family, how.0, how.1, &attributes);
            }
        };
        for element in elements.iter().flat_map(|element| set.elements(element)) {
            list.nested(1, &element);
            if list.len() > MOST_OF_ELEMENTS {
                flush(&mut list);
            }
        }
        flush(&mut list);
    }

    /// The batch as it is sent, its messages numbered from `first` on; the number of the last that is acknowledged.
    pub(super) fn encode(&self, first: u32) -> (Vec<u8>, u32) {
        let len: usize = self.messages.iter().map(Vec::len).sum();
        let mut bytes = Vec::with_capacity(len + 64);
        let mut sequence = first;
        let mut add = |message: &[u8], flags: u16| {
            let start = bytes.len();
            bytes.extend_from_slice(message);
            let flags = u16::from_ne_bytes([message[6], message[7]]) | flags;
            bytes[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
            bytes[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
            sequence = sequence.wrapping_add(1);
        };
        add(&frame(BEGIN, 0, 0, SUBSYSTEM, &[]), 0);
        for (at, message) in self.messages.iter().enumerate() {
            add(message, if at + 1 == self.messages.len() { ACK } else { 0 });
        }
        add(&frame(END, 0, 0, SUBSYSTEM, &[]), 0);
        (bytes, sequence.wrapping_sub(2))
    }
}

/// A message: `struct nlmsghdr`, `struct nfgenmsg`, attributes.
fn frame(kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) -> Vec<u8> {
    const HEADERS: usize = 16 + 4;
    let len = u32::try_from(HEADERS + attributes.len()).expect("a message is kept below 64 KiB");
    let mut bytes = Vec::with_capacity(HEADERS + attributes.len());
    bytes.extend_from_slice(&len.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&header(family, resource));
    bytes.extend_from_slice(attributes);
    bytes
}

/// `struct nfgenmsg`: a family, the version, a resource.
pub(super) fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}
