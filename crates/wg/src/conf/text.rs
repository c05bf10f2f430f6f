//! How text is cut: blanks, numbers, names, and which known name a strange one is nearest to.

use std::str::FromStr;

/// The blanks of C's `isspace`, which `wg` goes by.
pub(super) fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// The text without its blanks, wherever they are: `wg` reads keys and values so.
pub(super) fn squeeze(text: &str) -> String {
    text.chars().filter(|character| !is_blank(*character)).collect()
}

/// A decimal number without a sign.
pub(super) fn number<T: FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// A decimal number, or a hexadecimal one after `0x`.
pub(super) fn any_number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => u32::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => number(text),
    }
}

/// Whether `text` can be the name of a host or domain.
pub(super) fn is_domain(text: &str) -> bool {
    let labels = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253
        && labels.split('.').all(|label| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !label.is_empty() && label.len() <= 63 && label.bytes().all(plain)
        })
}

/// The items of a list, each without blanks around it, with the byte where it begins.
pub(super) fn items(text: &str, is_separator: impl Fn(char) -> bool) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split(is_separator).map(move |item| {
        let start = at + (item.len() - item.trim_start_matches(is_blank).len());
        // Every separator is one byte long.
        at += item.len() + 1;
        (start, item.trim_matches(is_blank))
    })
}

/// The one of `known` that `found` was probably meant to be.
pub(super) fn nearest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if found.len() < 2 || found.len() > 32 {
        return None;
    }
    let found = found.to_lowercase();
    known
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let part = found.len() > 3 && (lower.contains(&found) || found.contains(&lower));
            let distance = if part { 1 } else { distance(&found, &lower) };
            (distance <= 1 + found.len() / 3).then_some((distance, name))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many characters must be put in, taken out or changed to turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (index, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, to) in b.chars().enumerate() {
            let change = diagonal + usize::from(from != to);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_cut_with_their_places() {
        let cut: Vec<_> = items(" a,b , ,c", |character| character == ',').collect();
        assert_eq!(cut, [(1, "a"), (3, "b"), (7, ""), (8, "c")]);
    }

    #[test]
    fn numbers_are_plain_digits() {
        assert_eq!(number::<u16>("65535"), Some(65535));
        for text in ["", "+1", "-1", "65536", "1 ", "0x1"] {
            assert_eq!(number::<u16>(text), None, "{text:?}");
        }
        assert_eq!(any_number("0xCA6c"), Some(51820));
        assert_eq!(any_number("51820"), Some(51820));
        for text in ["0x", "0x+1", "0x100000000", "4294967296", "ca6c"] {
            assert_eq!(any_number(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_nearest_name_is_found_or_none_is_near() {
        let known = [
            "AllowedIPs",
            "Endpoint",
            "PersistentKeepalive",
            "PublicKey",
            "DNS",
            "MTU",
        ];
        for (found, name) in [
            ("AllowedIP", Some("AllowedIPs")),
            ("alowed-ips", Some("AllowedIPs")),
            ("EndPoints", Some("Endpoint")),
            ("Keepalive", Some("PersistentKeepalive")),
            ("PubKey", Some("PublicKey")),
            ("PublcKye", Some("PublicKey")),
            ("dn", Some("DNS")),
            ("Jmin", None),
            ("", None),
        ] {
            assert_eq!(nearest(found, known.into_iter()), name, "{found}");
        }
    }
}
