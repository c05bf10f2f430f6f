//! The path of a request: nothing that comes from outside changes its shape.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest name, in characters; Azure's own limits are below.
const MAX_NAME: usize = 260;

/// An absolute path, percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Path(String);

/// Why something is no segment of a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("a name is empty")]
    Empty,
    /// It has too many characters.
    #[error("the name {0}… has more than {MAX_NAME} characters")]
    TooLong(String),
    /// It would lead elsewhere.
    #[error("{0:?} cannot be a name: it must not be . or .., nor hold a slash, a backslash or a control character")]
    Unfit(String),
    /// It is no absolute path.
    #[error("{0:?} is no path")]
    NoPath(String),
}

impl Path {
    /// Of these segments, which are encoded.
    ///
    /// # Errors
    ///
    /// If a segment cannot be one.
    pub fn new(segments: &[&str]) -> Result<Self, NameError> {
        let mut path = Self(String::new());
        for segment in segments {
            path = path.join(segment)?;
        }
        Ok(path)
    }

    /// One segment longer.
    ///
    /// # Errors
    ///
    /// If that cannot be a segment.
    pub fn join(mut self, segment: &str) -> Result<Self, NameError> {
        check(segment)?;
        self.0.push('/');
        encode(segment, &mut self.0);
        Ok(self)
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.0
    }
}

impl TryFrom<String> for Path {
    type Error = NameError;

    /// Reads a path as it was sent.
    fn try_from(text: String) -> Result<Self, NameError> {
        let wrong = || NameError::NoPath(text.chars().take(MAX_NAME).collect());
        let rest = text.strip_prefix('/').ok_or_else(wrong)?;
        let mut path = Self(String::new());
        for segment in rest.split('/') {
            path = path.join(&decode(segment).ok_or_else(wrong)?)?;
        }
        Ok(path)
    }
}

/// Whether something can be one segment. A dot is refused even encoded: who reads URLs takes `%2e` for one.
pub(crate) fn check(segment: &str) -> Result<(), NameError> {
    if segment.is_empty() {
        return Err(NameError::Empty);
    }
    if segment.chars().nth(MAX_NAME).is_some() {
        return Err(NameError::TooLong(segment.chars().take(40).collect()));
    }
    let is_unfit = |letter: char| letter.is_control() || matches!(letter, '/' | '\\');
    let lower = segment.to_ascii_lowercase().replace("%2e", ".");
    if lower == "." || lower == ".." || segment.contains(is_unfit) {
        return Err(NameError::Unfit(segment.to_owned()));
    }
    Ok(())
}

/// Everything but letters, digits and `-._~` is percent-encoded: *RFC 3986, 2.3*.
pub(crate) fn encode(text: &str, into: &mut String) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.push(DIGITS[usize::from(byte >> 4)]);
            into.push(DIGITS[usize::from(byte & 15)]);
        }
    }
}

/// Names and values, as a query and as a form: `a=1&b=2`.
pub(crate) fn encode_pairs<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>, into: &mut String) {
    let mut separator = "";
    for (name, value) in pairs {
        into.push_str(separator);
        encode(name, into);
        into.push('=');
        encode(value, into);
        separator = "&";
    }
}

fn decode(segment: &str) -> Option<String> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || {
                    char::from(bytes.next()?)
                        .to_digit(16)
                        .and_then(|digit| u8::try_from(digit).ok())
                };
                digit()? << 4 | digit()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::Url;

    use super::*;

    #[test]
    fn names_that_would_lead_elsewhere_are_refused() {
        for (name, is_fit) in [
            ("adit-vm_1.x", true),
            ("Ländergruppe (1)", true),
            ("a%b", true),
            ("a?b#c", true),
            ("...", true),
            ("", false),
            (".", false),
            ("..", false),
            ("%2e%2E", false),
            (".%2e", false),
            ("a/b", false),
            ("a\\b", false),
            ("a\r\nHost: x", false),
            (&"x".repeat(261), false),
        ] {
            assert_eq!(Path::new(&[name]).is_ok(), is_fit, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_name_is_the_path_keeps_its_shape(names in proptest::collection::vec(".{1,12}|[./%?#\\\\2e]{1,6}", 1..5)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if let Ok(path) = Path::new(&names) {
                let url = Url::parse("https://management.azure.com").unwrap().join(path.as_str()).unwrap();
                prop_assert_eq!(url.path(), path.as_str());
                prop_assert_eq!(url.host_str(), Some("management.azure.com"));
                prop_assert_eq!((url.query(), url.fragment()), (None, None));
                let decoded: Vec<String> = url.path_segments().unwrap().map(|segment| decode(segment).unwrap()).collect();
                prop_assert_eq!(decoded, names);
                prop_assert_eq!(Path::try_from(path.to_string()), Ok(path));
            }
        }
    }
}
