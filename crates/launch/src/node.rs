//! What is said to the gateway of a lease, wherever it runs: one question, one answer, as JSON.
//!
//! A question says what is wanted, not what to do: the gateway compares it with what is there. So a question may be asked
//! again after a lost answer.
//!
//! ```text
//! → {"ask":"bring","peers":[{"name":"phone","public_key":"…"}],"remaining_secs":1800}
//! ← {"answer":"report","public_key":"…","listen_port":51820,"remaining_secs":1800,"peers":[…]}
//! ```
//!
//! They go through a socket in the file system ([`client`]), or through the gateway's own WireGuard port ([`tunnel`]).

pub mod client;
pub mod link;
mod ready;
pub mod tunnel;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wg::PublicKey;
use zeroize::Zeroizing;

pub use self::ready::Ready;
use crate::Moment;

/// The line before a configuration that was made on the gateway.
pub const START: &str = "=== WIREGUARD_CLIENT_CONFIG_START ===";

/// The line after it.
pub const END: &str = "=== WIREGUARD_CLIENT_CONFIG_END ===";

/// What a gateway that runs beside its launcher writes in a line of its log once it takes connections.
pub const READY: &str = "gateway ready";

/// What begins the line of its log with the code of what keeps it from that, such as `port_taken`.
pub const FAULT: &str = "fault: ";

/// What begins the line of its log that says so to people, the last.
pub const ERROR: &str = "error: ";

/// Longest question that a gateway reads, in bytes: [`crate::order::MAX_PEERS`] peers fit many times.
pub const MAX_QUESTION: usize = 256 * 1024;

/// Longest answer that is read of a gateway, in bytes.
pub const MAX_ANSWER: usize = 1024 * 1024;

/// What is asked of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// How it is.
    Report {},
    /// Makes these the peers and this the time that is left, and reports.
    Bring {
        /// Who may connect; whoever is not named may not.
        peers: Vec<WantedPeer>,
        /// Seconds after which the gateway ends itself.
        remaining_secs: u64,
    },
    /// Makes a fresh key pair for this peer, in place of one that it has, and answers with its whole configuration.
    Keys {
        /// Whose.
        name: String,
        /// What the configuration says beside keys and addresses.
        terms: Terms,
    },
    /// Ends it.
    End {},
}

impl Question {
    /// Reads a line.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn read(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| format!("not a question: {error}"))
    }

    /// The question as a line, with its end.
    pub fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("names, keys and numbers can be written");
        line.push(b'\n');
        line
    }
}

/// A peer that may connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedPeer {
    /// Its name.
    pub name: String,
    /// Its key; `None` leaves it the one that the gateway has made, or none yet: it has an address then and cannot
    /// connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PublicKey>,
}

/// What a client's configuration says beside keys and addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Where the client connects to, `HOST:PORT`.
    pub endpoint: String,
    /// Resolvers and search domains.
    pub dns: Vec<String>,
    /// What it sends through the tunnel.
    pub allowed_ips: Vec<IpNet>,
    /// Largest packet inside the tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
}

/// What a gateway answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// How it is.
    Report(Report),
    /// A configuration, with the private key: for the person, and nobody else.
    Configuration {
        /// The key that belongs to it.
        public_key: PublicKey,
        /// Its text.
        text: Secret,
    },
    /// It ends.
    Ending {},
    /// Nothing is done.
    Refused {
        /// Why.
        message: String,
    },
}

impl Answer {
    /// Reads a line.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, and nothing of what it holds.
    pub fn read(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("not an answer of this version of adit: it makes no sense at line {line}, column {column}")
        })
    }

    /// The answer as a line, with its end.
    pub fn line(&self) -> Zeroizing<Vec<u8>> {
        // Room for all of a configuration at once: a buffer that grows leaves copies behind.
        let room = match self {
            Self::Configuration { text, .. } => 2 * text.danger_text().len() + 256,
            Self::Report(_) | Self::Ending {} | Self::Refused { .. } => 1024,
        };
        let mut line = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *line, self).expect("names, keys, numbers and texts can be written");
        line.push(b'\n');
        line
    }
}

/// How a gateway is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its public key.
    pub public_key: PublicKey,
    /// The UDP port that it listens on, as it sees it.
    pub listen_port: u16,
    /// Who handles its packets.
    pub plane: String,
    /// Its own addresses in the tunnel, each with the peers' network.
    pub addresses: Vec<IpNet>,
    /// Seconds after which it ends itself.
    pub remaining_secs: u64,
    /// Its peers.
    pub peers: Vec<PeerReport>,
}

/// How a peer of a gateway is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    /// Its name.
    pub name: String,
    /// Its key; `None` if it has none yet.
    pub public_key: Option<PublicKey>,
    /// Its addresses in the tunnel.
    pub addresses: Vec<IpAddr>,
    /// Where it was last heard from.
    pub endpoint: Option<SocketAddr>,
    /// When its latest handshake was, by the gateway's clock.
    pub latest_handshake: Option<Moment>,
    /// Bytes that the gateway received from it.
    pub received_bytes: u64,
    /// Bytes that the gateway sent to it.
    pub sent_bytes: u64,
}

/// A text that is wiped from memory and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Hides a text.
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The text. Whoever calls this keeps it out of logs and files.
    pub fn danger_text(&self) -> &str {
        &self.0
    }
}

/// For the way from the gateway to the person alone.
impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Why there is no configuration in a gateway's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// The first marker is missing.
    #[error("the gateway's output has no line `{START}`")]
    NoStart,
    /// The last marker is missing: the output was cut.
    #[error("the gateway's output has no line `{END}`: it was cut off")]
    NoEnd,
    /// There is nothing between them that a client could use.
    #[error("what the gateway put out between its markers is not a client's configuration")]
    NotAConfiguration,
}

/// The configuration between the markers of a gateway's output. Never less than the whole of it.
///
/// # Errors
///
/// [`ExtractError`].
pub fn extract(output: &str) -> Result<Secret, ExtractError> {
    let is = |marker: &'static str| move |line: &&str| line.trim() == marker;
    let mut lines = output.lines();
    lines.by_ref().find(is(START)).ok_or(ExtractError::NoStart)?;
    let mut text = Zeroizing::new(String::with_capacity(output.len() + 1));
    let mut has_end = false;
    for line in lines {
        if is(END)(&line) {
            has_end = true;
            break;
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    if !has_end {
        return Err(ExtractError::NoEnd);
    }
    let conf = wg::conf::Conf::parse("configuration", &text).map_err(|_| ExtractError::NotAConfiguration)?;
    let is_usable = conf.interface().private_key.is_some() && conf.peers().any(|peer| peer.endpoint.is_some());
    if is_usable {
        Ok(Secret(text))
    } else {
        Err(ExtractError::NotAConfiguration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n\
        Address = 10.13.13.2/24\n\n[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n\
        Endpoint = 192.0.2.1:51820\nAllowedIPs = 0.0.0.0/0\n";

    #[test]
    fn a_configuration_is_taken_whole_or_not_at_all() {
        let whole = format!("pulling\n{START}\n{CONF}{END}\ndone\n");
        assert_eq!(extract(&whole).unwrap().danger_text(), CONF);
        assert_eq!(extract(&whole.replace('\n', "\r\n")).unwrap().danger_text(), CONF);
        for (output, error) in [
            (String::new(), ExtractError::NoStart),
            (CONF.to_owned(), ExtractError::NoStart),
            (format!("{CONF}{END}\n"), ExtractError::NoStart),
            (format!("{START}\n{CONF}"), ExtractError::NoEnd),
            (whole[..whole.len() - 20].to_owned(), ExtractError::NoEnd),
            (format!("{START}\n{END}\n"), ExtractError::NotAConfiguration),
            (
                format!("{START}\nno such image\n{END}\n"),
                ExtractError::NotAConfiguration,
            ),
            (
                format!("{START}\n{}{END}\n", CONF.replace("PrivateKey", "#")),
                ExtractError::NotAConfiguration,
            ),
        ] {
            assert_eq!(extract(&output).unwrap_err(), error, "{output}");
        }
    }

    #[test]
    fn the_words_are_what_they_were() {
        let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        let bring = format!(
            r#"{{"ask":"bring","peers":[{{"name":"phone","public_key":"{key}"}},{{"name":"pc"}}],"remaining_secs":1800}}"#
        );
        let keys =
            r#"{"ask":"keys","name":"pc","terms":{"endpoint":"192.0.2.1:51820","dns":[],"allowed_ips":["::/0"]}}"#;
        for text in [r#"{"ask":"report"}"#, r#"{"ask":"end"}"#, &bring, keys] {
            let question = Question::read(text.as_bytes()).unwrap();
            assert_eq!(question.line(), format!("{text}\n").into_bytes());
        }
        for wrong in [
            "",
            "{}",
            "[]",
            r#"{"ask":"fly"}"#,
            r#"{"ask":"end","now":true}"#,
            r#"{"ask":"bring","peers":[]}"#,
            r#"{"ask":"bring","peers":[{"name":"a","private_key":"b"}],"remaining_secs":1}"#,
            r#"{"ask":"bring","peers":[],"remaining_secs":-1}"#,
            "\u{0}",
        ] {
            assert!(Question::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_read_as_it_is_written() {
        let public_key: PublicKey = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".parse().unwrap();
        let report = Report {
            public_key,
            listen_port: 51_820,
            plane: "netstack".to_owned(),
            addresses: vec!["10.13.13.1/24".parse().unwrap()],
            remaining_secs: 1_800,
            peers: vec![PeerReport {
                name: "phone".to_owned(),
                public_key: None,
                addresses: vec!["10.13.13.2".parse().unwrap()],
                endpoint: Some("192.0.2.7:1".parse().unwrap()),
                latest_handshake: Some(Moment::from_millis(1_795_000_000_000)),
                received_bytes: 1,
                sent_bytes: 2,
            }],
        };
        let text = Secret::new(Zeroizing::new(CONF.to_owned()));
        for answer in [
            Answer::Report(report),
            Answer::Configuration { public_key, text },
            Answer::Ending {},
            Answer::Refused {
                message: "no".to_owned(),
            },
        ] {
            let line = answer.line();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(Answer::read(&line), Ok(answer));
        }
        let error = Answer::read(br#"{"answer":"configuration","text":"PrivateKey = x"}"#).unwrap_err();
        assert!(!error.contains("PrivateKey"), "{error}");
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert!(!format!("{:?}", Secret::new(Zeroizing::new(CONF.to_owned()))).contains("PrivateKey"));
    }
}
