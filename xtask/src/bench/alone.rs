//! The tables of what is measured of adit alone.

use super::samples::Samples;

/// One line: the figure, what it is, its unit and decimals, and the goal.
type Line = (&'static str, &'static str, &'static str, usize, &'static str);

const START: &[Line] = &[
    (
        "ready",
        "`adit launch` from exec to ready, 2 peers, as nobody",
        "ms",
        0,
        "200 ms",
    ),
    ("memory", "memory of an idle gateway (VmRSS)", "MB", 1, "15 MB"),
    ("size", "the release binary", "MB", 1, "12 MB"),
    ("cold", "cold `cargo build --release`", "s", 0, "240 s"),
];

const MANY: &[Line] = &[
    ("ready", "`adit serve` from exec to ready, tun plane", "s", 2, "3 s"),
    ("add", "a command that adds one more", "ms", 1, ""),
    ("session", "from its end until the peer has a session", "ms", 1, "10 ms"),
    ("memory", "memory after that (VmRSS)", "MB", 0, "100 MB"),
    (
        "syncconf",
        "`wg syncconf` of the same peers into wireguard-go",
        "s",
        2,
        "",
    ),
];

/// The table of a start.
pub(crate) fn start(samples: Option<&Samples>) -> String {
    table("what", START, samples)
}

/// The table of many peers.
pub(crate) fn many(samples: Option<&Samples>) -> String {
    table("10,000 peers", MANY, samples)
}

fn table(what: &str, lines: &[Line], samples: Option<&Samples>) -> String {
    let mut text = format!("| {what} | measured | goal |\n|---|---|---|\n");
    for (figure, what, unit, decimals, goal) in lines {
        let value = samples.and_then(|samples| samples.median("adit", figure));
        let value = value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$} {unit}"));
        text += &format!("| {what} | {value} | {goal} |\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let mut samples = Samples::default();
        samples.add("adit", &json!({ "ready": 4.4, "size": 8.25 }));
        let text = start(Some(&samples));
        assert!(
            text.contains("| 4 ms | 200 ms |") && text.contains("| 8.2 MB | 12 MB |"),
            "{text}"
        );
        assert_eq!(text.matches("| - |").count(), 2, "{text}");
        assert_eq!(many(None).matches("| - |").count(), MANY.len());
    }
}
