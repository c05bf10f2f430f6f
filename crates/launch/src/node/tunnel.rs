//! Asks a gateway through its own WireGuard port, wherever it runs: the launcher is one more of its peers.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, SystemTime},
};

use dataplane::{
    call::{Call, Ends, Progress},
    time::Time,
};
use tokio::{
    net::{UdpSocket, lookup_host},
    sync::Mutex,
    time::{Instant, sleep, timeout_at},
};
use wg::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::{
    Answer, MAX_ANSWER, Question,
    link::{ASK_PORT, Link},
};

/// Bytes that an answer has room for at first.
const CHUNK: usize = 16 * 1024;

/// Largest datagram that is read; WireGuard's are smaller.
const MAX_DATAGRAM: usize = 2 * 1024;

/// Datagrams that are read in one go.
const BATCH: usize = 64;

/// Time between two calls to one gateway: it takes 50 initiations a second of one peer, and ours tell the time in steps of
/// 17 ms.
const GAP: Duration = Duration::from_millis(25);

/// The first of the ports that may be used without asking (RFC 6335, section 6).
const FIRST_PORT: u16 = 49_152;

/// A gateway gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Its name has no address.
    #[error("cannot find the address of {endpoint}: {cause}")]
    Name {
        /// Where it is to be.
        endpoint: String,
        /// What the resolver said.
        cause: io::Error,
    },
    /// No datagram can be sent to it.
    #[error("cannot send to {endpoint}: {cause}")]
    Socket {
        /// Where it is.
        endpoint: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The launcher's key is the gateway's.
    #[error("the gateway's key is the launcher's own")]
    OwnKey,
    /// An earlier question took all of the time.
    #[error("another question to the gateway takes too long")]
    Busy,
    /// The tunnel's handshake was not answered.
    #[error(
        "{endpoint} does not answer WireGuard's handshake ({seen}): UDP is blocked on the way, or the gateway is gone, was \
        started anew with another key, or does not know this launcher's"
    )]
    Unanswered {
        /// Where it is.
        endpoint: SocketAddr,
        /// What was seen instead.
        seen: Seen,
    },
    /// The tunnel stands, and TCP is not answered.
    #[error("{endpoint} answered WireGuard's handshake, but the gateway's desk behind it does not answer")]
    Silent {
        /// Where it is.
        endpoint: SocketAddr,
    },
    /// The tunnel stands, and nobody listens.
    #[error("{endpoint} answered WireGuard's handshake, but nobody answers questions there: it has no launcher's desk")]
    Refused {
        /// Where it is.
        endpoint: SocketAddr,
    },
    /// The connection ended before the answer did.
    #[error("the gateway hung up in the middle of its answer")]
    Cut,
    /// The answer did not end in time.
    #[error("the gateway gave no whole answer in time")]
    Late,
    /// The answer is longer than any.
    #[error("the gateway's answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
    /// What came is no answer.
    #[error("the gateway gave {0}")]
    Foreign(String),
}

/// What was seen in place of an answer to a handshake.
#[derive(Debug, thiserror::Error)]
pub enum Seen {
    /// Nothing at all.
    #[error("nothing came back")]
    Nothing,
    /// Datagrams that are none of this tunnel's.
    #[error("what came back was not the gateway's")]
    Datagrams,
    /// The network, or the host there, sent an error.
    #[error("{0}")]
    Error(io::Error),
}

/// A gateway that is asked through its tunnel port. One question at a time: the gateway knows its launcher at one place.
#[derive(Debug)]
pub struct Caller {
    /// `HOST:PORT`.
    endpoint: String,
    public_key: PublicKey,
    private_key: PrivateKey,
    /// When the last call began, by two clocks.
    last: Mutex<Option<(SystemTime, Instant)>>,
}

impl Caller {
    /// The gateway with this key at `HOST:PORT`, asked with the launcher's key for its lease.
    pub fn new(endpoint: String, public_key: PublicKey, private_key: PrivateKey) -> Self {
        Self {
            endpoint,
            public_key,
            private_key,
            last: Mutex::new(None),
        }
    }

    /// Asks, and waits for the answer for so long.
    ///
    /// # Errors
    ///
    /// [`CallError`]. A refusal is an answer.
    pub async fn ask(&self, question: &Question, limit: Duration) -> Result<Answer, CallError> {
        let deadline = Instant::now() + limit;
        let mut last = timeout_at(deadline, self.last.lock())
            .await
            .map_err(|_| CallError::Busy)?;
        let found = timeout_at(deadline, lookup_host(&self.endpoint)).await;
        let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let name_error = |cause| CallError::Name {
            endpoint: self.endpoint.clone(),
            cause,
        };
        let mut places: Vec<SocketAddr> = found.map_err(name_error)?.collect();
        places.dedup();
        let mut failed = name_error(io::ErrorKind::NotFound.into());
        for (at, place) in places.iter().enumerate() {
            // An address that does not answer leaves time for the others.
            let left = u32::try_from(places.len() - at).unwrap_or(1);
            let until = Instant::now() + deadline.saturating_duration_since(Instant::now()) / left;
            let wall = next_time(&mut last).await;
            match self.exchange(*place, wall, &question.line(), until).await {
                Ok(line) => return Answer::read(&line).map_err(CallError::Foreign),
                Err(error @ (CallError::Unanswered { .. } | CallError::Socket { .. })) => failed = error,
                Err(error) => return Err(error),
            }
        }
        Err(failed)
    }

    /// The line that answers this one.
    async fn exchange(
        &self,
        endpoint: SocketAddr,
        wall: SystemTime,
        mut question: &[u8],
        deadline: Instant,
    ) -> Result<Zeroizing<Vec<u8>>, CallError> {
        let socket = connect(endpoint).await;
        let socket = socket.map_err(|cause| CallError::Socket { endpoint, cause })?;
        let mut call = Call::begin(Time::now(), wall, random, self.ends(endpoint)).ok_or(CallError::OwnKey)?;
        let mut answer = Line::default();
        let mut seen = Seen::Nothing;
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            let now = Time::now();
            if call.poll_timeout().is_some_and(|due| due <= now) {
                call.handle_timeout(now);
            }
            question = &question[call.write(question)..];
            call.read(now, |bytes| answer.take(bytes));
            let done = outcome(endpoint, &call, &answer);
            if done.is_some() {
                call.hang_up();
            }
            for datagram in datagrams(&mut call, now) {
                if let Err(error) = socket.send(&datagram).await {
                    seen = Seen::Error(error);
                }
            }
            match done {
                Some(Ok(())) => return Ok(answer.bytes),
                Some(Err(error)) => return Err(error),
                None => {}
            }
            if Instant::now() >= deadline {
                return Err(match call.progress() {
                    Progress::Calling => CallError::Unanswered { endpoint, seen },
                    Progress::Reached => CallError::Silent { endpoint },
                    Progress::Refused | Progress::Open | Progress::Ended(_) => CallError::Late,
                });
            }
            let due = call.poll_timeout().map(|due| Instant::now() + due.since(now));
            match timeout_at(due.unwrap_or(deadline).min(deadline), socket.recv(&mut buffer)).await {
                Err(_) => {}
                Ok(Err(error)) => seen = Seen::Error(error),
                Ok(Ok(len)) => {
                    seen = Seen::Datagrams;
                    call.handle_datagram(Time::now(), endpoint, &buffer[..len]);
                    for _ in 1..BATCH {
                        let Ok(len) = socket.try_recv(&mut buffer) else { break };
                        call.handle_datagram(Time::now(), endpoint, &buffer[..len]);
                    }
                }
            }
        }
    }

    fn ends(&self, endpoint: SocketAddr) -> Ends {
        let link = Link::of(&self.private_key.public_key());
        // Another port each time: the gateway may still know an earlier connection.
        let mut port = [0; 2];
        random(&mut port);
        let port = FIRST_PORT | u16::from_ne_bytes(port);
        Ends {
            private_key: self.private_key.clone(),
            public_key: self.public_key,
            endpoint,
            source: (link.launcher, port).into(),
            server: (link.gateway, ASK_PORT).into(),
        }
    }
}

/// A line as it comes.
#[derive(Debug, Default)]
struct Line {
    bytes: Zeroizing<Vec<u8>>,
    is_whole: bool,
}

impl Line {
    fn take(&mut self, bytes: &[u8]) {
        if self.is_whole || self.bytes.len() > MAX_ANSWER {
            return;
        }
        if self.bytes.is_empty() {
            self.bytes.reserve(CHUNK);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        self.bytes.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
        self.is_whole = end.is_some() && self.bytes.len() <= MAX_ANSWER;
    }
}

/// Whether the call is over, and how.
fn outcome(endpoint: SocketAddr, call: &Call, answer: &Line) -> Option<Result<(), CallError>> {
    if answer.is_whole {
        return Some(Ok(()));
    }
    if answer.bytes.len() > MAX_ANSWER {
        return Some(Err(CallError::TooLong));
    }
    match call.progress() {
        Progress::Refused => Some(Err(CallError::Refused { endpoint })),
        Progress::Ended(_) => Some(Err(CallError::Cut)),
        Progress::Open if call.is_read_finished() => Some(Err(CallError::Cut)),
        Progress::Calling | Progress::Reached | Progress::Open => None,
    }
}

fn datagrams(call: &mut Call, now: Time) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    call.poll_datagrams(now, |datagram| datagrams.push(datagram.to_vec()));
    datagrams
}

/// A socket that takes datagrams of this address alone, and errors about those that were sent there.
async fn connect(endpoint: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if endpoint.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(endpoint).await?;
    Ok(socket)
}

/// The time of day for a call that begins: later than that of every call before, also if somebody sets the clock back. Waits
/// if the last one has just begun.
async fn next_time(last: &mut Option<(SystemTime, Instant)>) -> SystemTime {
    if let Some((_, begun)) = *last {
        sleep(GAP.saturating_sub(begun.elapsed())).await;
    }
    // A call that took long has told later times, too.
    let least = last.map(|(wall, begun)| wall + begun.elapsed());
    let wall = least.map_or_else(SystemTime::now, |least| least.max(SystemTime::now()));
    *last = Some((wall, Instant::now()));
    wall
}

fn random(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the system has random numbers");
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as StdSocket;

    use super::*;

    fn caller(endpoint: String) -> Caller {
        let key = |number| PrivateKey::from_random([number; 32]);
        Caller::new(endpoint, key(1).public_key(), key(2))
    }

    async fn fails(endpoint: String) -> CallError {
        let caller = caller(endpoint);
        let asked = caller.ask(&Question::Report {}, Duration::from_millis(300));
        asked.await.unwrap_err()
    }

    #[tokio::test]
    async fn it_says_what_was_seen() {
        let silent = StdSocket::bind("127.0.0.1:0").unwrap();
        let at = silent.local_addr().unwrap();
        let error = fails(at.to_string()).await;
        assert!(
            matches!(
                error,
                CallError::Unanswered {
                    seen: Seen::Nothing,
                    ..
                }
            ),
            "{error}"
        );
        let mut sent = [0; 2_000];
        assert_eq!(silent.recv(&mut sent).unwrap(), 148, "an initiation");
        drop(silent);
        let error = fails(at.to_string()).await;
        assert!(
            matches!(
                &error,
                CallError::Unanswered {
                    seen: Seen::Error(_),
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("refused"), "{error}");
        let babbler = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = babbler.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 2_000];
            while let Ok((_, from)) = babbler.recv_from(&mut buffer).await {
                babbler.send_to(&buffer[..100], from).await.unwrap();
            }
        });
        let error = fails(at).await;
        assert!(
            matches!(
                error,
                CallError::Unanswered {
                    seen: Seen::Datagrams,
                    ..
                }
            ),
            "{error}"
        );
        task.abort();
        assert!(matches!(
            fails("nowhere.invalid:1".to_owned()).await,
            CallError::Name { .. }
        ));
        assert!(matches!(fails("127.0.0.1".to_owned()).await, CallError::Name { .. }));
    }

    #[tokio::test]
    async fn nobody_is_asked_with_his_own_key() {
        let key = PrivateKey::from_random([1; 32]);
        let own = Caller::new("127.0.0.1:9".to_owned(), key.public_key(), key);
        let error = own.ask(&Question::Report {}, Duration::from_secs(1)).await.unwrap_err();
        assert!(matches!(error, CallError::OwnKey), "{error}");
    }

    #[tokio::test]
    async fn time_goes_on_from_call_to_call() {
        let mut last = None;
        let mut walls = Vec::new();
        for _ in 0..3 {
            walls.push(next_time(&mut last).await);
        }
        // As if the clock had been set back by an hour since.
        let (wall, begun) = last.unwrap();
        last = Some((wall + Duration::from_secs(3_600), begun));
        walls.push(next_time(&mut last).await);
        for pair in walls.windows(2) {
            assert!(pair[0] + Duration::from_millis(20) < pair[1], "{walls:?}");
        }
    }

    #[test]
    fn a_line_is_whole_or_too_long() {
        let mut line = Line::default();
        line.take(b"{\"answer\"");
        assert!(!line.is_whole);
        line.take(b":1}\nrest");
        assert!(line.is_whole && *line.bytes == b"{\"answer\":1}");
        let mut long = Line::default();
        for _ in 0..100 {
            long.take(&[b'x'; 65_536]);
        }
        assert!(long.bytes.len() > MAX_ANSWER && long.bytes.len() <= MAX_ANSWER + 65_536);
        long.take(b"\n");
        assert!(!long.is_whole);
    }
}
