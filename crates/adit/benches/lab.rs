//! Measures the real binary in the lab, beside its contenders. `cargo xtask bench` calls it.
//!
//! `row NAME CONTENDER SECONDS` measures one row once, `start` and `many` measure adit alone. Each prints one line of JSON:
//! its figures by name, or `error`.

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

#[path = "lab/contender.rs"]
mod contender;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/lab/gateway.rs"]
mod gateway;
#[path = "lab/handshakes.rs"]
mod handshakes;
#[path = "lab/idle.rs"]
mod idle;
#[path = "lab/many.rs"]
mod many;
#[path = "lab/meter.rs"]
mod meter;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/lab/network.rs"]
mod network;
#[path = "lab/pair.rs"]
mod pair;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/lab/peer.rs"]
mod peer;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/lab/reference.rs"]
mod reference;
#[path = "lab/rootless.rs"]
mod rootless;
#[path = "lab/rows.rs"]
mod rows;
#[path = "lab/start.rs"]
mod start;

use std::collections::BTreeMap;
use std::time::Duration;

/// What was measured, by name.
type Figures = BTreeMap<&'static str, f64>;

fn main() {
    // Cargo adds arguments of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.is_empty() {
        println!("Measures nothing by itself: `cargo xtask bench` says what.");
        return;
    }
    if idle::is_wanted(&words) {
        return;
    }
    let needs = [
        "root",
        "/dev/net/tun",
        "wg",
        "wg-quick",
        "wireguard-go",
        "ethtool",
        "ping",
        "nft",
    ];
    let measured = match (netlab::missing(&needs), &words[..]) {
        (Some(missing), _) => Err(format!("needs {missing}")),
        (None, ["start"]) => Ok(start::measure()),
        (None, ["many"]) => Ok(many::measure()),
        (None, ["row", row, contender, seconds]) => match seconds.parse() {
            Ok(seconds) => rows::measure(row, contender, Duration::from_secs(seconds)),
            Err(_) => Err(format!("{seconds} is no number of seconds")),
        },
        (None, _) => Err(format!("no such measurement: {}", words.join(" "))),
    };
    let line = match measured {
        Ok(figures) => serde_json::json!(figures),
        Err(error) => serde_json::json!({ "error": error }),
    };
    println!("{line}");
}

/// The median.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
