//! What is said on the socket of a running gateway: one JSON value a line, requests in, one reply to each out.
//!
//! ```text
//! → {"do":"add","peers":[{"name":"phone"}]}
//! ← {"reply":"changed","peers":[{"name":"phone","change":"added","addresses":["10.13.13.2"],…}]}
//! → {"do":"remove","names":["nobody"]}
//! ← {"reply":"refused","message":"there is no peer nobody"}
//! ```

mod client;
mod lines;
mod place;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use wg::PublicKey;
use zeroize::Zeroizing;

use crate::{health::Health, record::Settings, text::Text};

pub use client::{Client, ClientError};
pub use lines::{Lines, MAX_LINE, TooLong};
pub use place::{Found, LINK, find, in_directory, name_of, places};

/// What is asked of a gateway. What it does not know it refuses: a rule in the wrong place would be none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Adds peers: all of them, or none if one cannot be had. A peer that is there already with what is asked for
    /// stays as it is.
    Add {
        /// Who.
        peers: Vec<NewPeer>,
    },
    /// Changes what peers have of their own: all of them, or none.
    Set {
        /// Who.
        names: Vec<String>,
        /// What they get; the rest stays.
        #[serde(default)]
        settings: Settings,
        /// Another address, of the family that it has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<IpAddr>,
    },
    /// Removes peers: all of them, or none if one is not there. They are cut off before the reply.
    Remove {
        /// Who.
        names: Vec<String>,
        /// Whether their files stay.
        #[serde(default)]
        keep: bool,
    },
    /// Lists these peers, or all if none is named.
    List {
        /// Who.
        #[serde(default)]
        names: Vec<String>,
    },
    /// The configuration that a client imports.
    Conf {
        /// Whose.
        name: String,
    },
    /// Whether the gateway does its work.
    Health {},
    /// The token for clients of the API.
    Token {
        /// Whether it is to be another one; the one of before opens nothing any more.
        #[serde(default)]
        new: bool,
        /// Where clients reach the API, `NAME` or `NAME:PORT`; `None` is where the gateway is reached, and the API's port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
}

/// A peer to be added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPeer {
    /// Its name, as it stands in `PEERS`.
    pub name: String,
    /// Its public key, if it made its keys itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Text<PublicKey>>,
    /// The address that it wants; the others are given to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// What it has of its own.
    #[serde(default)]
    pub settings: Settings,
}

/// What a gateway answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// It is done, and survives the end of the gateway.
    Changed {
        /// What became of each peer, in the order of the request.
        peers: Vec<Changed>,
    },
    /// The peers that were asked for.
    Peers {
        /// In the order in which they came.
        peers: Vec<Listed>,
    },
    /// A configuration.
    Conf {
        /// The file.
        path: PathBuf,
        /// Its text, with the private key if the gateway has it.
        text: String,
        /// Whether it has the private key.
        is_complete: bool,
    },
    /// How the gateway is.
    Health {
        /// Its parts, judged.
        health: Health,
    },
    /// The token that was asked for; who has it may add peers.
    Token {
        /// In one word.
        token: String,
    },
    /// Nothing is done.
    Refused {
        /// Why, and what would mend it.
        message: String,
    },
}

/// What became of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Its name.
    pub name: String,
    /// What was done.
    pub change: Change,
    /// Its addresses in the tunnel.
    pub addresses: Vec<IpAddr>,
    /// Its public key.
    pub public_key: Text<PublicKey>,
    /// The file with the configuration that it imports; `None` if it has gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// Whether that file is all that a client needs; else the client adds its private key.
    #[serde(default)]
    pub is_complete: bool,
}

/// What was done with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It is new, or there again.
    Added,
    /// It has something new; its client notices nothing.
    Changed,
    /// Its configuration is another: the client has to import it again.
    Moved,
    /// It is as was asked for already.
    Unchanged,
    /// It is no more.
    Removed,
}

/// A peer as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its public key.
    pub public_key: Text<PublicKey>,
    /// Its addresses in the tunnel.
    pub addresses: Vec<IpAddr>,
    /// What it has of its own.
    #[serde(default)]
    pub settings: Settings,
    /// Where it was last heard from.
    #[serde(default)]
    pub endpoint: Option<SocketAddr>,
    /// Seconds since 1970 at its latest handshake.
    #[serde(default)]
    pub latest_handshake: Option<u64>,
    /// Whether it has a session.
    pub connected: bool,
    /// Bytes that the gateway received from it.
    pub received_bytes: u64,
    /// Bytes that the gateway sent to it.
    pub sent_bytes: u64,
}

impl Request {
    /// Reads a line.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn read(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| format!("not a request: {error}"))
    }

    /// Reads what came on a socket.
    pub(crate) fn of_line(line: Result<Zeroizing<Vec<u8>>, TooLong>) -> Result<Self, String> {
        Self::read(&line.map_err(|error| error.to_string())?)
    }
}

/// A value as a line.
pub fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("names, numbers and texts can be written");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_what_they_were() {
        let cases = [
            (
                Request::Add {
                    peers: vec![NewPeer {
                        name: "phone".to_owned(),
                        ..NewPeer::default()
                    }],
                },
                r#"{"do":"add","peers":[{"name":"phone","settings":{}}]}"#,
            ),
            (
                Request::Remove {
                    names: vec!["a".to_owned()],
                    keep: false,
                },
                r#"{"do":"remove","names":["a"],"keep":false}"#,
            ),
            (Request::List { names: Vec::new() }, r#"{"do":"list","names":[]}"#),
            (Request::Health {}, r#"{"do":"health"}"#),
            (
                Request::Token {
                    new: true,
                    host: Some("vpn.example.com".to_owned()),
                },
                r#"{"do":"token","new":true,"host":"vpn.example.com"}"#,
            ),
        ];
        for (request, text) in cases {
            assert_eq!(String::from_utf8(line(&request)).unwrap().trim_end(), text);
            assert_eq!(Request::read(text.as_bytes()), Ok(request));
        }
        // What may be left out.
        for text in [
            r#"{"do":"add","peers":[{"name":"x"}]}"#,
            r#"{"do":"set","names":["x"]}"#,
            r#"{"do":"remove","names":[]}"#,
            r#"{"do":"list"}"#,
            r#"{"do":"token"}"#,
        ] {
            Request::read(text.as_bytes()).unwrap();
        }
        for text in [
            "",
            "{}",
            "[1]",
            r#"{"do":"fly"}"#,
            r#"{"do":"add","peers":[{"name":1}]}"#,
            r#"{"do":"add","peers":[{"name":"x","allow":["10.0.0.0/8"]}]}"#,
            r#"{"do":"add","peers":[{"name":"x","settings":{"allowed":["10.0.0.0/8"]}}]}"#,
            r#"{"do":"add","peers":[{"name":"x"}],"allow":["10.0.0.0/8"]}"#,
            r#"{"do":"set","names":["x"],"allow":["10.0.0.0/8"]}"#,
            r#"{"do":"remove","names":["x"],"kept":true}"#,
            r#"{"do":"list","name":"x"}"#,
            r#"{"do":"health","of":"x"}"#,
            "\u{0}",
        ] {
            assert!(Request::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
