//! Asks our own DNS for a name that it answers itself, without waiting: the answer is looked for at the next question.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use crate::{
    dns::{SELF, ZONE},
    health::Dns,
};

/// How often DNS is asked.
const INTERVAL: Duration = Duration::from_secs(10);

/// Length of a DNS message's header.
const HEADER_LEN: usize = 12;

/// A question that is asked again and again.
#[derive(Debug)]
pub(crate) struct Probe {
    socket: UdpSocket,
    question: Vec<u8>,
    /// The number of the last question.
    id: u16,
    /// Questions since the last answer.
    unanswered: u32,
    /// When the last question was asked.
    asked: Option<Instant>,
}

impl Probe {
    /// A question to this address.
    pub(crate) fn new(server: SocketAddr) -> io::Result<Self> {
        let any: IpAddr = if server.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(server)?;
        Ok(Self {
            socket,
            question: question(),
            id: 0,
            unanswered: 0,
            asked: None,
        })
    }

    /// Asks once more if it is time, and says what is known.
    pub(crate) fn look(&mut self, now: Instant) -> Dns {
        if self.asked.is_none_or(|asked| asked + INTERVAL <= now) {
            self.ask();
            self.asked = Some(now);
        }
        Dns {
            unanswered: self.unanswered(),
        }
    }

    /// Asks once more.
    fn ask(&mut self) {
        self.take_answers();
        self.id = self.id.wrapping_add(1);
        self.question[..2].copy_from_slice(&self.id.to_be_bytes());
        self.unanswered = self.unanswered.saturating_add(1);
        // One that cannot be sent is one without an answer.
        let _unsent = self.socket.send(&self.question);
    }

    /// How many questions before the last one had no answer, and that one too if nobody has answered it and it follows
    /// others like it.
    fn unanswered(&mut self) -> u32 {
        self.take_answers();
        self.unanswered.saturating_sub(1)
    }

    fn take_answers(&mut self) {
        let mut answer = [0; 512];
        loop {
            match self.socket.recv(&mut answer) {
                Ok(len) if is_answer(&answer[..len], self.id) => self.unanswered = 0,
                Ok(_) => {}
                // An ICMP error is told once and does not stand for an answer.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => return,
            }
        }
    }
}

/// RFC 1035, section 4: recursion desired, one question, type A, class IN.
fn question() -> Vec<u8> {
    let mut message = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in std::iter::once(SELF).chain(ZONE.split('.')) {
        message.push(u8::try_from(label.len()).expect("a label is short"));
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

/// Whether it answers this question without an error.
fn is_answer(message: &[u8], id: u16) -> bool {
    message.len() > HEADER_LEN && message[..2] == id.to_be_bytes() && message[2] & 0x80 != 0 && message[3] & 0xF == 0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        dns::{Forwarder, Names},
        upstream::{Upstream, Upstreams},
    };

    #[test]
    fn our_own_dns_answers_and_silence_is_counted() {
        let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let gateway = Names::new(&["10.13.13.1/24".parse().unwrap()]);
        for names in [gateway, Names::of_client()] {
            let upstreams = Upstreams::fixed([Upstream::Plain(nobody.local_addr().unwrap())]);
            let listen = [(Ipv4Addr::LOCALHOST, 0).into()];
            let forwarder = Forwarder::start(&listen, upstreams, Arc::new(names)).unwrap();
            let mut probe = Probe::new(forwarder.addresses()[0]).unwrap();
            for _ in 0..3 {
                probe.ask();
                let limit = Instant::now() + Duration::from_secs(10);
                while probe.unanswered > 0 && Instant::now() < limit {
                    std::thread::park_timeout(Duration::from_millis(5));
                    probe.take_answers();
                }
                assert_eq!((probe.unanswered, probe.unanswered()), (0, 0));
            }
        }
        let mut probe = Probe::new(nobody.local_addr().unwrap()).unwrap();
        for unanswered in 0..4 {
            probe.ask();
            assert_eq!(probe.unanswered(), unanswered);
        }
    }
}
