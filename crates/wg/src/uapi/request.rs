//! Takes requests out of a stream of bytes.

use std::{fmt, mem};

use zeroize::Zeroizing;

use super::{Error, Fault, draft::Draft};
use crate::Update;

/// The longest line, in bytes without its end. Longer ones are skipped, and their request is refused.
pub const MAX_LINE: usize = 1024;

/// The longest request, in bytes: room for more than 100,000 peers.
pub const MAX_REQUEST: usize = 32 << 20;

/// What the other end of the socket asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To be told the interface's status.
    Get,
    /// To change the interface.
    Set(Update),
}

impl Request {
    /// Reads one request; a blank line at its end may be missing.
    ///
    /// # Errors
    ///
    /// [`Error`] names the first line that cannot be used. Nothing of such a request is to be carried out.
    pub fn parse(text: &str, zone_index: &dyn Fn(&str) -> Option<u32>) -> Result<Self, Error> {
        let mut incoming = Incoming::new();
        let first = incoming.feed(text.as_bytes(), zone_index).into_iter().next();
        first
            .or_else(|| incoming.finish(zone_index))
            .unwrap_or_else(|| Err(Error::new(1, "", Fault::Operation)))
    }
}

/// Puts requests together from the bytes of one connection. What it holds is wiped when it is dropped.
pub struct Incoming {
    /// The unfinished line; never grows, so that no copy of a key is left behind.
    partial: Zeroizing<Vec<u8>>,
    /// Whether `partial` has overflowed.
    overlong: bool,
    /// Lines of the current request so far.
    lines: usize,
    /// Bytes of the current request so far.
    bytes: usize,
    state: State,
}

/// Where in a request the parser is.
#[derive(Debug)]
enum State {
    Start,
    Get,
    Set(Box<Draft>),
    /// The rest of the request is skipped.
    Broken(Error),
}

impl fmt::Debug for Incoming {
    /// Leaves the unfinished line out, which may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("lines", &self.lines)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Default for Incoming {
    fn default() -> Self {
        Self::new()
    }
}

impl Incoming {
    /// Waits for the first request of a connection.
    pub fn new() -> Self {
        Self {
            partial: Zeroizing::new(Vec::with_capacity(MAX_LINE)),
            overlong: false,
            lines: 0,
            bytes: 0,
            state: State::Start,
        }
    }

    /// Takes what was read from the connection and gives the requests that it completes, in order.
    ///
    /// Each wants a reply; one that cannot be used is an [`Error`], whose [`Error::errno`] is the reply.
    pub fn feed(&mut self, mut bytes: &[u8], zone_index: &dyn Fn(&str) -> Option<u32>) -> Vec<Result<Request, Error>> {
        let mut requests = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.append(&bytes[..end]);
            bytes = &bytes[end + 1..];
            requests.extend(self.end_line(zone_index));
        }
        self.append(bytes);
        requests
    }

    /// Tells that the connection has no more bytes; gives the request that ends with it instead of a blank line.
    pub fn finish(&mut self, zone_index: &dyn Fn(&str) -> Option<u32>) -> Option<Result<Request, Error>> {
        let last = if self.partial.is_empty() && !self.overlong {
            None
        } else {
            self.end_line(zone_index)
        };
        last.or_else(|| self.end_line(zone_index))
    }

    fn append(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.partial.len() + bytes.len() > MAX_LINE {
            self.overlong = true;
        }
        if !self.overlong {
            self.partial.extend_from_slice(bytes);
        }
    }

    /// Takes the line in `partial`.
    fn end_line(&mut self, zone_index: &dyn Fn(&str) -> Option<u32>) -> Option<Result<Request, Error>> {
        self.lines += 1;
        self.bytes = self.bytes.saturating_add(1);
        let mut line = mem::replace(&mut self.partial, Zeroizing::new(Vec::new()));
        let overlong = mem::take(&mut self.overlong);
        if line.is_empty() && !overlong {
            self.partial = line;
            return self.end_request();
        }
        let result = if self.bytes > MAX_REQUEST {
            Err(Error::new(self.lines, "", Fault::RequestTooLong))
        } else if overlong {
            Err(Error::new(self.lines, "", Fault::LineTooLong))
        } else {
            match str::from_utf8(&line) {
                Ok(text) => self.take_line(text, zone_index),
                Err(_) => Err(Error::new(self.lines, "", Fault::NotText)),
            }
        };
        if let (Err(error), false) = (result, matches!(self.state, State::Broken(_))) {
            self.state = State::Broken(error);
        }
        line.clear();
        self.partial = line;
        None
    }

    fn take_line(&mut self, line: &str, zone_index: &dyn Fn(&str) -> Option<u32>) -> Result<(), Error> {
        match &mut self.state {
            State::Broken(_) => Ok(()),
            State::Start => {
                self.state = match line {
                    "get=1" => State::Get,
                    "set=1" => State::Set(Box::default()),
                    _ => return Err(Error::new(self.lines, "", Fault::Operation)),
                };
                Ok(())
            }
            State::Get => Err(Error::new(self.lines, "", Fault::AfterGet)),
            State::Set(draft) => {
                let Some((key, value)) = line.split_once('=') else {
                    return Err(Error::new(self.lines, "", Fault::NoEquals));
                };
                let result = draft.take(key, value, zone_index);
                result.map_err(|fault| Error::new(self.lines, key, fault))
            }
        }
    }

    /// Takes a blank line. One before a request says nothing.
    fn end_request(&mut self) -> Option<Result<Request, Error>> {
        self.lines = 0;
        self.bytes = 0;
        match mem::replace(&mut self.state, State::Start) {
            State::Start => None,
            State::Get => Some(Ok(Request::Get)),
            State::Set(draft) => Some(Ok(Request::Set(draft.finish()))),
            State::Broken(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::EPROTO, *};
    use crate::{AllowedIpChange, Device, PeerUpdate, PresharedKey, PrivateKey, PublicKey, uapi::set_request};

    const A: &str = "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33";
    const B: &str = "58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376";

    fn no_zone(_: &str) -> Option<u32> {
        None
    }

    fn set(text: &str) -> Update {
        match Request::parse(text, &no_zone) {
            Ok(Request::Set(update)) => update,
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    fn key(hex: &str) -> PublicKey {
        PublicKey::from_hex(hex).unwrap()
    }

    #[test]
    fn a_whole_set_request_is_read() {
        let update = set(&format!(
            "set=1\nprivate_key={B}\nlisten_port=12912\nfwmark=0\npublic_key={A}\npreshared_key={B}\n\
             protocol_version=1\nendpoint=[abcd:23::33%2]:51820\nreplace_allowed_ips=true\nallowed_ip=192.168.4.4/32\n\
             allowed_ip=-10.1.2.3/8\npublic_key={B}\nremove=true\npublic_key={A}\nupdate_only=true\n\
             persistent_keepalive_interval=111\nendpoint=[::ffff:192.0.2.1]:3233\n\n"
        ));
        let expected = Update {
            private_key: Some(PrivateKey::from_hex(B).unwrap()),
            listen_port: Some(12912),
            fwmark: Some(0),
            replace_peers: false,
            peers: vec![
                PeerUpdate {
                    preshared_key: Some(PresharedKey::from_hex(B).unwrap()),
                    endpoint: Some("[abcd:23::33%2]:51820".parse().unwrap()),
                    replace_allowed_ips: true,
                    allowed_ips: vec![
                        AllowedIpChange::Add("192.168.4.4/32".parse().unwrap()),
                        AllowedIpChange::Remove("10.0.0.0/8".parse().unwrap()),
                    ],
                    ..PeerUpdate::new(key(A))
                },
                PeerUpdate {
                    remove: true,
                    ..PeerUpdate::new(key(B))
                },
                PeerUpdate {
                    update_only: true,
                    persistent_keepalive: Some(111),
                    endpoint: Some("192.0.2.1:3233".parse().unwrap()),
                    ..PeerUpdate::new(key(A))
                },
            ],
        };
        assert_eq!(update, expected);
        assert_eq!(set(&set_request(&update)), update);
    }

    #[test]
    fn an_error_names_the_line_the_key_and_the_number() {
        // (lines after `set=1`, line, key, what is wrong, errno)
        for (text, line, key, fault, errno) in [
            ("listen_port", 2, "", Fault::NoEquals, EPROTO),
            ("listen_port=65536", 2, "listen_port", Fault::Number { max: 65535 }, 22),
            ("listen_port=+1", 2, "listen_port", Fault::Number { max: 65535 }, 22),
            ("listen_port=", 2, "listen_port", Fault::Number { max: 65535 }, 22),
            ("fwmark=0x1", 2, "fwmark", Fault::Number { max: 0xffff_ffff }, 22),
            ("replace_peers=false", 2, "replace_peers", Fault::NotTrue, 22),
            (
                "fwmark=1\nendpoint=192.0.2.1:1",
                3,
                "endpoint",
                Fault::NotOfInterface,
                22,
            ),
            ("jc=4", 2, "jc", Fault::NotOfInterface, 22),
            ("SECRET KEY=4", 2, "", Fault::NotOfInterface, 22),
            ("public_key=A\nlisten_port=1", 3, "listen_port", Fault::NotOfPeer, 22),
            (
                "public_key=A\nreplace_peers=true",
                3,
                "replace_peers",
                Fault::NotOfPeer,
                22,
            ),
            ("public_key=A\nendpoint=192.0.2.1", 3, "endpoint", Fault::Endpoint, 22),
            ("public_key=A\nendpoint=192.0.2.1:0", 3, "endpoint", Fault::Endpoint, 22),
            ("public_key=A\nendpoint=[fe80::1%no]:1", 3, "endpoint", Fault::Zone, 22),
            ("public_key=A\nendpoint=name:1", 3, "endpoint", Fault::Endpoint, 22),
            (
                "public_key=A\nallowed_ip=10.0.0.0/33",
                3,
                "allowed_ip",
                Fault::Network,
                22,
            ),
            ("public_key=A\nallowed_ip=10.0.0.1", 3, "allowed_ip", Fault::Network, 22),
            (
                "public_key=A\nprotocol_version=2",
                3,
                "protocol_version",
                Fault::Version,
                22,
            ),
            ("public_key=A\nremove=1", 3, "remove", Fault::NotTrue, 22),
        ] {
            let text = format!("set=1\n{}\n\n", text.replace("=A\n", &format!("={A}\n")));
            let error = Request::parse(&text, &no_zone).unwrap_err();
            assert_eq!(
                (error.line, error.key.as_str(), error.fault),
                (line, key, fault),
                "{text}"
            );
            assert_eq!(error.errno(), errno, "{text}");
        }
    }

    #[test]
    fn an_error_shows_no_secret() {
        let key = &B[1..];
        let error = Request::parse(&format!("set=1\nprivate_key={key}\n\n"), &no_zone).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2: private_key: a key has 64 characters, this has 63"
        );
        assert!(!format!("{error:?}").contains(key));
        let mut incoming = Incoming::new();
        assert_eq!(
            incoming.feed(
                format!("set=1\nprivate_key={B}\nprivate_key={key}").as_bytes(),
                &no_zone
            ),
            []
        );
        let shown = format!("{incoming:?}");
        assert!(
            shown.contains("PrivateKey(hidden)") && !shown.contains(&B[1..9]) && !shown.contains("53, 56"),
            "{shown}"
        );
    }

    #[test]
    fn requests_come_out_of_a_stream_however_it_is_cut() {
        let text =
            format!("get=1\n\nset=1\npublic_key={A}\n\nset=1\nfwmark=no\nfwmark=1\n\n\nget=1\nx\n\nwhat\n\nget=1\n\n");
        let expected = vec![
            Ok(Request::Get),
            Ok(Request::Set(Update {
                peers: vec![PeerUpdate::new(key(A))],
                ..Update::default()
            })),
            Err(Error::new(2, "fwmark", Fault::Number { max: 0xffff_ffff })),
            Err(Error::new(2, "", Fault::AfterGet)),
            Err(Error::new(1, "", Fault::Operation)),
            Ok(Request::Get),
        ];
        for size in [1, 2, 7, 64, text.len()] {
            let mut incoming = Incoming::new();
            let pieces = text.as_bytes().chunks(size);
            let requests: Vec<_> = pieces.flat_map(|piece| incoming.feed(piece, &no_zone)).collect();
            assert_eq!(requests, expected, "in pieces of {size}");
            assert_eq!(incoming.finish(&no_zone), None);
        }
    }

    #[test]
    fn a_request_may_end_with_the_connection() {
        let mut incoming = Incoming::new();
        assert_eq!(incoming.feed(b"set=1\nfwmark=3", &no_zone), []);
        let update = Update {
            fwmark: Some(3),
            ..Update::default()
        };
        assert_eq!(incoming.finish(&no_zone), Some(Ok(Request::Set(update))));
        assert_eq!(incoming.finish(&no_zone), None);
    }

    #[test]
    fn what_is_too_long_is_refused_without_being_kept() {
        let mut incoming = Incoming::new();
        assert_eq!(incoming.feed(b"set=1\n", &no_zone), []);
        for _ in 0..1000 {
            assert_eq!(incoming.feed(&[b'x'; 10_000], &no_zone), []);
        }
        assert!(incoming.partial.len() <= MAX_LINE);
        let after = incoming.feed(b"\n\nset=1\nget=\xff\n\n", &no_zone);
        let faults: Vec<_> = after.into_iter().map(|request| request.unwrap_err().fault).collect();
        assert_eq!(faults, [Fault::LineTooLong, Fault::NotText]);
        assert_eq!(incoming.feed(b"set=1\n", &no_zone), []);
        let line = format!("allowed_ip={}\n", "x".repeat(1000));
        for _ in 0..=MAX_REQUEST / line.len() {
            assert_eq!(incoming.feed(line.as_bytes(), &no_zone), []);
        }
        assert!(matches!(&incoming.feed(b"\n", &no_zone)[..], [Err(_)]));
    }

    #[test]
    fn after_replace_peers_a_named_peer_begins_anew() {
        let mut device = Device::default();
        device.apply(&set(&format!(
            "set=1\npublic_key={A}\npreshared_key={B}\npersistent_keepalive_interval=9\nallowed_ip=10.0.0.0/8\n\
             public_key={B}\n"
        )));
        device.apply(&set(&format!(
            "set=1\nreplace_peers=true\npublic_key={A}\nallowed_ip=10.1.0.0/16\npublic_key={A}\nallowed_ip=10.2.0.0/16\n\
             public_key={B}\nupdate_only=true\npersistent_keepalive_interval=9\n"
        )));
        let mut expected = Device::default();
        expected.apply(&set(&format!(
            "set=1\npublic_key={A}\nallowed_ip=10.1.0.0/16\nallowed_ip=10.2.0.0/16\n"
        )));
        assert_eq!(device, expected);
    }

    #[test]
    fn a_zone_can_be_named() {
        let zone = |name: &str| (name == "eth0").then_some(7);
        let text = format!("set=1\npublic_key={A}\nendpoint=[fe80::1%eth0]:5\n\n");
        let Ok(Request::Set(update)) = Request::parse(&text, &zone) else {
            panic!("not read");
        };
        assert_eq!(update.peers[0].endpoint, Some("[fe80::1%7]:5".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(lines in proptest::collection::vec(
            prop_oneof![
                Just(b"set=1".to_vec()),
                Just(Vec::new()),
                Just(format!("public_key={A}").into_bytes()),
                "(private_key|endpoint|allowed_ip|remove|fwmark)=[\\PC]{0,20}".prop_map(String::into_bytes),
                proptest::collection::vec(any::<u8>(), 0..30),
            ],
            0..20,
        )) {
            let mut incoming = Incoming::new();
            incoming.feed(&lines.join(&b'\n'), &no_zone);
            incoming.finish(&no_zone);
        }
    }
}
