//! What a command has said about a peer, kept beside the peer's keys: `/config/peer_NAME/.adit.json`.
//!
//! `PEERS` says who is listed; records say who was added, removed or given something of its own since. So the peers of
//! a gateway are those that are listed or added, without those that were removed.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wg::{Access, Destination, PublicKey};

use crate::text::{Text, texts, values};

/// The name of the file.
pub const FILE_NAME: &str = ".adit.json";

/// What commands have said about one peer. A peer that none has spoken of has no record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Fields", into = "Fields")]
pub struct Record {
    /// Whether it is a peer, whatever the list says.
    pub standing: Standing,
    /// Its public key, if its private key was born elsewhere and stays there.
    pub public_key: Option<Text<PublicKey>>,
    /// Whether it came by the API, which changes and removes no other.
    pub by_api: bool,
    /// What it was given of its own.
    pub settings: Settings,
}

/// A record as it is written: all in one object. What is not known is refused; it may be a rule.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default, skip_serializing_if = "Standing::is_listed")]
    standing: Standing,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<Text<PublicKey>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    by_api: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    networks: Option<Vec<Text<IpNet>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keepalive: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allow: Option<Vec<Text<Destination>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer_to_peer: Option<bool>,
}

impl From<Fields> for Record {
    fn from(fields: Fields) -> Self {
        let Fields {
            standing,
            public_key,
            by_api,
            networks,
            keepalive,
            allow,
            peer_to_peer,
        } = fields;
        Self {
            standing,
            public_key,
            by_api,
            settings: Settings {
                networks,
                keepalive,
                allow,
                peer_to_peer,
            },
        }
    }
}

impl From<Record> for Fields {
    fn from(record: Record) -> Self {
        let Record {
            standing,
            public_key,
            by_api,
            settings,
        } = record;
        let Settings {
            networks,
            keepalive,
            allow,
            peer_to_peer,
        } = settings;
        Self {
            standing,
            public_key,
            by_api,
            networks,
            keepalive,
            allow,
            peer_to_peer,
        }
    }
}

/// Whether somebody is a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// As the list has it.
    #[default]
    Listed,
    /// Yes: it was added.
    Added,
    /// No: it was removed, and its files are to go.
    Removed,
    /// No: it was removed, and its files stay.
    Kept,
}

impl Standing {
    fn is_listed(&self) -> bool {
        *self == Self::Listed
    }

    /// Whether it is a peer that `listed` says is in the list.
    pub fn is_peer(self, listed: bool) -> bool {
        match self {
            Self::Listed => listed,
            Self::Added => true,
            Self::Removed | Self::Kept => false,
        }
    }
}

/// What one peer has of its own; what is `None` is as the environment says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Networks behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<Text<IpNet>>>,
    /// Seconds between the keepalives that the gateway sends; zero is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<u16>,
    /// The only destinations that it reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Text<Destination>>>,
    /// Whether it and other peers reach each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_to_peer: Option<bool>,
}

impl Settings {
    /// These settings with what `newer` says in their place.
    #[must_use]
    pub fn with(&self, newer: &Self) -> Self {
        Self {
            networks: newer.networks.as_ref().or(self.networks.as_ref()).cloned(),
            keepalive: newer.keepalive.or(self.keepalive),
            allow: newer.allow.as_ref().or(self.allow.as_ref()).cloned(),
            peer_to_peer: newer.peer_to_peer.or(self.peer_to_peer),
        }
    }

    /// The rules among them.
    pub fn access(&self) -> Access {
        Access {
            destinations: self.allow.as_deref().map(values),
            peer_to_peer: self.peer_to_peer,
        }
    }

    /// The networks among them.
    pub fn own_networks(&self) -> Option<Vec<IpNet>> {
        self.networks.as_deref().map(values)
    }

    /// Settings with these networks and rules.
    pub fn new(networks: Option<&[IpNet]>, keepalive: Option<u16>, access: &Access) -> Self {
        Self {
            networks: networks.map(texts),
            keepalive,
            allow: access.destinations.as_deref().map(texts),
            peer_to_peer: access.peer_to_peer,
        }
    }
}

impl Record {
    /// Whether nothing is said: such a record needs no file.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads a file's content.
    ///
    /// # Errors
    ///
    /// Says what is wrong, and where.
    pub fn read(text: &str) -> Result<Self, String> {
        // A list would do for fields that may all be left out.
        if !text.trim_start().starts_with('{') {
            return Err("a record is a JSON object".to_owned());
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// The file's content.
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string(self).expect("a record has only texts and numbers");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let full = Record {
            standing: Standing::Added,
            public_key: Some(Text(PublicKey::from_bytes([7; 32]))),
            settings: Settings {
                networks: Some(vec![Text("192.168.1.0/24".parse().unwrap())]),
                keepalive: Some(25),
                allow: Some(vec![Text("192.0.2.1:443/tcp".parse().unwrap())]),
                peer_to_peer: Some(false),
            },
            by_api: true,
        };
        for record in [
            Record::default(),
            full,
            Record {
                standing: Standing::Removed,
                ..Record::default()
            },
        ] {
            assert_eq!(Record::read(&record.text()), Ok(record));
        }
        assert_eq!(Record::default().text(), "{}\n");
        for wrong in [
            "",
            "[]",
            "{\"standing\":\"gone\"}",
            "{\"networks\":[\"x\"]}",
            "{\"keepalive\":-1}",
            "{\"allowed\":[]}",
        ] {
            assert!(Record::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_is_a_peer_follows_from_the_list_and_the_record() {
        for (standing, listed, is_peer) in [
            (Standing::Listed, true, true),
            (Standing::Listed, false, false),
            (Standing::Added, false, true),
            (Standing::Added, true, true),
            (Standing::Removed, true, false),
            (Standing::Kept, true, false),
        ] {
            assert_eq!(standing.is_peer(listed), is_peer, "{standing:?} {listed}");
        }
    }
}
