//! Answers what the gateway itself knows: its own name, its peers', and whose an address of the tunnel is.
//!
//! None of it is ever asked upstream, not even what is not there: the names of a private network are nobody else's.

use std::net::IpAddr;

use hickory_server::{
    proto::{
        op::{Edns, Header, HeaderCounts, Metadata, OpCode, ResponseCode},
        rr::{
            DNSClass, LowerName, Name, RData, Record, RecordType,
            rdata::{A, AAAA, NS, PTR, SOA},
        },
    },
    server::{Request, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};

use ipnet::IpNet;

use super::names::{GATEWAY, Names, SELF, ZONE};

/// Seconds that an answer may be kept. Short: a peer can get another address at any moment.
const TTL: u32 = 30;

/// What is answered to one question.
#[derive(Debug, PartialEq)]
pub(super) struct Reply {
    code: ResponseCode,
    answers: Vec<Record>,
    /// Goes with an answer without records (RFC 2308).
    soa: Option<Record>,
}

/// The reply to a question about the tunnel; `None` if it is about something else.
pub(super) fn reply(names: &Names, request: &Request) -> Option<Reply> {
    let question = request.request_info().ok()?.query;
    if request.metadata.op_code != OpCode::Query {
        return None;
    }
    let reply = answer(names, question.name(), question.query_type())?;
    // Whatever the class: what is ours is asked of nobody else.
    Some(if question.query_class() == DNSClass::IN {
        reply
    } else {
        refused()
    })
}

/// Sends a reply, with the authority of whoever made the names.
pub(super) async fn send<R: ResponseHandler>(request: &Request, reply: &Reply, mut response: R) -> ResponseInfo {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.authoritative = true;
    metadata.recursion_available = true;
    metadata.response_code = reply.code;
    let edns = request.edns.as_ref().map(|asked| {
        let mut edns = Edns::new();
        edns.set_max_payload(asked.max_payload().max(512)).set_version(0);
        edns
    });
    let builder = MessageResponseBuilder::new(&request.queries, edns.as_ref());
    let message = builder.build(
        metadata,
        &reply.answers,
        std::iter::empty(),
        &reply.soa,
        std::iter::empty(),
    );
    match response.send_response(message).await {
        Ok(info) => info,
        Err(_) => Header {
            metadata: request.metadata,
            counts: HeaderCounts::default(),
        }
        .into(),
    }
}

fn answer(names: &Names, name: &LowerName, kind: RecordType) -> Option<Reply> {
    let zone = zone();
    let name = Name::from(name);
    if name == below(SELF, &zone) {
        return Some(found(&zone, &name, Vec::new()));
    }
    if zone.zone_of(&name) && names.are_whole() {
        return Some(forward(names, &zone, &name, kind));
    }
    let (network, depth) = arpa(&name)?;
    if !names.covers(network) {
        return None;
    }
    // A whole name is one address; less of one names a network, and what is below a name is nobody's.
    let is_address = network.prefix_len() == network.max_prefix_len();
    Some(match depth {
        0 if is_address => reverse(names, &zone, &name, kind, network.addr()),
        0 => found(&zone, &name, Vec::new()),
        _ => missing(&zone),
    })
}

/// The network that a name below `arpa` is of, and how many labels the name has before those of the network:
/// `lb._dns-sd._udp.0.13.13.10.in-addr.arpa` (RFC 6763, section 11) is three below 10.13.13.0.
fn arpa(name: &Name) -> Option<(IpNet, usize)> {
    let mut suffix = name.clone();
    for depth in 0..name.num_labels() {
        if let Ok(network) = suffix.parse_arpa_name() {
            return Some((network, usize::from(depth)));
        }
        suffix = suffix.base_name();
    }
    None
}

/// A name in the zone.
fn forward(names: &Names, zone: &Name, name: &Name, kind: RecordType) -> Reply {
    let depth = usize::from(name.num_labels() - zone.num_labels());
    if depth == 0 {
        let own = [
            (RecordType::SOA, soa(zone)),
            (RecordType::NS, RData::NS(NS(below(GATEWAY, zone)))),
        ];
        let data = own.into_iter().filter(|(own, _)| *own == kind).map(|(_, data)| data);
        return found(zone, name, data.collect());
    }
    let label = name.iter().next().and_then(|label| str::from_utf8(label).ok());
    let addresses = label.filter(|_| depth == 1).and_then(|label| names.addresses(label));
    match addresses {
        Some(addresses) => {
            let data = addresses.into_iter().filter_map(|address| record(address, kind));
            found(zone, name, data.collect())
        }
        None => missing(zone),
    }
}

/// The name of an address of the tunnel.
fn reverse(names: &Names, zone: &Name, name: &Name, kind: RecordType, address: IpAddr) -> Reply {
    match names.label(address) {
        Some(label) => {
            let is_asked = kind == RecordType::PTR || kind == RecordType::ANY;
            let data = is_asked.then(|| RData::PTR(PTR(below(&label, zone))));
            found(zone, name, data.into_iter().collect())
        }
        None => missing(zone),
    }
}

fn found(zone: &Name, name: &Name, data: Vec<RData>) -> Reply {
    let soa = data
        .is_empty()
        .then(|| Record::from_rdata(zone.clone(), TTL, soa(zone)));
    let records = data.into_iter().map(|data| Record::from_rdata(name.clone(), TTL, data));
    Reply {
        code: ResponseCode::NoError,
        answers: records.collect(),
        soa,
    }
}

fn refused() -> Reply {
    Reply {
        code: ResponseCode::Refused,
        answers: Vec::new(),
        soa: None,
    }
}

fn missing(zone: &Name) -> Reply {
    Reply {
        code: ResponseCode::NXDomain,
        answers: Vec::new(),
        soa: Some(Record::from_rdata(zone.clone(), TTL, soa(zone))),
    }
}

fn record(address: IpAddr, kind: RecordType) -> Option<RData> {
    let is_asked = |own| kind == own || kind == RecordType::ANY;
    match address {
        IpAddr::V4(address) => is_asked(RecordType::A).then_some(RData::A(A(address))),
        IpAddr::V6(address) => is_asked(RecordType::AAAA).then_some(RData::AAAA(AAAA(address))),
    }
}

fn zone() -> Name {
    Name::from_ascii(format!("{ZONE}.")).expect("the zone is a name")
}

fn below(label: &str, zone: &Name) -> Name {
    zone.prepend_label(label).unwrap_or_else(|_| zone.clone())
}

fn soa(zone: &Name) -> RData {
    let hour = 3600;
    RData::SOA(SOA::new(
        below(GATEWAY, zone),
        below("nobody", zone),
        1,
        hour,
        hour,
        hour,
        TTL,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let names = Names::new(&["10.13.13.1/24".parse().unwrap(), "fd00::1/64".parse().unwrap()]);
        names.set(
            &"peer_phone".parse().unwrap(),
            &["10.13.13.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        );
        names.set(&"four".parse().unwrap(), &["10.13.13.3".parse().unwrap()]);
        names
    }

    #[test]
    fn questions_about_the_tunnel_are_answered_and_others_are_not() {
        let names = names();
        let six = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.";
        use RecordType::{A, AAAA, MX, NS, PTR, SOA, TXT};
        // (name, type, what is answered: the code, or the data of each record; `-` is an answer without records)
        for (name, kind, expected) in [
            ("phone.adit.internal.", A, "10.13.13.2"),
            ("Phone.ADIT.Internal.", AAAA, "fd00::2"),
            ("peer_phone.adit.internal.", A, "10.13.13.2"),
            ("gateway.adit.internal.", AAAA, "fd00::1"),
            ("phone.adit.internal.", MX, "-"),
            ("four.adit.internal.", AAAA, "-"),
            ("nobody-here.adit.internal.", A, "NXDomain"),
            ("a.phone.adit.internal.", A, "NXDomain"),
            ("adit.internal.", A, "-"),
            ("adit.internal.", NS, "gateway.adit.internal."),
            (
                "adit.internal.",
                SOA,
                "gateway.adit.internal. nobody.adit.internal. 1 3600 3600 3600 30",
            ),
            ("2.13.13.10.in-addr.arpa.", PTR, "phone.adit.internal."),
            ("1.13.13.10.in-addr.arpa.", PTR, "gateway.adit.internal."),
            ("2.13.13.10.in-addr.arpa.", TXT, "-"),
            ("9.13.13.10.in-addr.arpa.", PTR, "NXDomain"),
            (six, PTR, "phone.adit.internal."),
            ("1.0.0.127.in-addr.arpa.", PTR, "not ours"),
            ("13.13.10.in-addr.arpa.", PTR, "-"),
            ("13.10.in-addr.arpa.", PTR, "not ours"),
            ("lb._dns-sd._udp.0.13.13.10.in-addr.arpa.", PTR, "NXDomain"),
            ("b._dns-sd._udp.13.13.10.in-addr.arpa.", PTR, "NXDomain"),
            ("lb._dns-sd._udp.0.0.168.192.in-addr.arpa.", PTR, "not ours"),
            ("0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", SOA, "-"),
            ("internal.", A, "not ours"),
            ("xadit.internal.", A, "not ours"),
            (".", NS, "not ours"),
        ] {
            let reply = answer(&names, &LowerName::from(Name::from_ascii(name).unwrap()), kind);
            let said = match &reply {
                None => "not ours".to_owned(),
                Some(reply) if reply.code != ResponseCode::NoError => format!("{:?}", reply.code),
                Some(reply) if reply.answers.is_empty() => "-".to_owned(),
                Some(reply) => reply.answers[0].data.to_string(),
            };
            assert_eq!(said, expected, "{name} {kind}");
            if let Some(reply) = reply {
                assert_eq!(reply.soa.is_some(), reply.answers.is_empty(), "{name} {kind}");
            }
        }
    }
}
