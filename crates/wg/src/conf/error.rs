//! What is wrong with configuration text, where, and what would be right.

use super::{Key, SectionKind};
use crate::{IpNet, KeyError};

/// A place in a configuration and what is wrong there. Shows no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {fault}")]
pub struct Error {
    /// The file's name, as the caller gave it.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong in a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// More text than any configuration has.
    #[error("more than {} MiB of text; this is no WireGuard configuration", super::MAX_TEXT >> 20)]
    TooLong,
    /// A section that does not exist.
    #[error("the sections are [Interface] and [Peer]")]
    Section,
    /// Something before the first section.
    #[error("begin with a section: [Interface] or [Peer]")]
    OutsideSection,
    /// A line that is nothing at all.
    #[error("a line is `Key = value`, [Interface], [Peer], or a comment after `#`")]
    NoEquals,
    /// A key that no section has.
    #[error("unknown key {found}in [{section}]; {}", suggest(*nearest, *section))]
    UnknownKey {
        /// The key in quotes and a blank, or nothing if it may not be shown.
        found: String,
        /// The section that it stands in.
        section: SectionKind,
        /// What it was probably meant to be.
        nearest: Option<Key>,
    },
    /// A key that stands in the other section.
    #[error("{key} belongs to [{}]; here is [{section}]", key.section())]
    WrongSection {
        /// The key.
        key: Key,
        /// The section that it stands in.
        section: SectionKind,
    },
    /// A value that its key does not take.
    #[error("{key}: {}{error}", quote(found.as_deref()))]
    Value {
        /// The key.
        key: Key,
        /// The value or its part that is wrong; `None` if it may be a secret.
        found: Option<String>,
        /// What would be right.
        error: ValueError,
    },
    /// A peer without a name.
    #[error("this [Peer] has no PublicKey; add `PublicKey = …`")]
    NoPublicKey,
    /// A warning: a peer that has another section.
    #[error(
        "this peer has another section, in line {first}; make one of them, as AllowedIPs of this one replace those"
    )]
    PeerTwice {
        /// The line of the other section.
        first: usize,
    },
    /// A warning: a network that another peer has too.
    #[error("AllowedIPs: {network} is taken from the peer in line {first}, as a network has one peer")]
    NetworkTwice {
        /// The network.
        network: IpNet,
        /// The line of the peer that loses it.
        first: usize,
    },
}

/// Why a value cannot be used, and what can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// No WireGuard key.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// No number, or one that is too small or great.
    #[error("a number from {min} to {max}")]
    Number {
        /// The least value.
        min: u32,
        /// The greatest value.
        max: u32,
    },
    /// No keepalive interval.
    #[error("seconds from 1 to 65535, or `off`")]
    Keepalive,
    /// No firewall mark.
    #[error("a number up to 0xffffffff, decimal or hexadecimal with 0x, or `off`")]
    FwMark,
    /// No routing table.
    #[error("`auto`, `off`, `main` or the number of a table from 1 to 4294967295")]
    Table,
    /// No truth value.
    #[error("`true` or `false`")]
    Bool,
    /// No address.
    #[error("an IP address such as 10.0.0.2/24 or fd00::2/64")]
    Address,
    /// A prefix length that the family does not have.
    #[error("an IPv4 prefix length is 0 to 32")]
    Ipv4Prefix,
    /// A prefix length that the family does not have.
    #[error("an IPv6 prefix length is 0 to 128")]
    Ipv6Prefix,
    /// Nothing between two commas.
    #[error("an address is missing beside a comma")]
    EmptyItem,
    /// Two addresses with a blank between them.
    #[error("put a comma between addresses")]
    MissingComma,
    /// Neither an address nor a domain.
    #[error("the address of a DNS server, or a domain to search")]
    Dns,
    /// An endpoint without its port.
    #[error("the port is missing; write HOST:PORT, such as vpn.example.com:51820 or [2001:db8::1]:51820")]
    NoPort,
    /// A port that does not exist.
    #[error("a port is 1 to 65535")]
    Port,
    /// A bracket that is not closed.
    #[error("the `]` is missing; write [ADDRESS]:PORT, such as [2001:db8::1]:51820")]
    Bracket,
    /// No address and no name.
    #[error("an IP address or a name, then `:` and the port, such as vpn.example.com:51820")]
    Host,
    /// No interface after `%`.
    #[error("the name of an interface follows `%`, such as [fe80::1%eth0]:51820")]
    Zone,
    /// A zero byte.
    #[error("a command has no zero bytes")]
    Nul,
}

impl Fault {
    /// Builds [`Fault::Value`]; the values of secret keys are left out, long ones are cut.
    pub(super) fn value(key: Key, found: &str, error: ValueError) -> Self {
        let found = (!key.is_secret()).then(|| match found.char_indices().nth(64) {
            Some((end, _)) => format!("{}…", &found[..end]),
            None => found.to_owned(),
        });
        Self::Value { key, found, error }
    }

    /// Builds [`Fault::UnknownKey`]; what may be more than a key's name is left out.
    pub(super) fn unknown_key(found: &str, section: SectionKind) -> Self {
        let shown = found.chars().count() <= 24 && found.chars().all(char::is_alphanumeric);
        Self::UnknownKey {
            found: if shown { format!("`{found}` ") } else { String::new() },
            section,
            nearest: Key::nearest(found, section),
        }
    }
}

fn quote(found: Option<&str>) -> String {
    found.map(|text| format!("{text:?}: ")).unwrap_or_default()
}

fn suggest(nearest: Option<Key>, section: SectionKind) -> String {
    match nearest {
        Some(key) => format!("did you mean {key}?"),
        None => {
            let names: Vec<&str> = Key::of(section).map(Key::name).collect();
            format!("its keys are {}", names.join(", "))
        }
    }
}
