//! What peers are called.

use std::{fmt, str::FromStr};

/// Longest name of a peer, in characters.
pub const MAX_LEN: usize = 64;

/// The name of a peer: 1 to 64 letters, digits, `-` and `_`, of which the first is a letter or a digit.
///
/// Safe as part of a file name and of a line in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// A text that cannot name a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` cannot name a peer: a name has 1 to {most} ASCII letters, digits, `-` and `_`, \
     and begins with a letter or a digit"
)]
pub struct NameError {
    text: String,
    most: usize,
}

impl Name {
    /// The name of the peer with this number: `peer1`.
    pub fn numbered(number: u32) -> Self {
        Self(format!("peer{number}"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text, MAX_LEN)
    }
}

impl Name {
    /// Reads a name of at most `most` characters.
    pub(crate) fn parse(text: &str, most: usize) -> Result<Self, NameError> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let valid = (1..=most.min(MAX_LEN)).contains(&text.len())
            && text.bytes().all(inner)
            && text.as_bytes()[0].is_ascii_alphanumeric();
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError {
                text: text.to_owned(),
                most,
            })
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_in_a_path() {
        for (text, valid) in [
            ("phone", true),
            ("my-laptop_2", true),
            ("7", true),
            (&"a".repeat(64), true),
            (&"a".repeat(65), false),
            ("", false),
            ("-rf", false),
            ("_x", false),
            ("a/b", false),
            ("..", false),
            ("a b", false),
            ("a\n", false),
            ("größe", false),
        ] {
            assert_eq!(text.parse::<Name>().is_ok(), valid, "{text}");
        }
    }
}
