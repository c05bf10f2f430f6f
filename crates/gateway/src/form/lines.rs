//! Changes to the `[Interface]` of a rendered configuration, which leave every other line as it is.

use std::net::IpAddr;

use ipnet::IpNet;
use zeroize::Zeroizing;

/// What a line is about.
enum Line<'a> {
    Section(&'a str),
    Setting { key: &'a str, value: &'a str },
    Other,
}

fn read(line: &str) -> Line<'_> {
    let content = line.split('#').next().unwrap_or_default().trim();
    if content.starts_with('[') {
        return Line::Section(content);
    }
    match content.split_once('=') {
        Some((key, value)) => Line::Setting {
            key: key.trim(),
            value: value.trim(),
        },
        None => Line::Other,
    }
}

/// Calls `change` for the value of each setting of `[Interface]` with this key. A line is left as it is for `None`, and
/// is gone if its value becomes empty.
fn change(text: &str, key: &str, mut change: impl FnMut(&str) -> Option<String>) -> Zeroizing<String> {
    let mut changed = Zeroizing::new(String::with_capacity(text.len() + 64));
    let mut is_interface = false;
    for line in text.split_inclusive('\n') {
        match read(line) {
            Line::Section(section) => is_interface = section.eq_ignore_ascii_case("[interface]"),
            Line::Setting { key: found, value } if is_interface && found.eq_ignore_ascii_case(key) => {
                match change(value).as_deref() {
                    Some("") => continue,
                    Some(new) => {
                        // Of what stands before the value only blanks and the key can be.
                        let (before, after) = line.split_once('=').unwrap_or((line, ""));
                        let after = after.strip_prefix(' ').unwrap_or(after);
                        let rest = after.strip_prefix(value).unwrap_or("\n");
                        changed.extend([before, "= ", new, rest]);
                        continue;
                    }
                    None => {}
                }
            }
            Line::Setting { .. } | Line::Other => {}
        }
        changed.push_str(line);
    }
    changed
}

/// The line of the first section with this head in lower case, counted from one.
pub(super) fn of_section(text: &str, head: &str) -> Option<usize> {
    let is_head = |line: &str| matches!(read(line), Line::Section(found) if found.eq_ignore_ascii_case(head));
    text.lines().position(is_head).map(|index| index + 1)
}

/// The line of the first setting with this key, counted from one.
pub(super) fn of_key(text: &str, key: &str) -> Option<usize> {
    let is_key = |line: &str| matches!(read(line), Line::Setting { key: found, .. } if found.eq_ignore_ascii_case(key));
    text.lines().position(is_key).map(|index| index + 1)
}

/// Removes a setting that has no value.
pub(super) fn without_empty(text: &str, key: &str) -> Zeroizing<String> {
    change(text, key, |value| value.is_empty().then(String::new))
}

/// Gives a setting its value: in place of the one that it has, else as the last of `[Interface]`.
pub(super) fn set(text: &str, key: &str, value: &str) -> Zeroizing<String> {
    let mut is_set = false;
    let changed = change(text, key, |_| {
        let first = !std::mem::replace(&mut is_set, true);
        Some(if first { value.to_owned() } else { String::new() })
    });
    if is_set {
        return changed;
    }
    let mut end = 0;
    let mut at = 0;
    let mut is_interface = false;
    for line in text.split_inclusive('\n') {
        at += line.len();
        match read(line) {
            Line::Section(section) => is_interface = section.eq_ignore_ascii_case("[interface]"),
            Line::Setting { .. } | Line::Other => {}
        }
        if is_interface && !line.trim().is_empty() {
            end = at;
        }
    }
    let (before, after) = text.split_at(end);
    Zeroizing::new(format!("{before}{key} = {value}\n{after}"))
}

/// The addresses of `[Interface]`, as they are written.
pub(crate) fn addresses(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let _unchanged = change(text, "Address", |value| {
        found.extend(value.split(',').map(|item| item.trim().to_owned()));
        None
    });
    found
}

/// Gives `[Interface]` these addresses in place of those that it has.
pub(crate) fn set_addresses(text: &str, addresses: &[String]) -> Zeroizing<String> {
    set(text, "Address", &addresses.join(", "))
}

/// Adds those of the addresses that are of a family of which `[Interface]` has none, to its first `Address`.
///
/// IPv4 comes last, as in [`in_order`].
pub(super) fn add_addresses(text: &str, wanted: &[IpAddr]) -> Zeroizing<String> {
    let there: Vec<IpAddr> = addresses(text).iter().filter_map(|item| address(item)).collect();
    let is_missing = |wanted: &&IpAddr| !there.iter().any(|there| there.is_ipv4() == wanted.is_ipv4());
    let missing: Vec<IpAddr> = wanted.iter().filter(is_missing).copied().collect();
    if missing.is_empty() {
        return Zeroizing::new(text.to_owned());
    }
    let list = |is_ipv4: bool| {
        let family = missing.iter().filter(move |address| address.is_ipv4() == is_ipv4);
        family.map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let (six, four) = (list(false), list(true));
    let mut is_done = false;
    change(text, "Address", |value| {
        let is_first = !std::mem::replace(&mut is_done, true);
        is_first.then(|| {
            let parts = [six.as_str(), value, four.as_str()];
            let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            parts.join(", ")
        })
    })
}

/// The addresses as they stand in a line `Address`: IPv4 last. linuxserver's image keeps of a client's line the last
/// field alone, and knows no IPv6: who returns to it keeps the addresses that it gave.
pub(crate) fn in_order(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut addresses = addresses.to_vec();
    addresses.sort_by_key(IpAddr::is_ipv4);
    addresses
}

/// Puts another address in the place of one, whatever prefix length it has.
pub(super) fn replace_address(text: &str, old: &str, new: &str) -> Zeroizing<String> {
    change(text, "Address", |value| {
        let item = |item: &str| match item.split_once('/') {
            Some((address, prefix_len)) if address == old => format!("{new}/{prefix_len}"),
            None if item == old => new.to_owned(),
            Some(_) | None => item.to_owned(),
        };
        let items: Vec<String> = value.split(',').map(|part| item(part.trim())).collect();
        let is_changed = value.split(',').map(str::trim).ne(items.iter().map(String::as_str));
        is_changed.then(|| items.join(", "))
    })
}

/// The address of an item of `Address`, with a prefix length or without.
pub(super) fn address(item: &str) -> Option<IpAddr> {
    let net = item.parse::<IpNet>().ok().map(|net| net.addr());
    net.or_else(|| item.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str =
        "# top\n[Interface]\naddress=10.0.0.2/32 # mine\nDNS = \n# key\nPrivateKey = x=\n\n[Peer]\nDNS = \n";

    #[test]
    fn a_change_leaves_the_other_lines_as_they_are() {
        let six = ["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        for (changed, expected) in [
            (
                add_addresses(CONF, &six),
                CONF.replace("address=10.0.0.2/32 # mine", "address= fd00::2, 10.0.0.2/32 # mine"),
            ),
            (without_empty(CONF, "DNS"), CONF.replacen("DNS = \n", "", 1)),
            (set(CONF, "mtu", "1400"), CONF.replace("x=\n", "x=\nmtu = 1400\n")),
            (set(CONF, "DNS", "a"), CONF.replacen("DNS = \n", "DNS = a\n", 1)),
            (
                replace_address(CONF, "10.0.0.2", "10.0.0.9"),
                CONF.replace("address=10.0.0.2", "address= 10.0.0.9"),
            ),
            (replace_address(CONF, "10.0.0.1", "10.0.0.9"), CONF.to_owned()),
        ] {
            assert_eq!(*changed, expected);
        }
        let both = "[Interface]\nAddress = 10.0.0.2\nAddress = fd00::7/64\n";
        assert_eq!(*add_addresses(both, &six), both);
        assert_eq!(addresses(both), ["10.0.0.2", "fd00::7/64"]);
        for (address, expected) in [("", "fd00::2, 10.0.0.2"), (" fd00::7", "fd00::7, 10.0.0.2")] {
            let conf = format!("[Interface]\nAddress ={address}\n");
            assert_eq!(
                *add_addresses(&conf, &six),
                format!("[Interface]\nAddress = {expected}\n")
            );
        }
        assert_eq!(
            *set("[Interface]\nMTU = 1\nMTU = 2\n", "MTU", "3"),
            "[Interface]\nMTU = 3\n"
        );
    }
}
