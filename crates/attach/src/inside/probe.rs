//! Whether anything answers through the tunnel: asked from inside the container.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{net::TcpStream, time::timeout};

use super::Inside;
use crate::provider::Dial;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How often a question is asked again in that time: UDP loses.
const REPEAT: Duration = Duration::from_millis(1_500);

/// Port of DNS.
const DNS: u16 = 53;

/// What is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Where a TCP connection is opened, and closed at once; `None` tries none.
    pub tcp: Option<SocketAddr>,
    /// The name whose address is asked of the tunnel's name server; `None` asks none.
    pub name: Option<String>,
}

impl Default for Targets {
    /// `1.1.1.1:443`, and `example.com`.
    fn default() -> Self {
        Self {
            tcp: Some((Ipv4Addr::new(1, 1, 1, 1), 443).into()),
            name: Some("example.com".to_owned()),
        }
    }
}

/// Tries the targets, all at once. One that answers is enough.
///
/// # Errors
///
/// What each of them said, if none answers. No target is an answer.
pub async fn probe(inside: &Arc<Inside>, targets: &Targets, dns: &[IpAddr]) -> Result<(), String> {
    let by_tcp = async {
        let to = targets.tcp?;
        let opened = timeout(LIMIT, inside.tcp(to)).await;
        let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        Some(
            opened
                .map(drop)
                .map_err(|error| format!("no TCP connection to {to}: {error}")),
        )
    };
    let by_name = async {
        let (Some(name), Some(server)) = (&targets.name, dns.first()) else {
            return None;
        };
        let asked = timeout(LIMIT, ask(inside, (*server, DNS).into(), name)).await;
        let asked = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        Some(asked.map_err(|error| format!("no answer from the name server {server}: {error}")))
    };
    let (by_tcp, by_name) = tokio::join!(by_tcp, by_name);
    let tried: Vec<_> = [by_tcp, by_name].into_iter().flatten().collect();
    if tried.is_empty() || tried.iter().any(Result::is_ok) {
        return Ok(());
    }
    Err(tried.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("; "))
}

/// Asks a name server for the address of a name; any answer to this question will do.
async fn ask(inside: &Arc<Inside>, server: SocketAddr, name: &str) -> io::Result<()> {
    let socket = inside.udp(server).await?;
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let question = question(id, name);
    loop {
        socket.send(&question).await?;
        let mut answer = [0; 512];
        let heard = timeout(REPEAT, async {
            loop {
                let len = socket.recv(&mut answer).await?;
                if len >= 12 && answer[..2] == id && answer[2] & 0x80 != 0 {
                    return Ok::<_, io::Error>(());
                }
            }
        });
        if let Ok(heard) = heard.await {
            return heard;
        }
    }
}

/// A question for the IPv4 address of a name (RFC 1035, 4.1).
fn question(id: [u8; 2], name: &str) -> Vec<u8> {
    let mut message = id.to_vec();
    // A standard question, recursion desired; one question.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = label.as_bytes().get(..63).unwrap_or(label.as_bytes());
        message.push(u8::try_from(label.len()).unwrap_or(63));
        message.extend(label);
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The container's own way through its tunnel.
#[derive(Clone, Debug)]
pub struct Through(pub Arc<Inside>);

#[async_trait]
impl Dial for Through {
    async fn tcp(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.0.tcp(to).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_written_as_the_rfc_has_it() {
        let expected = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01";
        assert_eq!(question([0x12, 0x34], "example.com"), expected);
        assert_eq!(question([0x12, 0x34], "example.com."), expected);
    }
}
