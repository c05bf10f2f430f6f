//! What is answered to one question. Pure.

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, PTR},
    },
};

use super::Book;

/// Seconds that an answer may be kept: Docker's own.
const TTL: u32 = 600;

/// What becomes of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is answered here.
    Answer(Vec<u8>),
    /// The tunnel's name servers are to answer it, as it is.
    Outside,
    /// It is none.
    Ignored,
}

/// Decides what becomes of a message.
pub(super) fn decide(book: &Book, message: &[u8]) -> Fate {
    let Ok(message) = Message::from_vec(message) else {
        return Fate::Ignored;
    };
    let [query] = &message.queries[..] else {
        return Fate::Ignored;
    };
    if message.metadata.message_type != MessageType::Query {
        return Fate::Ignored;
    }
    if message.metadata.op_code != OpCode::Query || query.query_class() != DNSClass::IN {
        return Fate::Outside;
    }
    match records(book, query) {
        Some((code, records)) => reply(&message, code, records).map_or(Fate::Ignored, Fate::Answer),
        None => Fate::Outside,
    }
}

/// The answer to a question that nobody answered.
pub(super) fn failure(message: &[u8]) -> Option<Vec<u8>> {
    let message = Message::from_vec(message).ok()?;
    reply(&message, ResponseCode::ServFail, Vec::new())
}

/// Whether `answer` is one to `question`.
pub(super) fn is_answer(question: &[u8], answer: &[u8]) -> bool {
    let (Ok(question), Ok(answer)) = (Message::from_vec(question), Message::from_vec(answer)) else {
        return false;
    };
    answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && (answer.queries == question.queries || answer.queries.is_empty())
}

/// The records of a name that is the neighbours'; `None` if it is not.
fn records(book: &Book, query: &Query) -> Option<(ResponseCode, Vec<Record>)> {
    let name = query.name();
    let record = |data| Record::from_rdata(name.clone(), TTL, data);
    if let Ok(network) = name.parse_arpa_name()
        && network.prefix_len() == network.max_prefix_len()
    {
        let (called, is_near) = book.name(network.addr());
        let called = called.and_then(|called| Name::from_utf8(format!("{called}.")).ok());
        return match called {
            Some(called) => Some((ResponseCode::NoError, vec![record(RData::PTR(PTR(called)))])),
            None if is_near => Some((ResponseCode::NXDomain, Vec::new())),
            None => None,
        };
    }
    let text = name.to_utf8().to_lowercase();
    let addresses = book.addresses(text.trim_end_matches('.'))?;
    let wants = |kind| query.query_type() == kind || query.query_type() == RecordType::ANY;
    let data = addresses.into_iter().filter_map(|address| match address {
        std::net::IpAddr::V4(address) => wants(RecordType::A).then_some(RData::A(A(address))),
        std::net::IpAddr::V6(address) => wants(RecordType::AAAA).then_some(RData::AAAA(AAAA(address))),
    });
    Some((ResponseCode::NoError, data.map(record).collect()))
}

fn reply(message: &Message, code: ResponseCode, records: Vec<Record>) -> Option<Vec<u8>> {
    let mut reply = Message::new(message.metadata.id, MessageType::Response, message.metadata.op_code);
    reply.metadata.recursion_desired = message.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = code;
    for query in &message.queries {
        reply.add_query(query.clone());
    }
    for record in records {
        reply.add_answer(record);
    }
    reply.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use proptest::prelude::*;

    use super::{super::book::tests::book, *};

    fn question(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
        message.to_vec().unwrap()
    }

    /// The answer's code and data, `None` for questions that go outside.
    fn asked(name: &str, kind: RecordType) -> Option<(ResponseCode, Vec<String>)> {
        let question = question(name, kind);
        match decide(&book(), &question) {
            Fate::Answer(answer) => {
                assert!(is_answer(&question, &answer));
                let answer = Message::from_vec(&answer).unwrap();
                let data = answer.answers.iter().map(|record| record.data.to_string());
                Some((answer.metadata.response_code, data.collect()))
            }
            Fate::Outside => None,
            Fate::Ignored => panic!("{name} is ignored"),
        }
    }

    #[test]
    fn neighbours_names_are_answered_here_and_others_are_not() {
        let found = |data: &[&str]| {
            let data = data.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            Some((ResponseCode::NoError, data))
        };
        assert_eq!(asked("WEB.home.", RecordType::A), found(&["172.18.0.2"]));
        assert_eq!(asked("web.home.", RecordType::AAAA), found(&["fd07::2"]));
        assert_eq!(asked("web2.", RecordType::AAAA), found(&[]), "it has none");
        assert_eq!(asked("web2.", RecordType::MX), found(&[]), "nobody else knows it");
        assert_eq!(
            asked("2.0.18.172.in-addr.arpa.", RecordType::PTR),
            found(&["web.home."])
        );
        assert_eq!(
            asked("9.0.18.172.in-addr.arpa.", RecordType::PTR),
            Some((ResponseCode::NXDomain, Vec::new())),
            "an address of the neighbours' is nobody else's"
        );
        for (name, kind) in [
            ("example.com.", RecordType::A),
            ("db.", RecordType::A),
            ("1.2.0.192.in-addr.arpa.", RecordType::PTR),
            ("0.18.172.in-addr.arpa.", RecordType::NS),
        ] {
            assert_eq!(asked(name, kind), None, "{name}");
        }
    }

    #[test]
    fn an_answer_is_one_to_its_question() {
        let own = question("example.com.", RecordType::A);
        let failed = failure(&own).unwrap();
        assert!(is_answer(&own, &failed));
        assert!(!is_answer(&own, &own), "a question is none");
        let other = question("example.org.", RecordType::A);
        assert!(!is_answer(&other, &failed));
        let mut number = failed.clone();
        number[1] ^= 1;
        assert!(!is_answer(&own, &number));
    }

    proptest! {
        #[test]
        fn anything_may_come(message in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _fate = decide(&book(), &message);
            let _failed = failure(&message);
            prop_assert!(!is_answer(&question("a.", RecordType::A), &message));
        }
    }
}
