//! The steps of a rule, each a small program of its own in the kernel: load, compare, decide.
//!
//! Steps hand values on in the first register; a comparison that fails ends the rule.

use super::{attribute::Attributes, rule::Verdict};

/// `NFT_REG_VERDICT`.
const VERDICT: u32 = 0;
/// `NFT_REG_1`, of 16 bytes.
const REGISTER: u32 = 1;
/// An element of a list of expressions (`NFTA_LIST_ELEM`).
const LIST_ELEMENT: u16 = 1;

/// A key of `meta` (`NFT_META_…`).
#[derive(Clone, Copy, Debug)]
pub(super) enum Meta {
    Mark = 3,
    InputName = 6,
    OutputName = 7,
    Protocol = 15,
    Transport = 16,
}

/// A key of `ct` (`NFT_CT_…`).
#[derive(Clone, Copy, Debug)]
pub(super) enum Track {
    State = 0,
    Direction = 1,
    Status = 2,
    Mark = 3,
}

/// Where a payload's offset counts from (`NFT_PAYLOAD_…`).
#[derive(Clone, Copy, Debug)]
pub(super) enum Header {
    Network = 1,
    Transport = 2,
}

/// How a value is compared (`NFT_CMP_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal = 0,
    Unequal = 1,
    AtMost = 3,
    AtLeast = 5,
}

/// What a rejected packet's sender is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reject {
    /// A TCP reset.
    Reset,
    /// ICMP: administratively prohibited, in the packet's family.
    Prohibited,
}

/// The expressions of a rule, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expressions(Attributes);

impl Expressions {
    pub(super) fn attributes(&self) -> &Attributes {
        &self.0
    }

    fn push(&mut self, name: &str, data: &Attributes) {
        let mut expression = Attributes::default();
        expression.text(1, name).nested(2, data);
        self.0.nested(LIST_ELEMENT, &expression);
    }

    fn with(&mut self, name: &str, fill: impl FnOnce(&mut Attributes)) {
        let mut data = Attributes::default();
        fill(&mut data);
        self.push(name, &data);
    }

    pub(super) fn meta(&mut self, key: Meta) {
        self.with("meta", |data| {
            data.number(1, REGISTER).number(2, key as u32);
        });
    }

    pub(super) fn set_meta(&mut self, key: Meta) {
        self.with("meta", |data| {
            data.number(2, key as u32).number(3, REGISTER);
        });
    }

    pub(super) fn track(&mut self, key: Track) {
        self.with("ct", |data| {
            data.number(1, REGISTER).number(2, key as u32);
        });
    }

    /// The direction is a byte, which the kernel wants to know of no direction.
    pub(super) fn set_track(&mut self, key: Track) {
        self.with("ct", |data| {
            data.number(2, key as u32).number(4, REGISTER);
        });
    }

    pub(super) fn payload(&mut self, header: Header, offset: u32, len: u32) {
        self.with("payload", |data| {
            data.number(1, REGISTER)
                .number(2, header as u32)
                .number(3, offset)
                .number(4, len);
        });
    }

    /// Keeps the bits of the mask.
    pub(super) fn mask(&mut self, mask: &[u8]) {
        let len = u32::try_from(mask.len()).unwrap_or(u32::MAX);
        self.with("bitwise", |data| {
            data.number(1, REGISTER)
                .number(2, REGISTER)
                .number(3, len)
                .nested(4, &value(mask))
                .nested(5, &value(&vec![0; mask.len()]));
        });
    }

    pub(super) fn compare(&mut self, how: Compare, with: &[u8]) {
        self.with("cmp", |data| {
            data.number(1, REGISTER).number(2, how as u32).nested(3, &value(with));
        });
    }

    /// Whether the set has what was loaded.
    pub(super) fn lookup(&mut self, set: &str) {
        self.with("lookup", |data| {
            data.text(1, set).number(2, REGISTER);
        });
    }

    /// Does what the map says of what was loaded.
    pub(super) fn lookup_verdict(&mut self, map: &str) {
        self.with("lookup", |data| {
            data.text(1, map).number(2, REGISTER).number(3, VERDICT);
        });
    }

    pub(super) fn verdict(&mut self, verdict: &Verdict) {
        self.with("immediate", |data| {
            data.number(1, VERDICT).nested(2, &verdict_data(verdict));
        });
    }

    pub(super) fn counter(&mut self) {
        self.with("counter", |data| {
            data.long(1, 0).long(2, 0);
        });
    }

    pub(super) fn masquerade(&mut self) {
        self.push("masq", &Attributes::default());
    }

    /// Sends the packet's flow to this port of this host.
    pub(super) fn redirect(&mut self, port: u16) {
        self.with("immediate", |data| {
            data.number(1, REGISTER).nested(2, &value(&port.to_be_bytes()));
        });
        self.with("redir", |data| {
            data.number(1, REGISTER);
        });
    }

    pub(super) fn reject(&mut self, how: Reject) {
        const TCP_RESET: u32 = 1;
        const ICMP_OF_ANY_FAMILY: u32 = 2;
        const PROHIBITED: u8 = 3;
        self.with("reject", |data| {
            match how {
                Reject::Reset => data.number(1, TCP_RESET).bytes(2, &[0]),
                Reject::Prohibited => data.number(1, ICMP_OF_ANY_FAMILY).bytes(2, &[PROHIBITED]),
            };
        });
    }

    /// Loads what kind of address the source is, as the routing tables have it (`RTN_…`).
    pub(super) fn source_type(&mut self) {
        const ADDRESS_TYPE: u32 = 3;
        const SOURCE: u32 = 1;
        self.with("fib", |data| {
            data.number(1, REGISTER).number(2, ADDRESS_TYPE).number(3, SOURCE);
        });
    }

    /// Sets the MSS of a SYN to what the path takes, if that is less.
    pub(super) fn clamp_mss(&mut self) {
        const ROUTE_MSS: u32 = 3;
        const TO_NETWORK: u32 = 1;
        const TCP_OPTION: u32 = 1;
        const MSS: u8 = 2;
        self.with("rt", |data| {
            data.number(1, REGISTER).number(2, ROUTE_MSS);
        });
        self.with("byteorder", |data| {
            data.number(1, REGISTER)
                .number(2, REGISTER)
                .number(3, TO_NETWORK)
                .number(4, 2)
                .number(5, 2);
        });
        self.with("exthdr", |data| {
            data.bytes(2, &[MSS])
                .number(3, 2)
                .number(4, 2)
                .number(6, TCP_OPTION)
                .number(7, REGISTER);
        });
    }
}

/// A value as data (`NFTA_DATA_VALUE`).
pub(super) fn value(bytes: &[u8]) -> Attributes {
    let mut data = Attributes::default();
    data.bytes(1, bytes);
    data
}

/// A verdict as data (`NFTA_DATA_VERDICT`).
pub(super) fn verdict_data(verdict: &Verdict) -> Attributes {
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5_i32, None),
    };
    let mut inside = Attributes::default();
    inside.number(1, code.cast_unsigned());
    if let Some(chain) = chain {
        inside.text(2, chain);
    }
    let mut data = Attributes::default();
    data.nested(2, &inside);
    data
}
