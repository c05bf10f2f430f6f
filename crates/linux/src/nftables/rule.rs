//! A rule: what it takes to match, and what is done then.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    attribute::{self, Attributes},
    expression::{Compare, Expressions, Header, Meta, Reject, Track},
};
use crate::{Family, link::NAME_LEN};

/// `IPPROTO_TCP`, and so on.
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Bits of `ct state`, in the host's order.
const RELATED: u32 = 4;
/// `IPS_DST_NAT`.
const DST_NAT: u32 = 1 << 5;

/// `IP_CT_DIR_REPLY`.
const REPLY: u8 = 1;

/// `RTN_LOCAL`, in the host's order.
const LOCAL: u32 = 2;

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It goes on, as far as this hook's chain is asked.
    Accept,
    /// It is gone.
    Drop,
    /// It goes through another chain, and comes back.
    Jump(String),
    /// It goes through another chain, and comes back to where this one was jumped to from.
    Goto(String),
    /// It goes back to where this chain was jumped to from.
    Return,
}

/// One rule of a chain. Conditions hold one after the other in the order of the calls; then comes what is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    expressions: Expressions,
    comment: Option<String>,
}

impl Rule {
    /// A rule that matches everything and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    fn step(mut self, step: impl FnOnce(&mut Expressions)) -> Self {
        step(&mut self.expressions);
        self
    }

    fn name(self, key: Meta, how: Compare, name: &str) -> Self {
        let mut bytes = [0; NAME_LEN + 1];
        for (to, from) in bytes.iter_mut().zip(name.bytes().take(NAME_LEN)) {
            *to = from;
        }
        self.step(|steps| {
            steps.meta(key);
            steps.compare(how, &bytes);
        })
    }

    /// Packets that came in by this interface.
    #[must_use]
    pub fn from_interface(self, name: &str) -> Self {
        self.name(Meta::InputName, Compare::Equal, name)
    }

    /// Packets that did not come in by this interface.
    #[must_use]
    pub fn not_from_interface(self, name: &str) -> Self {
        self.name(Meta::InputName, Compare::Unequal, name)
    }

    /// Packets that leave by this interface.
    #[must_use]
    pub fn to_interface(self, name: &str) -> Self {
        self.name(Meta::OutputName, Compare::Equal, name)
    }

    /// Packets that leave by an interface whose name begins so; any if it is empty.
    #[must_use]
    pub fn to_interfaces(self, beginning: &str) -> Self {
        if beginning.is_empty() {
            return self;
        }
        self.step(|steps| {
            steps.meta(Meta::OutputName);
            steps.compare(Compare::Equal, beginning.as_bytes());
        })
    }

    /// Packets that do not leave by this interface.
    #[must_use]
    pub fn not_to_interface(self, name: &str) -> Self {
        self.name(Meta::OutputName, Compare::Unequal, name)
    }

    /// Packets of this family, in a table of both. Comes before conditions on addresses there.
    #[must_use]
    pub fn family(self, family: Family) -> Self {
        let number = super::TableFamily::from(family).number();
        self.step(|steps| {
            steps.meta(Meta::Protocol);
            steps.compare(Compare::Equal, &[number]);
        })
    }

    /// Packets to an address of this network, which is of the family that was asked for before.
    #[must_use]
    pub fn to_network(self, network: IpNet) -> Self {
        let place = destination(Family::of(network.addr()));
        self.address(place, network)
    }

    /// Packets from an address of this network, which is of the family that was asked for before.
    #[must_use]
    pub fn from_network(self, network: IpNet) -> Self {
        let place = source(Family::of(network.addr()));
        self.address(place, network)
    }

    fn address(self, (offset, len): (u32, u32), network: IpNet) -> Self {
        if network.prefix_len() == 0 {
            return self;
        }
        self.step(|steps| {
            steps.payload(Header::Network, offset, len);
            if network.prefix_len() < network.max_prefix_len() {
                steps.mask(&octets(network.netmask()));
            }
            steps.compare(Compare::Equal, &octets(network.network()));
        })
    }

    /// Packets whose source the set has.
    #[must_use]
    pub fn source_in(self, family: Family, set: &str) -> Self {
        let (offset, len) = source(family);
        self.step(|steps| {
            steps.payload(Header::Network, offset, len);
            steps.lookup(set);
        })
    }

    /// Packets whose destination the set has.
    #[must_use]
    pub fn destination_in(self, family: Family, set: &str) -> Self {
        let (offset, len) = destination(family);
        self.step(|steps| {
            steps.payload(Header::Network, offset, len);
            steps.lookup(set);
        })
    }

    /// Does what the map says of the packet's source.
    #[must_use]
    pub fn verdict_of_source(self, family: Family, map: &str) -> Self {
        let (offset, len) = source(family);
        self.step(|steps| {
            steps.payload(Header::Network, offset, len);
            steps.lookup_verdict(map);
        })
    }

    fn transport(self, protocol: u8) -> Self {
        self.step(|steps| {
            steps.meta(Meta::Transport);
            steps.compare(Compare::Equal, &[protocol]);
        })
    }

    /// TCP.
    #[must_use]
    pub fn tcp(self) -> Self {
        self.transport(TCP)
    }

    /// UDP.
    #[must_use]
    pub fn udp(self) -> Self {
        self.transport(UDP)
    }

    /// ICMP of the family.
    #[must_use]
    pub fn icmp(self, family: Family) -> Self {
        self.transport(match family {
            Family::V4 => ICMP,
            Family::V6 => ICMPV6,
        })
    }

    /// Messages of this type. Comes after ICMP.
    #[must_use]
    pub fn icmp_type(self, kind: u8) -> Self {
        self.step(|steps| {
            steps.payload(Header::Transport, 0, 1);
            steps.compare(Compare::Equal, &[kind]);
        })
    }

    /// Packets to these ports. Comes after TCP or UDP.
    #[must_use]
    pub fn to_ports(self, first: u16, last: u16) -> Self {
        self.step(|steps| {
            steps.payload(Header::Transport, 2, 2);
            if first == last {
                steps.compare(Compare::Equal, &first.to_be_bytes());
            } else {
                steps.compare(Compare::AtLeast, &first.to_be_bytes());
                steps.compare(Compare::AtMost, &last.to_be_bytes());
            }
        })
    }

    /// TCP segments that open a connection or answer one that does.
    #[must_use]
    pub fn tcp_syn(self) -> Self {
        const FLAGS: u32 = 13;
        const SYN: u8 = 2;
        const RST: u8 = 4;
        self.tcp().step(|steps| {
            steps.payload(Header::Transport, FLAGS, 1);
            steps.mask(&[SYN | RST]);
            steps.compare(Compare::Equal, &[SYN]);
        })
    }

    /// Packets that go the other way than the first one of their flow.
    #[must_use]
    pub fn reply(self) -> Self {
        self.step(|steps| {
            steps.track(Track::Direction);
            steps.compare(Compare::Equal, &[REPLY]);
        })
    }

    /// Errors about packets of a flow that is known.
    #[must_use]
    pub fn related(self) -> Self {
        self.step(|steps| {
            steps.track(Track::State);
            steps.mask(&RELATED.to_ne_bytes());
            steps.compare(Compare::Unequal, &[0; 4]);
        })
    }

    /// Packets of a flow that somebody leads elsewhere than it asked for: to a published port of a container.
    #[must_use]
    pub fn led_elsewhere(self) -> Self {
        self.step(|steps| {
            steps.track(Track::Status);
            steps.mask(&DST_NAT.to_ne_bytes());
            steps.compare(Compare::Unequal, &[0; 4]);
        })
    }

    /// Packets whose source is none of this host's addresses.
    #[must_use]
    pub fn not_from_this_host(self) -> Self {
        self.step(|steps| {
            steps.source_type();
            steps.compare(Compare::Unequal, &LOCAL.to_ne_bytes());
        })
    }

    /// Packets with this mark.
    #[must_use]
    pub fn marked(self, mark: u32) -> Self {
        self.step(|steps| {
            steps.meta(Meta::Mark);
            steps.compare(Compare::Equal, &mark.to_ne_bytes());
        })
    }

    /// Writes the packet's mark down with its flow.
    #[must_use]
    pub fn save_mark(self) -> Self {
        self.step(|steps| {
            steps.meta(Meta::Mark);
            steps.set_track(Track::Mark);
        })
    }

    /// Gives the packet the mark of its flow.
    #[must_use]
    pub fn restore_mark(self) -> Self {
        self.step(|steps| {
            steps.track(Track::Mark);
            steps.set_meta(Meta::Mark);
        })
    }

    /// Counts packets and bytes.
    #[must_use]
    pub fn counter(self) -> Self {
        self.step(Expressions::counter)
    }

    /// Gives the packet's flow the address of the interface that it leaves by.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.step(Expressions::masquerade)
    }

    /// Sends the packet's flow to this port of this host; a rule of `nat` chains, for TCP or UDP.
    #[must_use]
    pub fn redirect(self, port: u16) -> Self {
        self.step(|steps| steps.redirect(port))
    }

    /// Sets the MSS of a SYN to what the path takes, if that is less.
    #[must_use]
    pub fn clamp_mss(self) -> Self {
        self.step(Expressions::clamp_mss)
    }

    /// Ends the connection of a TCP segment, whose sender is told.
    #[must_use]
    pub fn reset(self) -> Self {
        self.step(|steps| steps.reject(Reject::Reset))
    }

    /// Tells the sender that the packet is prohibited; it goes no further.
    #[must_use]
    pub fn prohibit(self) -> Self {
        self.step(|steps| steps.reject(Reject::Prohibited))
    }

    /// Decides what becomes of the packet.
    #[must_use]
    pub fn verdict(self, verdict: &Verdict) -> Self {
        self.step(|steps| steps.verdict(verdict))
    }

    /// A word beside the rule, at most 127 bytes, by which it is found again.
    #[must_use]
    pub fn comment(mut self, comment: &str) -> Self {
        self.comment = Some(comment.to_owned());
        self
    }

    /// `NFTA_RULE_EXPRESSIONS` and `NFTA_RULE_USERDATA`.
    pub(super) fn write(&self, message: &mut Attributes) {
        message.nested(4, self.expressions.attributes());
        if let Some(comment) = &self.comment {
            message.bytes(7, &attribute::comment(comment));
        }
    }
}

/// Offset and length of the source address.
fn source(family: Family) -> (u32, u32) {
    match family {
        Family::V4 => (12, 4),
        Family::V6 => (8, 16),
    }
}

/// Offset and length of the destination address.
fn destination(family: Family) -> (u32, u32) {
    match family {
        Family::V4 => (16, 4),
        Family::V6 => (24, 16),
    }
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
