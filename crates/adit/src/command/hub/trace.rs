//! The log of a hub, and its spans to whoever collects them.

use std::{fmt, io::IsTerminal as _, time::SystemTime};

use anyhow::Context as _;
use gateway::environment::LogFormat;
use hub::otlp::{Exporter, Spans};
use tokio::runtime::Handle;
use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _,
    filter::Targets,
    fmt::{format::Writer, time::FormatTime},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::moment;

/// The parts that are ours; others speak when something is wrong.
const OURS: [&str; 5] = ["adit", "docker", "gateway", "hub", "launch"];

/// What has to be finished at the end.
pub(super) struct Trace(Option<Spans>);

/// Writes the log to standard error, one line a fact, and sends spans to `otlp` if it is given.
pub(super) fn start(format: LogFormat, level: Level, otlp: Option<&str>, runtime: &Handle) -> anyhow::Result<Trace> {
    let filter = || {
        Targets::new()
            .with_targets(OURS.map(|name| (name, LevelFilter::from_level(level))))
            .with_default(LevelFilter::WARN)
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_timer(LocalTime)
        .with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    let (exporter, spans) = match otlp {
        None => (None, None),
        Some(endpoint) => {
            let (exporter, spans) = Exporter::start(endpoint, runtime).context("otlp_endpoint")?;
            (Some(exporter.with_filter(filter())), Some(spans))
        }
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter()))
        .with(exporter)
        .try_init()?;
    Ok(Trace(spans))
}

impl Trace {
    /// Sends what is left.
    pub(super) fn finish(self) {
        if let Some(spans) = self.0 {
            spans.finish();
        }
    }
}

/// As the log of every daemon has it.
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&moment::rfc3339_local(SystemTime::now()))
    }
}
