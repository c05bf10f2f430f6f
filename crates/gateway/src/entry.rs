//! One entry of a log: a sentence for people, and the same facts by name for programs. Never a key.

use std::{fmt, net::SocketAddr};

use serde::Serialize;

use crate::events::PeerEvent;

/// One fact of an [`Entry`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A word or a name.
    Text(String),
    /// A number.
    Number(u64),
}

/// One entry of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What kind of event it is, in one word.
    pub event: &'static str,
    /// What people read.
    pub message: String,
    /// The facts by name.
    pub fields: Vec<(&'static str, Value)>,
}

impl Entry {
    /// An entry without facts.
    pub fn new(event: &'static str, message: impl Into<String>) -> Self {
        Self {
            event,
            message: message.into(),
            fields: Vec::new(),
        }
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.fields.push((name, Value::Text(value.to_string())));
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn with_number(mut self, name: &'static str, value: u64) -> Self {
        self.fields.push((name, Value::Number(value)));
        self
    }

    fn with_endpoint(self, endpoint: Option<SocketAddr>) -> Self {
        match endpoint {
            Some(endpoint) => self.with("endpoint", endpoint),
            None => self,
        }
    }
}

impl From<&PeerEvent> for Entry {
    fn from(event: &PeerEvent) -> Self {
        match event {
            PeerEvent::Connected { name, endpoint } => {
                let from = endpoint.map_or_else(String::new, |endpoint| format!(" from {endpoint}"));
                Self::new("connected", format!("{name}: handshake{from}"))
                    .with("peer", name)
                    .with_endpoint(*endpoint)
            }
            PeerEvent::Moved { name, from, to } => Self::new("moved", format!("{name}: moved from {from} to {to}"))
                .with("peer", name)
                .with("endpoint", to)
                .with("before", from),
            PeerEvent::Silent {
                name,
                endpoint,
                connected,
            } => {
                let seconds = connected.as_secs();
                Self::new(
                    "silent",
                    format!("{name}: silent, after {} of connection", duration(seconds)),
                )
                .with("peer", name)
                .with_endpoint(*endpoint)
                .with_number("connected_seconds", seconds)
            }
        }
    }
}

/// Seconds as people say them: `4 h 12 min`.
fn duration(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min"),
        _ => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn events_become_sentences_and_facts() {
        let name: crate::Name = "phone".parse().unwrap();
        let (home, away): (SocketAddr, SocketAddr) =
            ("192.0.2.7:5000".parse().unwrap(), "[2001:db8::7]:6000".parse().unwrap());
        for (event, message, facts) in [
            (
                PeerEvent::Connected {
                    name: name.clone(),
                    endpoint: Some(home),
                },
                "phone: handshake from 192.0.2.7:5000",
                "peer endpoint",
            ),
            (
                PeerEvent::Moved {
                    name: name.clone(),
                    from: home,
                    to: away,
                },
                "phone: moved from 192.0.2.7:5000 to [2001:db8::7]:6000",
                "peer endpoint before",
            ),
            (
                PeerEvent::Silent {
                    name,
                    endpoint: None,
                    connected: Duration::from_secs(3600 * 4 + 725),
                },
                "phone: silent, after 4 h 12 min of connection",
                "peer connected_seconds",
            ),
        ] {
            let entry = Entry::from(&event);
            assert_eq!(entry.message, message);
            let names: Vec<&str> = entry.fields.iter().map(|(name, _)| *name).collect();
            assert_eq!(names.join(" "), facts);
        }
    }
}
