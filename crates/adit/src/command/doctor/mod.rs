//! `adit doctor`: what works on this machine, what does not, and what would mend it.

mod probe;

use std::fmt::Write as _;

use serde::Serialize;

use crate::output;

/// The arguments of `adit doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 if tunnels can be opened here on at least one plane, 1 if on none.")]
pub(crate) struct Arguments {
    /// Prints one JSON object: planes and features, each with name, state, detail and, where there is one, remedy.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    /// The ways to handle a tunnel's packets.
    planes: Vec<Finding>,
    /// What makes them faster, or lets them do more.
    features: Vec<Finding>,
}

/// What was found of one thing.
#[derive(Debug, Serialize)]
struct Finding {
    /// What it is.
    name: &'static str,
    /// Whether it works.
    state: State,
    /// What was seen.
    detail: String,
    /// What would mend it, if it does not work and anything can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// Whether something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It does.
    Works,
    /// It does, with less than it could have.
    Limited,
    /// It does not.
    Missing,
}

impl Finding {
    fn works(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Works,
            detail: detail.into(),
            remedy: None,
        }
    }

    fn limited(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Limited,
            detail: detail.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn missing(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Missing,
            detail: detail.into(),
            remedy: Some(remedy.into()),
        }
    }
}

/// Looks at everything and prints what was found.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let report = Report {
        planes: probe::planes(),
        features: probe::features(),
    };
    if arguments.json {
        output::line(&serde_json::to_string(&report)?)?;
    } else {
        output::bytes(text(&report).as_bytes())?;
    }
    if report.planes.iter().any(|plane| plane.state == State::Works) {
        Ok(())
    } else {
        anyhow::bail!("no plane works on this machine")
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for (title, findings) in [("planes", &report.planes), ("features", &report.features)] {
        text.push_str(title);
        text.push('\n');
        let width = findings
            .iter()
            .map(|finding| finding.name.len())
            .max()
            .unwrap_or_default();
        for Finding {
            name,
            state,
            detail,
            remedy,
        } in findings
        {
            let mark = match state {
                State::Works => '✓',
                State::Limited => '~',
                State::Missing => '✗',
            };
            let _infallible = writeln!(text, "  {mark} {name:width$}  {detail}");
            if let Some(remedy) = remedy {
                let _infallible = writeln!(text, "    {:width$}  → {remedy}", "");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_what_is_missing_and_its_remedy() {
        let report = Report {
            planes: vec![
                Finding::works("netstack", "works"),
                Finding::missing("tun", "no device", "add it"),
            ],
            features: vec![Finding::limited("buffers", "small", "enlarge them")],
        };
        let expected = "planes\n  ✓ netstack  works\n  ✗ tun       no device\n              → add it\n\
                        features\n  ~ buffers  small\n             → enlarge them\n";
        assert_eq!(text(&report), expected);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            json["planes"][0],
            serde_json::json!({"name": "netstack", "state": "works", "detail": "works"})
        );
        assert_eq!(json["planes"][1]["remedy"], "add it");
        assert_eq!(json["features"][0]["state"], "limited");
    }
}
