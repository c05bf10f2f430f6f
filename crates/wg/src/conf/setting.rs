//! The keys of a configuration and their values.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use zeroize::Zeroizing;

use super::{Endpoint, text};
use crate::{AllowedIpChange, IpNet, PresharedKey, PrivateKey, PublicKey};

/// One of the two kinds of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// `[Interface]`
    Interface,
    /// `[Peer]`
    Peer,
}

/// What a line can set. Displays as `wg` and `wg-quick` spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is documented where its value is, in Setting")]
pub enum Key {
    PrivateKey,
    ListenPort,
    FwMark,
    Address,
    Dns,
    Mtu,
    Table,
    PreUp,
    PostUp,
    PreDown,
    PostDown,
    SaveConfig,
    PublicKey,
    PresharedKey,
    AllowedIps,
    Endpoint,
    PersistentKeepalive,
}

/// A key with its value: what one line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The interface's own key.
    PrivateKey(PrivateKey),
    /// UDP port; zero lets the kernel choose.
    ListenPort(u16),
    /// Mark on outgoing encrypted packets; zero is none, `off`.
    FwMark(u32),
    /// Addresses of the interface, with their prefix lengths; host bits are kept.
    Address(Vec<IpNet>),
    /// Name servers and search domains.
    Dns(Vec<Dns>),
    /// Largest packet inside the tunnel, in bytes.
    Mtu(u16),
    /// Where routes to the peers go.
    Table(Table),
    /// A command before the interface is up; `%i` is its name.
    PreUp(String),
    /// A command when the interface is up.
    PostUp(String),
    /// A command before the interface goes.
    PreDown(String),
    /// A command when the interface is gone.
    PostDown(String),
    /// Whether the interface's state is written to the file when it goes down.
    SaveConfig(bool),
    /// Which peer this is.
    PublicKey(PublicKey),
    /// Mixed into the handshake; 32 zero bytes are none.
    PresharedKey(PresharedKey),
    /// Networks that are the peer's; `-` before one takes it away again.
    AllowedIps(Vec<AllowedIpChange>),
    /// Where the peer is.
    Endpoint(Endpoint),
    /// Seconds between keepalives; zero is never, `off`.
    PersistentKeepalive(u16),
}

/// An item of a `DNS` line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dns {
    /// A name server.
    Server(IpAddr),
    /// A name server with a link-local address, and the interface that it is on.
    Zoned(Ipv6Addr, String),
    /// A domain in which short names are searched.
    Search(String),
}

/// Where the routes to the peers' networks go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// To the main table, or, for default routes, to one of their own behind a rule.
    #[default]
    Auto,
    /// No routes are made.
    Off,
    /// To the table with this number.
    Number(u32),
}

/// Every key with its name, in the order in which they are written.
const NAMES: [(Key, &str); 17] = [
    (Key::Address, "Address"),
    (Key::PrivateKey, "PrivateKey"),
    (Key::ListenPort, "ListenPort"),
    (Key::Dns, "DNS"),
    (Key::Mtu, "MTU"),
    (Key::FwMark, "FwMark"),
    (Key::Table, "Table"),
    (Key::PreUp, "PreUp"),
    (Key::PostUp, "PostUp"),
    (Key::PreDown, "PreDown"),
    (Key::PostDown, "PostDown"),
    (Key::SaveConfig, "SaveConfig"),
    (Key::PublicKey, "PublicKey"),
    (Key::PresharedKey, "PresharedKey"),
    (Key::AllowedIps, "AllowedIPs"),
    (Key::Endpoint, "Endpoint"),
    (Key::PersistentKeepalive, "PersistentKeepalive"),
];

impl Key {
    /// The key's name, as `wg` and `wg-quick` spell it.
    pub fn name(self) -> &'static str {
        let entry = NAMES.iter().find(|(key, _)| *key == self);
        entry.map_or("", |(_, name)| name)
    }

    /// The section that the key belongs to.
    pub fn section(self) -> SectionKind {
        match self {
            Self::PublicKey | Self::PresharedKey | Self::AllowedIps | Self::Endpoint | Self::PersistentKeepalive => {
                SectionKind::Peer
            }
            Self::PrivateKey
            | Self::ListenPort
            | Self::FwMark
            | Self::Address
            | Self::Dns
            | Self::Mtu
            | Self::Table
            | Self::PreUp
            | Self::PostUp
            | Self::PreDown
            | Self::PostDown
            | Self::SaveConfig => SectionKind::Interface,
        }
    }

    /// Whether values of this key are never shown.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::PrivateKey | Self::PresharedKey)
    }

    /// The keys of a section, in the order in which they are written.
    pub(super) fn of(section: SectionKind) -> impl Iterator<Item = Self> {
        NAMES
            .iter()
            .map(|(key, _)| *key)
            .filter(move |key| key.section() == section)
    }

    /// The key with this name, in any case.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let entry = NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
        entry.map(|(key, _)| *key)
    }

    /// The key of a section that `name` was probably meant to be.
    pub(super) fn nearest(name: &str, section: SectionKind) -> Option<Self> {
        text::nearest(name, Self::of(section).map(Self::name)).and_then(Self::from_name)
    }
}

impl Setting {
    /// The setting's key.
    pub fn key(&self) -> Key {
        match self {
            Self::PrivateKey(_) => Key::PrivateKey,
            Self::ListenPort(_) => Key::ListenPort,
            Self::FwMark(_) => Key::FwMark,
            Self::Address(_) => Key::Address,
            Self::Dns(_) => Key::Dns,
            Self::Mtu(_) => Key::Mtu,
            Self::Table(_) => Key::Table,
            Self::PreUp(_) => Key::PreUp,
            Self::PostUp(_) => Key::PostUp,
            Self::PreDown(_) => Key::PreDown,
            Self::PostDown(_) => Key::PostDown,
            Self::SaveConfig(_) => Key::SaveConfig,
            Self::PublicKey(_) => Key::PublicKey,
            Self::PresharedKey(_) => Key::PresharedKey,
            Self::AllowedIps(_) => Key::AllowedIps,
            Self::Endpoint(_) => Key::Endpoint,
            Self::PersistentKeepalive(_) => Key::PersistentKeepalive,
        }
    }

    /// The value as a configuration has it; keys are in it.
    pub(super) fn danger_value(&self) -> Zeroizing<String> {
        Zeroizing::new(match self {
            Self::PrivateKey(key) => return key.danger_base64(),
            Self::PresharedKey(key) => return key.danger_base64(),
            Self::ListenPort(number) | Self::Mtu(number) => number.to_string(),
            Self::FwMark(0) | Self::PersistentKeepalive(0) => "off".to_owned(),
            Self::FwMark(mark) => format!("{mark:#x}"),
            Self::PersistentKeepalive(secs) => secs.to_string(),
            Self::Address(addresses) => join(addresses),
            Self::Dns(items) => join(items),
            Self::Table(table) => table.to_string(),
            Self::PreUp(command) | Self::PostUp(command) | Self::PreDown(command) | Self::PostDown(command) => {
                command.clone()
            }
            Self::SaveConfig(save) => save.to_string(),
            Self::PublicKey(key) => key.to_string(),
            Self::AllowedIps(changes) => {
                let items: Vec<String> = changes.iter().map(write_change).collect();
                items.join(", ")
            }
            Self::Endpoint(endpoint) => endpoint.to_string(),
        })
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interface => "Interface",
            Self::Peer => "Peer",
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(address) => address.fmt(f),
            Self::Zoned(address, zone) => write!(f, "{address}%{zone}"),
            Self::Search(domain) => f.write_str(domain),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

fn join<T: fmt::Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

fn write_change(change: &AllowedIpChange) -> String {
    match change {
        AllowedIpChange::Add(network) => network.to_string(),
        AllowedIpChange::Remove(network) => format!("-{network}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_own_name() {
        for (key, name) in NAMES {
            assert_eq!(key.name(), name);
            assert_eq!(Key::from_name(&name.to_uppercase()), Some(key));
        }
    }
}
