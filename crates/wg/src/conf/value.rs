//! Reads the values of settings.

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::{Dns, Host, Key, Setting, Table, ValueError, text};
use crate::{AllowedIpChange, IpNet, PresharedKey, PrivateKey};

impl Key {
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
            // `~` makes a domain one of systemd-resolved that routes questions; `~.` routes all.
            let domain = item.strip_prefix('~').unwrap_or(item);
            if let Ok(address) = item.parse() {
                Ok(Dns::Server(address))
            } else if let Ok(Host::Zoned(address, zone)) = item.parse() {
                Ok(Dns::Zoned(address, zone))
            } else if numeric || !(domain == "." || text::is_domain(domain)) {
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
        IpAddr::V4(_) => ValueError::Ipv4Prefix,
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
            (Key::Dns, "~. ~corp.example", "~., ~corp.example"),
            (Key::Dns, "fe80::1%eth0 lan", "fe80::1%eth0, lan"),
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
            (Key::Dns, ".", 0, ".", ValueError::Dns),
            (Key::Dns, "~", 0, "~", ValueError::Dns),
            (Key::Dns, "fe80::1%", 0, "fe80::1%", ValueError::Dns),
            (Key::Dns, "10.0.0.1%eth0", 0, "10.0.0.1%eth0", ValueError::Dns),
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
}
