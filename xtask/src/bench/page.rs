//! The page: sections between marks in `docs/benchmarks.md`, and the plots beside it.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::plot::{self, Bar, Group};
use super::rows::{ROWS, Row, Table};
use super::samples::{Samples, Spread};

/// The rows that were measured, with what came of them.
pub(crate) type Measured<'a> = &'a [(&'static Row, Samples)];

/// Replaces what is between `<!-- NAME: … -->` and `<!-- /NAME -->`.
///
/// # Errors
///
/// If `page` has no such marks.
pub(crate) fn replace(page: &str, name: &str, section: &str) -> Result<String> {
    let begin = format!("<!-- {name}:");
    let end = format!("<!-- /{name} -->");
    let lost = || format!("docs/benchmarks.md has no section between `{begin} … -->` and `{end}`: add both lines");
    let start = page.find(&begin).with_context(lost)?;
    let start = start + page[start..].find("-->\n").with_context(lost)? + "-->\n".len();
    let stop = start + page[start..].find(&end).with_context(lost)?;
    Ok(format!("{}\n{}\n\n{}", &page[..start], section.trim(), &page[stop..]))
}

/// One table: a line a figure, a column a contender, and how adit compares with wireguard-go.
pub(crate) fn table(kind: Table, measured: Measured<'_>) -> String {
    let rows: Vec<_> = measured.iter().filter(|(row, _)| row.table == kind).collect();
    let mut names: Vec<&str> = Vec::new();
    for name in rows.iter().flat_map(|(row, _)| row.contenders) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return "Not measured.".to_owned();
    }
    let mut text = format!(
        "| | {} | adit / {} |\n",
        names.join(" | "),
        names.get(1).unwrap_or(&"none")
    );
    text += &format!("|---|{}\n", "---|".repeat(names.len() + 1));
    for (row, samples) in &rows {
        for figure in row.figures {
            let what = [row.title, figure.what].into_iter().filter(|part| !part.is_empty());
            let mut what = what.collect::<Vec<_>>().join(", ");
            if !figure.unit.is_empty() {
                what += &format!(", {}", figure.unit);
            }
            let cells = names.iter().map(|name| {
                let spread = samples.spread(name, figure.name);
                // Nobody's tunnel has no programs whose time could be counted.
                let spread = spread.filter(|_| !(*name == "veth" && figure.name == "cpu"));
                spread.map_or_else(|| "-".to_owned(), |spread| cell(spread, figure.decimals))
            });
            let ratio = row
                .baseline()
                .and_then(|other| samples.ratio("adit", other, figure.name));
            let ratio = ratio.filter(|ratio| ratio.is_finite());
            let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            text += &format!("| {what} | {} | {ratio} |\n", cells.collect::<Vec<_>>().join(" | "));
        }
    }
    for (row, samples) in &rows {
        for name in row.contenders {
            if let (1.., Some(why)) = samples.failures(name) {
                text += &format!("\n{} of {name}: {}.\n", row.title, why.trim_end_matches('.'));
            }
        }
    }
    text
}

fn cell(spread: Spread, decimals: usize) -> String {
    let Spread { median, min, max } = spread;
    format!("{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
}

/// A plot: its file's name, its title, and the rows whose main figure it shows.
type Plot = (&'static str, &'static str, &'static [&'static str]);

const PLOTS: &[Plot] = &[
    (
        "tcp.svg",
        "TCP through one tunnel",
        &[
            "tcp-1-up",
            "tcp-1-down",
            "tcp-8-up",
            "tcp-1-gro",
            "tcp-1-plain",
            "tcp-1-jumbo",
        ],
    ),
    ("udp.svg", "UDP flood, received", &["udp-1420", "udp-64"]),
    ("ping.svg", "Ping, median", &["ping-idle", "ping-loaded"]),
    (
        "netstack.svg",
        "TCP through a gateway without rights",
        &["netstack-up", "netstack-down"],
    ),
    (
        "loss.svg",
        "Download with 20 ms round trip and loss",
        &["netstack-loss-1000", "netstack-loss-10000"],
    ),
];

/// Draws the plots into `folder`, those of whose rows any was measured.
pub(crate) fn plots(folder: &Path, measured: Measured<'_>) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    for (file, title, names) in PLOTS {
        let rows = names
            .iter()
            .filter_map(|name| measured.iter().find(|(row, _)| row.name == *name));
        let groups: Vec<_> = rows.map(|(row, samples)| group(row, samples)).collect();
        let Some(figure) = ROWS.iter().find(|row| row.name == names[0]).map(|row| row.figures[0]) else {
            continue;
        };
        if groups.iter().any(|group| !group.bars.is_empty()) {
            let path = folder.join(file);
            let drawn = plot::svg(title, figure.unit, figure.decimals, &groups);
            std::fs::write(&path, drawn).with_context(|| format!("write {}", path.display()))?;
        }
    }
    Ok(())
}

/// The bars of one row. Without a tunnel TCP is so fast that all others would be short.
fn group(row: &Row, samples: &Samples) -> Group {
    let names = row
        .contenders
        .iter()
        .filter(|name| **name != "veth" || row.name.starts_with("ping"));
    let bars = names.filter_map(|name| {
        Some(Bar {
            label: (*name).to_owned(),
            spread: samples.spread(name, row.figures[0].name)?,
        })
    });
    Group {
        title: row.title.to_owned(),
        bars: bars.collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bench::rows;

    #[test]
    fn a_section_is_replaced_and_the_rest_stays() {
        let page = "# A\n\n<!-- x: written by a program -->\nold\n<!-- /x -->\n\nend\n";
        let replaced = replace(page, "x", "new\n").expect("the marks are there");
        assert_eq!(
            replaced,
            "# A\n\n<!-- x: written by a program -->\n\nnew\n\n<!-- /x -->\n\nend\n"
        );
        assert_eq!(replace(&replaced, "x", "new").expect("the marks stay"), replaced);
        let error = replace(page, "y", "new").expect_err("no such section");
        assert!(error.to_string().contains("<!-- /y -->"), "{error}");
    }

    #[test]
    fn the_page_has_every_section_and_plot() {
        let page = include_str!("../../../docs/benchmarks.md");
        for section in super::super::SECTIONS {
            replace(page, section, "").expect("the section is there");
        }
        for (file, _, names) in PLOTS {
            assert!(page.contains(&format!("(plots/{file})")), "{file}");
            assert!(names.iter().all(|name| rows::named(name).is_some()), "{file}");
        }
    }

    #[test]
    fn a_line_has_a_figure_of_all_contenders() {
        let row = rows::named("mixed-up").expect("a row");
        let mut samples = Samples::default();
        for gbit in [4.0, 5.0, 4.5] {
            samples.add("adit", &json!({ "gbit": gbit, "cpu": 2.0 }));
        }
        samples.add("wireguard-go", &json!({ "error": "it ended" }));
        let text = table(Table::Mixed, &[(row, samples)]);
        let expected = "| | adit | wireguard-go | adit / wireguard-go |\n|---|---|---|---|\n\
                        | TCP, 1 stream, to wireguard-go, Gbit/s | 4.50 (4.00–5.00) | - | - |\n\
                        | TCP, 1 stream, to wireguard-go, CPU of both ends, s/GB | 2.00 (2.00–2.00) | - | - |\n\
                        \nTCP, 1 stream, to wireguard-go of wireguard-go: it ended.\n";
        assert_eq!(text, expected);
    }
}
