//! Runs the measuring program: a process for each row, contender and round.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::rows::Row;
use super::samples::Samples;
use crate::run;

/// How many cores others' work may take during a measurement.
const FOREIGN: f64 = 0.3;

/// How often a measurement that others' work spoils is repeated, before it counts nevertheless.
const REPEATS: usize = 2;

/// How often a contender may fail in a row before it is left out.
const FAILURES: usize = 2;

/// How long adit alone may be measured.
const ALONE_LIMIT: Duration = Duration::from_secs(900);

/// The measuring program, and what it is to find.
pub(crate) struct Lab {
    /// Itself.
    pub(crate) program: PathBuf,
    /// The release build of adit.
    pub(crate) adit: PathBuf,
    /// Where the contenders are.
    pub(crate) tools: PathBuf,
    /// Whether others' work is no reason to repeat.
    pub(crate) noisy: bool,
}

impl Lab {
    /// Measures a row: in each round every contender once, beginning with another in each.
    pub(crate) fn row(&self, row: &Row, rounds: usize, seconds: u64, limit: Duration) -> Result<Samples> {
        let mut samples = Samples::default();
        for round in 0..rounds {
            for number in 0..row.contenders.len() {
                let contender = row.contenders[(round + number) % row.contenders.len()];
                if samples.failures(contender).0 >= FAILURES {
                    continue;
                }
                let line = self.quietly(&["row", row.name, contender, &seconds.to_string()], limit)?;
                println!("{} {} of {rounds}, {contender}: {line}", row.name, round + 1);
                samples.add(contender, &line);
            }
        }
        Ok(samples)
    }

    /// Measures adit alone.
    pub(crate) fn alone(&self, name: &str) -> Result<Samples> {
        let line = self.once(&[name], ALONE_LIMIT)?;
        println!("{name}: {line}");
        let mut samples = Samples::default();
        samples.add("adit", &line);
        Ok(samples)
    }

    /// Measures once more while others' work spoils it.
    fn quietly(&self, words: &[&str], limit: Duration) -> Result<Value> {
        for _ in 0..REPEATS {
            let line = self.once(words, limit)?;
            let foreign = line["foreign"].as_f64().unwrap_or(0.0);
            if self.noisy || foreign <= FOREIGN {
                return Ok(line);
            }
            println!("{}: others took {foreign:.2} cores; once more", words.join(" "));
        }
        self.once(words, limit)
    }

    fn once(&self, words: &[&str], limit: Duration) -> Result<Value> {
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .env("ADIT_BIN", &self.adit)
            .env("ADIT_TOOLS", &self.tools);
        let ran = run::watch(&mut command, limit, |_| {}).context("start the program that measures")?;
        let mut figures = ran.lines.iter().rev().filter(|line| line.starts_with('{'));
        let figures = figures.find_map(|line| serde_json::from_str(line).ok());
        Ok(match figures {
            Some(figures) if ran.success => figures,
            _ => json!({ "error": why(&ran.lines) }),
        })
    }
}

/// Why a program failed, from what it said: a panic's own words, else its last line.
fn why(lines: &[String]) -> String {
    let panic = lines.iter().position(|line| line.contains("panicked at"));
    let words = panic.and_then(|line| lines.get(line + 1)).or_else(|| lines.last());
    words.map_or_else(|| "it said nothing".to_owned(), |words| words.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_the_words_of_the_panic() {
        // (what was said, why)
        for (said, expected) in [
            (
                &["thread 'main' panicked at a.rs:3:", "no route", "note: run with"][..],
                "no route",
            ),
            (
                &["one", "x took longer than 9 s: killed"],
                "x took longer than 9 s: killed",
            ),
            (&[], "it said nothing"),
        ] {
            let said: Vec<_> = said.iter().map(|line| (*line).to_owned()).collect();
            assert_eq!(why(&said), expected);
        }
    }
}
