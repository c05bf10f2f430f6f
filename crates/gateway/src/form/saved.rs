//! The variables of the last start, in `.donoteditthisfile`.
//!
//! linuxserver's image runs this file in a shell. Here it is data, and it is written so that a shell, too, finds nothing
//! in it but data: who returns to that image finds the file that it would have written.

use std::{fmt::Write as _, net::Ipv4Addr};

/// The file.
pub(crate) const FILE_NAME: &str = ".donoteditthisfile";

/// The variables, in the file's order.
const NAMES: [&str; 7] = [
    "SERVERURL",
    "SERVERPORT",
    "PEERDNS",
    "PEERS",
    "INTERFACE",
    "ALLOWEDIPS",
    "PERSISTENTKEEPALIVE_PEERS",
];

/// The variables of the last start, after their defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved([String; NAMES.len()]);

impl Saved {
    /// What `variable` says of each.
    pub(super) fn new(variable: impl FnMut(&str) -> String) -> Self {
        Self(NAMES.map(variable))
    }

    /// Reads the file. A line that is none of the seven variables' is passed over, and what a value has that a shell
    /// would expand is text.
    pub(crate) fn parse(text: &str) -> Self {
        let value = |name: &str| {
            let beginning = format!("ORIG_{name}=\"");
            let mut values = text.lines().filter_map(|line| line.strip_prefix(beginning.as_str()));
            let value = values.next_back().unwrap_or_default();
            unescaped(value.rsplit_once('"').map_or(value, |(value, _)| value))
        };
        Self(NAMES.map(value))
    }

    /// The text of the file.
    pub(super) fn print(&self) -> String {
        let mut text = String::new();
        for (name, value) in NAMES.iter().zip(&self.0) {
            let _infallible = writeln!(text, "ORIG_{name}=\"{}\"", escaped(value));
        }
        text
    }

    /// The gateway's address, as that image makes it: the first of `INTERFACE`.
    pub(crate) fn gateway(&self) -> Option<Ipv4Addr> {
        format!("{}.1", self.value("INTERFACE")).parse().ok()
    }

    /// The value of one of the seven.
    pub(super) fn value(&self, name: &str) -> &str {
        let values = NAMES.iter().zip(&self.0).find(|(found, _)| **found == name);
        values.map_or("", |(_, value)| value.as_str())
    }
}

/// As it stands between a shell's double quotes.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        if "\\\"$`".contains(character) {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

fn unescaped(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match characters.peek() {
            Some(next) if character == '\\' && "\\\"$`".contains(*next) => value.extend(characters.next()),
            _ => value.push(character),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_data_whatever_a_shell_would_make_of_it() {
        let sly = r#"$(touch PWN)h"`id`\${x}"#;
        let saved = Saved::new(|name| {
            if name == "SERVERURL" {
                sly.to_owned()
            } else {
                name.to_lowercase()
            }
        });
        let text = saved.print();
        assert!(
            text.starts_with(
                "ORIG_SERVERURL=\"\\$(touch PWN)h\\\"\\`id\\`\\\\\\${x}\"\nORIG_SERVERPORT=\"serverport\"\n"
            ),
            "{text}"
        );
        assert_eq!(Saved::parse(&text), saved);
    }

    #[test]
    fn the_file_of_the_image_is_read() {
        let text = "ORIG_SERVERURL=\"$(touch PWN)h\"\nORIG_SERVERPORT=\"51820\"\nORIG_PEERDNS=\"10.13.13.1\"\n\
                    ORIG_PEERS=\"laptop,phone\"\nORIG_INTERFACE=\"10.13.13\"\nORIG_ALLOWEDIPS=\"0.0.0.0/0, ::/0\"\n\
                    ORIG_PERSISTENTKEEPALIVE_PEERS=\"\"\nrm -rf /\n";
        let saved = Saved::parse(text);
        assert_eq!(saved.value("SERVERURL"), "$(touch PWN)h");
        assert_eq!(saved.value("ALLOWEDIPS"), "0.0.0.0/0, ::/0");
        assert_eq!(
            (saved.value("PERSISTENTKEEPALIVE_PEERS"), saved.value("PATH")),
            ("", "")
        );
        assert_eq!(saved.gateway(), Some(Ipv4Addr::new(10, 13, 13, 1)));
        assert_eq!(Saved::parse(""), Saved::default());
        assert_eq!(Saved::default().gateway(), None);
    }
}
