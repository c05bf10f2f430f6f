//! What links and hosts are called.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest name of a link: its interfaces carry it, and theirs have 15 bytes.
const LINK_LEN: usize = 10;

/// Longest name of a host: a label of a domain name (*RFC 1035, 2.3.4*).
const HOST_LEN: usize = 63;

/// A name that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no name of a {what}: 1 to {len} of a to z, 0 to 9 and -, beginning with a letter")]
pub struct NameError {
    text: String,
    what: &'static str,
    len: usize,
}

fn check(text: &str, what: &'static str, len: usize) -> Result<String, NameError> {
    let is_name = text.len() <= len
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if is_name {
        Ok(text.to_owned())
    } else {
        Err(NameError {
            text: text.to_owned(),
            what,
            len,
        })
    }
}

/// The name of a link, which is that of its Docker network, too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkName(String);

/// The name of a host in its links.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

macro_rules! name {
    ($name:ident, $what:literal, $len:expr) => {
        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text, $what, $len).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(LinkName, "link", LINK_LEN);
name!(HostName, "host", HOST_LEN);

impl LinkName {
    /// The interface of the link's tunnel.
    pub fn tunnel(&self) -> String {
        format!("adit-{self}")
    }

    /// The bridge of the link's containers.
    pub fn bridge(&self) -> String {
        format!("adbr-{self}")
    }
}

impl HostName {
    /// The name of a host that calls itself so: what comes before the first dot, in lower case, with `-` for what may not
    /// be in a name.
    pub fn of_host(text: &str) -> Self {
        let label = text.split('.').next().unwrap_or_default().to_ascii_lowercase();
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        let mut name: String = label.chars().map(plain).take(HOST_LEN).collect();
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            name.insert_str(0, "host-");
            name.truncate(HOST_LEN);
        }
        Self(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_interfaces_and_domains() {
        for (text, is_link, is_host) in [
            ("blue", true, true),
            ("b-2", true, true),
            ("ten-bytes-", true, true),
            ("eleven-byte", false, true),
            ("", false, false),
            ("2b", false, false),
            ("-b", false, false),
            ("Blue", false, false),
            ("a.b", false, false),
            ("a_b", false, false),
        ] {
            assert_eq!(
                (text.parse::<LinkName>().is_ok(), text.parse::<HostName>().is_ok()),
                (is_link, is_host),
                "{text}"
            );
        }
        let error = "Blue".parse::<LinkName>().unwrap_err().to_string();
        assert!(error.contains("\"Blue\" is no name of a link: 1 to 10"), "{error}");
    }

    #[test]
    fn every_host_has_a_name() {
        for (text, name) in [
            ("host-a", "host-a"),
            ("Web1.example.net", "web1"),
            ("10-0-0-5", "host-10-0-0-5"),
            ("", "host-"),
            ("my_box", "my-box"),
        ] {
            let made = HostName::of_host(text);
            assert_eq!(made.to_string(), name);
            assert_eq!(made.to_string().parse(), Ok(made));
        }
    }
}
