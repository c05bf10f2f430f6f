//! What was measured: figures of contenders in rows, round by round; and what is told of them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// A median with the range around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The middle value, or the mean of the two in the middle.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The most.
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of `values`; `None` if there is none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[half]
        } else {
            f64::midpoint(values[half - 1], values[half])
        };
        Some(Self { median, min, max })
    }
}

/// What came of one row: each contender's figures, and why a contender has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Samples {
    figures: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
    failures: BTreeMap<String, Vec<String>>,
}

impl Samples {
    /// Takes the line that the measuring program printed for a contender.
    pub(crate) fn add(&mut self, contender: &str, line: &Value) {
        let Some(fields) = line.as_object() else { return };
        if let Some(error) = line["error"].as_str() {
            self.fail(contender, error);
            return;
        }
        let figures = self.figures.entry(contender.to_owned()).or_default();
        for (name, value) in fields {
            if let Some(value) = value.as_f64() {
                figures.entry(name.clone()).or_default().push(value);
            }
        }
    }

    /// Notes that a contender could not be measured.
    pub(crate) fn fail(&mut self, contender: &str, why: &str) {
        self.failures
            .entry(contender.to_owned())
            .or_default()
            .push(why.to_owned());
    }

    /// How often a contender could not be measured, and why the last time.
    pub(crate) fn failures(&self, contender: &str) -> (usize, Option<&str>) {
        let failures = self.failures.get(contender).map_or(&[][..], Vec::as_slice);
        (failures.len(), failures.last().map(String::as_str))
    }

    /// The spread of a contender's figure.
    pub(crate) fn spread(&self, contender: &str, figure: &str) -> Option<Spread> {
        Spread::of(self.figures.get(contender)?.get(figure)?)
    }

    /// The median of a contender's figure.
    pub(crate) fn median(&self, contender: &str, figure: &str) -> Option<f64> {
        Some(self.spread(contender, figure)?.median)
    }

    /// How many times as much one contender's median is as another's.
    pub(crate) fn ratio(&self, contender: &str, other: &str, figure: &str) -> Option<f64> {
        Some(self.median(contender, figure)? / self.median(other, figure)?)
    }

    /// The most processors that others' work took during a measurement.
    pub(crate) fn foreign(&self) -> f64 {
        let all = self.figures.values().filter_map(|figures| figures.get("foreign"));
        all.flatten().copied().fold(0.0, f64::max)
    }

    /// Writes them down.
    pub(crate) fn save(&self, file: &Path) -> Result<()> {
        let text = json!({ "figures": self.figures, "failures": self.failures });
        let folder = file.parent().context("a file is in a folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        std::fs::write(file, format!("{text:#}\n")).with_context(|| format!("write {}", file.display()))
    }

    /// Reads what [`Self::save`] wrote; `None` if there is no such file.
    pub(crate) fn load(file: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read_to_string(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("read {}", file.display()))?,
        };
        let value: Value = serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))?;
        Ok(Some(Self {
            figures: serde_json::from_value(value["figures"].clone()).context("its figures")?,
            failures: serde_json::from_value(value["failures"].clone()).context("its failures")?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_has_the_range_around_it() {
        // (values, median, least, most)
        for (values, median, min, max) in [
            (&[3.0][..], 3.0, 3.0, 3.0),
            (&[9.0, 1.0, 2.0], 2.0, 1.0, 9.0),
            (&[4.0, 1.0, 2.0, 8.0], 3.0, 1.0, 8.0),
        ] {
            assert_eq!(Spread::of(values), Some(Spread { median, min, max }));
        }
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn samples_are_the_same_after_they_were_written_and_read() {
        let mut samples = Samples::default();
        samples.add("adit", &json!({ "gbit": 5.0, "foreign": 0.1 }));
        samples.add("adit", &json!({ "gbit": 6.0, "foreign": 0.2 }));
        samples.add("wireguard-go", &json!({ "gbit": 2.0 }));
        samples.add("boringtun", &json!({ "error": "it is not installed" }));
        assert_eq!(samples.ratio("adit", "wireguard-go", "gbit"), Some(2.75));
        assert_eq!(samples.failures("boringtun"), (1, Some("it is not installed")));
        assert!((samples.foreign() - 0.2).abs() < 1e-9);
        let folder = std::env::temp_dir().join(format!("xtask-samples-{}", std::process::id()));
        let file = folder.join("rows/a.json");
        assert_eq!(Samples::load(&file).expect("no file is no error"), None);
        samples.save(&file).expect("write");
        assert_eq!(Samples::load(&file).expect("read"), Some(samples));
        std::fs::remove_dir_all(folder).expect("remove the folder");
    }
}
