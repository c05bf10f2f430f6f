//! Lines for whoever reads the log of a daemon: standard error, one line a fact, no key in any of them.

use std::{
    io::{self, Write as _},
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use gateway::{entry::Entry, environment::LogFormat};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::moment;

/// Whether lines are objects.
static JSON: AtomicBool = AtomicBool::new(false);

/// What begins a line that is an advice.
const NOTE: &str = "note: ";

/// Chooses how lines are written from here on; text unless it is called.
pub(crate) fn set_format(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

/// Writes a line.
pub(crate) fn line(line: &str) {
    let event = if line.starts_with(NOTE) { "note" } else { "state" };
    entry(&Entry::new(event, line));
}

/// Writes an entry.
pub(crate) fn entry(entry: &Entry) {
    let time = moment::rfc3339_local(SystemTime::now());
    let line = if JSON.load(Ordering::Relaxed) {
        json(&time, entry)
    } else {
        format!("{time} {}\n", entry.message)
    };
    // A daemon goes on without its log.
    let _unread = io::stderr().lock().write_all(line.as_bytes());
}

/// Writes a text of several lines for people's eyes, such as a QR code; programs get none of it.
pub(crate) fn block(text: &str) {
    if !JSON.load(Ordering::Relaxed) {
        let _unread = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// The entry as an object on a line.
fn json(time: &str, entry: &Entry) -> String {
    // Words, texts and numbers can be written.
    serde_json::to_string(&Line { time, entry }).unwrap_or_default() + "\n"
}

/// An entry with its time, in the order in which people read it.
struct Line<'a> {
    time: &'a str,
    entry: &'a Entry,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { time, entry } = self;
        let message = entry.message.strip_prefix(NOTE).unwrap_or(&entry.message);
        let mut object = serializer.serialize_map(None)?;
        for (name, text) in [("time", *time), ("event", entry.event), ("message", message)] {
            object.serialize_entry(name, text)?;
        }
        for (name, value) in &entry.fields {
            object.serialize_entry(name, value)?;
        }
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_entry_is_one_object_on_one_line() {
        let entry = Entry::new("silent", "note: a \"line\"\nor two")
            .with("peer", "phone")
            .with_number("connected_seconds", 90);
        let line = json("2026-11-21T04:12:00Z", &entry);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(
            line.starts_with(r#"{"time":"2026-11-21T04:12:00Z","event":"silent","message""#),
            "{line}"
        );
        let object: Value = serde_json::from_str(&line).unwrap();
        for (name, value) in [
            ("time", Value::from("2026-11-21T04:12:00Z")),
            ("event", Value::from("silent")),
            ("message", Value::from("a \"line\"\nor two")),
            ("peer", Value::from("phone")),
            ("connected_seconds", Value::from(90)),
        ] {
            assert_eq!(object[name], value, "{name}");
        }
    }
}
