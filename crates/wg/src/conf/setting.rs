//! The keys of a configuration and their values.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use zeroize::Zeroizing;

use super::{Endpoint, ValueError, text};
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

    /// Reads the key's value. An error comes with the byte where the part that it is about begins, and that part.
    pub(super) fn read(self, value: &str) -> Result<Setting, (usize, &str, ValueError)> {
        // `wg` takes blanks out of its values, `wg-quick` does not look into its own.
        let squeezed = Zeroizing::new(text::squeeze(value));
        let of_wg = squeezed.as_str();
        let number = |min: u16, max: u16| {
            text::number(of_wg)
                .filter(|found| (min..=max).contains(found))
                .ok_or(ValueError::Number {
                    min: min.into(),
                    max: max.into(),
                })
        };
        let command = || match value.contains('\0') {
            true => Err(ValueError::Nul),
            false => Ok(value.to_owned()),
        };
        let setting = match self {
            Self::PrivateKey => PrivateKey::from_base64(of_wg)
                .map(Setting::PrivateKey)
                .map_err(ValueError::Key),
            Self::ListenPort => number(0, u16::MAX).map(Setting::ListenPort),
            Self::FwMark => read_mark(of_wg).map(Setting::FwMark),
            Self::Address => return read_addresses(value).map(Setting::Address),
            Self::Dns => return read_dns(value).map(Setting::Dns),
            Self::Mtu => number(68, u16::MAX).map(Setting::Mtu),
            Self::Table => read_table(value).map(Setting::Table),
            Self::PreUp => command().map(Setting::PreUp),
            Self::PostUp => command().map(Setting::PostUp),
            Self::PreDown => command().map(Setting::PreDown),
            Self::PostDown => command().map(Setting::PostDown),
            Self::SaveConfig => read_bool(value).map(Setting::SaveConfig),
            Self::PublicKey => of_wg.parse().map(Setting::PublicKey).map_err(ValueError::Key),
            Self::PresharedKey => PresharedKey::from_base64(of_wg)
                .map(Setting::PresharedKey)
                .map_err(ValueError::Key),
            Self::AllowedIps => return read_allowed_ips(value).map(Setting::AllowedIps),
            Self::Endpoint => of_wg.parse().map(Setting::Endpoint),
            Self::PersistentKeepalive => read_keepalive(of_wg).map(Setting::PersistentKeepalive),
        };
        setting.map_err(|error| (0, value, error))
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

fn read_mark(value: &str) -> Result<u32, ValueError> {
    if value.eq_ignore_ascii_case("off") {
        return Ok(0);
    }
    text::any_number(value).ok_or(ValueError::FwMark)
}

fn read_keepalive(value: &str) -> Result<u16, ValueError> {
    if value.eq_ignore_ascii_case("off") {
        return Ok(0);
    }
    text::number(value).ok_or(ValueError::Keepalive)
}

fn read_bool(value: &str) -> Result<bool, ValueError> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(ValueError::Bool),
    }
}

/// Reads what `ip route` takes for a table, but for names of the host's own making.
fn read_table(value: &str) -> Result<Table, ValueError> {
    match value.to_ascii_lowercase().as_str() {
        "auto" => Ok(Table::Auto),
        "off" => Ok(Table::Off),
        "default" => Ok(Table::Number(253)),
        "main" => Ok(Table::Number(254)),
        "local" => Ok(Table::Number(255)),
        other => match text::any_number(other) {
            Some(number) if number != 0 => Ok(Table::Number(number)),
            _ => Err(ValueError::Table),
        },
    }
}

fn is_list_separator(character: char) -> bool {
    character == ',' || text::is_blank(character)
}

fn read_addresses(value: &str) -> Result<Vec<IpNet>, (usize, &str, ValueError)> {
    text::items(value, is_list_separator)
        .filter(|(_, item)| !item.is_empty())
        .map(|(at, item)| read_network(item).map_err(|error| (at, item, error)))
        .collect()
}

fn read_dns(value: &str) -> Result<Vec<Dns>, (usize, &str, ValueError)> {
    text::items(value, is_list_separator)
        .filter(|(_, item)| !item.is_empty())
        .map(|(at, item)| {
            // What looks like an address must be one, as for `wg-quick`.
            let numeric = item.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            if let Ok(address) = item.parse() {
                Ok(Dns::Server(address))
            } else if numeric || !text::is_domain(item) {
                Err((at, item, ValueError::Dns))
            } else {
                Ok(Dns::Search(item.to_owned()))
            }
        })
        .collect()
}

fn read_allowed_ips(value: &str) -> Result<Vec<AllowedIpChange>, (usize, &str, ValueError)> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    text::items(value, |character| character == ',')
        .map(|(at, item)| {
            let squeezed = text::squeeze(item);
            let (removes, network) = match squeezed.strip_prefix('-') {
                Some(rest) => (true, rest),
                None => (false, squeezed.strip_prefix('+').unwrap_or(&squeezed)),
            };
            match read_network(network) {
                Ok(network) if removes => Ok(AllowedIpChange::Remove(network.trunc())),
                Ok(network) => Ok(AllowedIpChange::Add(network.trunc())),
                Err(_) if item.is_empty() => Err((at, item, ValueError::EmptyItem)),
                Err(_) if item.contains(text::is_blank) => Err((at, item, ValueError::MissingComma)),
                Err(error) => Err((at, item, error)),
            }
        })
        .collect()
}

/// An address with or without a prefix length; without, it stands for itself alone.
fn read_network(item: &str) -> Result<IpNet, ValueError> {
    let (address, length) = match item.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (item, None),
    };
    let address: IpAddr = address.parse().map_err(|_| ValueError::Address)?;
    let Some(length) = length else {
        return Ok(IpNet::from(address));
    };
    let wrong = match address {
        IpAddr::V4(Ipv4Addr { .. }) => ValueError::Ipv4Prefix,
        IpAddr::V6(_) => ValueError::Ipv6Prefix,
    };
    text::number(length)
        .and_then(|length| IpNet::new(address, length).ok())
        .ok_or(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_reads_back_from_what_is_written() {
        for (key, value, written) in [
            (Key::ListenPort, "0", "0"),
            (Key::ListenPort, "65 535", "65535"),
            (Key::FwMark, "OFF", "off"),
            (Key::FwMark, "0xCA6C", "0xca6c"),
            (Key::FwMark, "51820", "0xca6c"),
            (Key::FwMark, "0", "off"),
            (
                Key::Address,
                "10.0.0.1/24,fd00::1/64  10.9.9.9,",
                "10.0.0.1/24, fd00::1/64, 10.9.9.9/32",
            ),
            (Key::Address, "", ""),
            (
                Key::Dns,
                "1.1.1.1 ,corp.example,2606:4700::1111",
                "1.1.1.1, corp.example, 2606:4700::1111",
            ),
            (Key::Mtu, "1420", "1420"),
            (Key::Table, "Off", "off"),
            (Key::Table, "auto", "auto"),
            (Key::Table, "main", "254"),
            (Key::Table, "0x1f", "31"),
            (Key::Table, "4294967295", "4294967295"),
            (Key::PostUp, "iptables -A %i; echo a, b", "iptables -A %i; echo a, b"),
            (Key::SaveConfig, "TRUE", "true"),
            (Key::AllowedIps, "", ""),
            (Key::AllowedIps, "10.1.2.3/8,::/0", "10.0.0.0/8, ::/0"),
            (Key::AllowedIps, "10.1.2.3, fd00::1", "10.1.2.3/32, fd00::1/128"),
            (Key::AllowedIps, "+10.0.0.0/8, -10.1.0.0/16", "10.0.0.0/8, -10.1.0.0/16"),
            (Key::AllowedIps, "10.0.0. 0 / 8", "10.0.0.0/8"),
            (Key::Endpoint, "vpn.example.com : 51820", "vpn.example.com:51820"),
            (Key::PersistentKeepalive, "off", "off"),
            (Key::PersistentKeepalive, "0", "off"),
            (Key::PersistentKeepalive, "25", "25"),
        ] {
            let setting = key.read(value).unwrap();
            assert_eq!(setting.key(), key);
            assert_eq!(*setting.danger_value(), written, "{key} = {value}");
            assert_eq!(key.read(written), Ok(setting), "{key} = {value}");
        }
    }

    #[test]
    fn a_wrong_value_is_told_with_its_place() {
        for (key, value, at, item, error) in [
            (
                Key::ListenPort,
                "65536",
                0,
                "65536",
                ValueError::Number { min: 0, max: 65535 },
            ),
            (Key::FwMark, "0x", 0, "0x", ValueError::FwMark),
            (
                Key::Address,
                "10.0.0.1/24, 10.0.0.0/33",
                13,
                "10.0.0.0/33",
                ValueError::Ipv4Prefix,
            ),
            (Key::Address, "fd00::/129", 0, "fd00::/129", ValueError::Ipv6Prefix),
            (Key::Address, "10.0.0.1/", 0, "10.0.0.1/", ValueError::Ipv4Prefix),
            (Key::Address, "10.0.0.1/+8", 0, "10.0.0.1/+8", ValueError::Ipv4Prefix),
            (Key::Address, "dhcp", 0, "dhcp", ValueError::Address),
            (Key::Dns, "1.1.1", 0, "1.1.1", ValueError::Dns),
            (Key::Dns, "a, b;c", 3, "b;c", ValueError::Dns),
            (Key::Mtu, "67", 0, "67", ValueError::Number { min: 68, max: 65535 }),
            (Key::Table, "0", 0, "0", ValueError::Table),
            (Key::SaveConfig, "yes", 0, "yes", ValueError::Bool),
            (Key::PreUp, "a\0", 0, "a\0", ValueError::Nul),
            (Key::AllowedIps, "10.0.0.0/8,", 11, "", ValueError::EmptyItem),
            (
                Key::AllowedIps,
                "::/0, 10.0.0.0/8 ::/0",
                6,
                "10.0.0.0/8 ::/0",
                ValueError::MissingComma,
            ),
            (Key::AllowedIps, "--10.0.0.0/8", 0, "--10.0.0.0/8", ValueError::Address),
            (Key::PersistentKeepalive, "65536", 0, "65536", ValueError::Keepalive),
            (Key::PersistentKeepalive, "", 0, "", ValueError::Keepalive),
        ] {
            assert_eq!(key.read(value), Err((at, item, error)), "{key} = {value}");
        }
    }

    #[test]
    fn every_key_has_its_own_name() {
        for (key, name) in NAMES {
            assert_eq!(key.name(), name);
            assert_eq!(Key::from_name(&name.to_uppercase()), Some(key));
        }
    }
}
