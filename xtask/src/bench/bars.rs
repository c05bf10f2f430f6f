//! The bars: what adit is to reach, and whether it does.

use super::samples::Samples;

/// Looks a row up; `None` if it was not measured.
type Rows<'a> = &'a dyn Fn(&str) -> Option<Samples>;

/// Which side of the bar is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    AtLeast,
    AtMost,
}

/// One bar.
struct Bar {
    /// What is compared.
    what: &'static str,
    side: Side,
    limit: f64,
    /// What follows the numbers.
    unit: &'static str,
    measured: fn(Rows<'_>) -> Option<f64>,
}

const fn at_least(what: &'static str, limit: f64, unit: &'static str, measured: fn(Rows<'_>) -> Option<f64>) -> Bar {
    Bar {
        what,
        side: Side::AtLeast,
        limit,
        unit,
        measured,
    }
}

const fn at_most(what: &'static str, limit: f64, unit: &'static str, measured: fn(Rows<'_>) -> Option<f64>) -> Bar {
    Bar {
        side: Side::AtMost,
        ..at_least(what, limit, unit, measured)
    }
}

/// adit's median over another's.
fn ratio(rows: Rows<'_>, row: &str, other: &str, figure: &str) -> Option<f64> {
    rows(row)?.ratio("adit", other, figure)
}

/// The lower of both directions' ratios.
fn one_stream(rows: Rows<'_>, other: &str) -> Option<f64> {
    let up = ratio(rows, "tcp-1-up", other, "gbit")?;
    Some(up.min(ratio(rows, "tcp-1-down", other, "gbit")?))
}

const BARS: &[Bar] = &[
    at_least(
        "tun, TCP 1 stream, the lower of up and down, to wireguard-go",
        1.9,
        "×",
        |rows| one_stream(rows, "wireguard-go"),
    ),
    at_least("the same to gotatun", 4.0, "×", |rows| one_stream(rows, "gotatun")),
    at_least("the same to boringtun", 5.0, "×", |rows| one_stream(rows, "boringtun")),
    at_least("tun, TCP 1 stream, no offload, to wireguard-go", 2.5, "×", |rows| {
        ratio(rows, "tcp-1-plain", "wireguard-go", "gbit")
    }),
    at_least("tun, UDP of 1,420 bytes received, to wireguard-go", 3.0, "×", |rows| {
        ratio(rows, "udp-1420", "wireguard-go", "packets")
    }),
    at_most("tun, CPU seconds a gigabyte, to wireguard-go", 0.5, "×", |rows| {
        ratio(rows, "tcp-1-up", "wireguard-go", "cpu")
    }),
    at_most("tun, idle ping, median beyond the veth's own", 60.0, "µs", |rows| {
        let row = rows("ping-idle")?;
        Some(row.median("adit", "median")? - row.median("veth", "median")?)
    }),
    at_most("tun, loaded ping, 99th percentile, to wireguard-go", 1.0, "×", |rows| {
        ratio(rows, "ping-loaded", "wireguard-go", "p99")
    }),
    at_most("tun, loaded ping, 99th percentile", 5.0, "ms", |rows| {
        Some(rows("ping-loaded")?.median("adit", "p99")? / 1e3)
    }),
    at_least("adit to wireguard-go, to wireguard-go with itself", 1.0, "×", |rows| {
        ratio(rows, "mixed-up", "wireguard-go", "gbit")
    }),
    at_least("wireguard-go to adit, to wireguard-go with itself", 1.0, "×", |rows| {
        ratio(rows, "mixed-down", "wireguard-go", "gbit")
    }),
    at_least("netstack, TCP 1 stream up, to wireguard-go's", 2.5, "×", |rows| {
        ratio(rows, "netstack-up", "wireguard-go-netstack", "gbit")
    }),
    at_least("netstack, TCP 1 stream down, to wireguard-go's", 6.0, "×", |rows| {
        ratio(rows, "netstack-down", "wireguard-go-netstack", "gbit")
    }),
    at_least("netstack, download, 20 ms RTT, 0.1 % lost", 300.0, "Mbit/s", |rows| {
        rows("netstack-loss-1000")?.median("adit", "mbit")
    }),
    at_least("netstack, download, 20 ms RTT, 1 % lost", 100.0, "Mbit/s", |rows| {
        rows("netstack-loss-10000")?.median("adit", "mbit")
    }),
    at_least(
        "netstack, new connections a second, to wireguard-go's",
        3.0,
        "×",
        |rows| ratio(rows, "netstack-connections", "wireguard-go-netstack", "rate"),
    ),
    at_least(
        "netstack, 1 stream beside 10,000 idle flows, to itself alone",
        0.9,
        "×",
        |rows| rows("netstack-idle")?.median("adit", "share"),
    ),
    at_most("netstack, 20,000 idle flows", 200.0, "MB", |rows| {
        Some(rows("netstack-memory")?.median("adit", "flow")? * 20.0)
    }),
];

/// The table of all bars, in Markdown, and how many were measured and missed.
pub(crate) fn table(rows: Rows<'_>) -> (String, usize) {
    let mut text = String::from("| bar | wanted | measured | met |\n|---|---|---|---|\n");
    let mut missed = 0;
    for bar in BARS {
        let (word, met): (_, fn(f64, f64) -> bool) = match bar.side {
            Side::AtLeast => ("at least", |value, limit| value >= limit),
            Side::AtMost => ("at most", |value, limit| value <= limit),
        };
        let (value, verdict) = match (bar.measured)(rows) {
            Some(value) if met(value, bar.limit) => (format!("{value:.2} {}", bar.unit), "yes"),
            Some(value) => {
                missed += 1;
                (format!("{value:.2} {}", bar.unit), "**no**")
            }
            None => ("-".to_owned(), "-"),
        };
        text += &format!(
            "| {} | {word} {} {} | {value} | {verdict} |\n",
            bar.what, bar.limit, bar.unit
        );
    }
    (text, missed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bench::rows;

    #[test]
    fn a_bar_is_met_on_its_good_side_only() {
        // (adit's Gbit/s both ways, its seconds a gigabyte, bars missed among: gbit, CPU); wireguard-go has 2 and 4.
        for (gbit, cpu, missed) in [(3.8, 2.0, 0), (3.7, 2.0, 1), (3.8, 2.1, 1), (1.0, 9.0, 2)] {
            let rows = |name: &str| {
                name.starts_with("tcp-1-").then(|| {
                    let mut samples = Samples::default();
                    let gbit = if name == "tcp-1-plain" { 100.0 } else { gbit };
                    samples.add("adit", &json!({ "gbit": gbit, "cpu": cpu }));
                    samples.add("wireguard-go", &json!({ "gbit": 2.0, "cpu": 4.0 }));
                    samples
                })
            };
            let (text, count) = table(&rows);
            assert_eq!(count, missed, "{text}");
        }
    }

    #[test]
    fn bars_ask_for_rows_and_figures_that_there_are() {
        let asked = std::cell::RefCell::new(Vec::new());
        let all = |name: &str| {
            asked.borrow_mut().push(name.to_owned());
            let row = rows::named(name)?;
            let mut samples = Samples::default();
            for contender in row.contenders {
                let figures: serde_json::Map<_, _> = row
                    .figures
                    .iter()
                    .map(|figure| (figure.name.to_owned(), json!(1.0)))
                    .collect();
                samples.add(contender, &figures.into());
            }
            Some(samples)
        };
        let (text, _) = table(&all);
        assert!(!text.contains("| - |"), "{text}");
        for name in asked.borrow().iter() {
            assert!(rows::named(name).is_some(), "{name}");
        }
    }
}
