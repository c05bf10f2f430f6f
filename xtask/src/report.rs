//! What ran, how it ended, and the line that closes a run.

use std::time::Duration;

/// What came of one suite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// How many passed, without those that skipped themselves.
    pub(crate) passed: u32,
    /// How many failed.
    pub(crate) failed: u32,
    /// What was skipped, each with what it needed.
    pub(crate) skipped: Vec<String>,
}

impl Count {
    /// The count of a check that is one thing as a whole.
    pub(crate) fn one(success: bool) -> Self {
        Self {
            passed: u32::from(success),
            failed: u32::from(!success),
            skipped: Vec::new(),
        }
    }

    /// The count of a check that could not run.
    pub(crate) fn skip(why: impl Into<String>) -> Self {
        Self {
            skipped: vec![why.into()],
            ..Self::default()
        }
    }

    /// Reads what Rust's test runner said: its `test result:` lines, and `skipped: NAME: needs X` of the tests.
    ///
    /// A test that skips itself has passed for the runner; it is counted as skipped here. If the runner ended badly
    /// without a failed test, it died: one failure.
    pub(crate) fn read(lines: &[String], success: bool) -> Self {
        let mut count = Self::default();
        let mut ignored = Vec::new();
        for line in lines {
            if let Some(result) = line.strip_prefix("test result: ") {
                let number = |what: &str| -> u32 {
                    let words: Vec<_> = result.split([' ', ';']).collect();
                    let at = words.iter().position(|word| *word == what);
                    at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok())
                        .unwrap_or(0)
                };
                count.passed += number("passed");
                count.failed += number("failed");
            } else if let Some(skipped) = line.strip_prefix("skipped: ") {
                count.skipped.push(skipped.to_owned());
            } else if ignored_test(line) {
                ignored.push(line.trim_start_matches("test ").to_owned());
            }
        }
        count.passed = count
            .passed
            .saturating_sub(u32::try_from(count.skipped.len()).unwrap_or(u32::MAX));
        count.skipped.extend(ignored);
        if !success && count.failed == 0 {
            count.failed = 1;
        }
        count
    }
}

fn ignored_test(line: &str) -> bool {
    line.starts_with("test ") && line.contains("... ignored")
}

/// What has run so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    suites: Vec<(String, Count, Duration)>,
}

impl Report {
    /// Notes what came of a suite.
    pub(crate) fn add(&mut self, suite: impl Into<String>, count: Count, took: Duration) {
        self.suites.push((suite.into(), count, took));
    }

    /// The summary: a line a suite, what was skipped, and the closing line. The second is whether nothing failed.
    pub(crate) fn close(&self) -> (String, bool) {
        let mut text = String::from("\nsuite                                passed  failed  skipped  seconds\n");
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for (suite, count, took) in &self.suites {
            let left = count.skipped.len();
            let seconds = took.as_secs_f32();
            text += &format!(
                "{suite:<36} {:>6}  {:>6}  {left:>7}  {seconds:>7.1}\n",
                count.passed, count.failed
            );
            (passed, failed, skipped) = (passed + count.passed, failed + count.failed, skipped + left);
        }
        for what in self.suites.iter().flat_map(|(_, count, _)| &count.skipped) {
            text += &format!("skipped: {what}\n");
        }
        text += &format!("\n{passed} passed, {failed} failed, {skipped} skipped\n");
        (text, failed == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_runner_s_lines_are_counted() {
        let ran = "running 4 tests\ntest a ... ok\nskipped: b: needs root\ntest c ... ignored\n\
                   test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        // (what it said, ended with 0?, passed, failed, skipped)
        for (said, success, passed, failed, skipped) in [
            (ran, false, 1, 1, 2),
            (
                "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
                true,
                3,
                0,
                0,
            ),
            ("it died before it said anything", false, 0, 1, 0),
            ("", true, 0, 0, 0),
        ] {
            let count = Count::read(&lines(said), success);
            assert_eq!(
                (count.passed, count.failed, count.skipped.len()),
                (passed, failed, skipped),
                "{said}"
            );
        }
    }

    #[test]
    fn the_closing_line_stands_alone() {
        let mut report = Report::default();
        report.add("format", Count::one(true), Duration::ZERO);
        report.add(
            "tests",
            Count {
                passed: 5,
                failed: 1,
                skipped: vec!["x: needs y".into()],
            },
            Duration::ZERO,
        );
        let (text, success) = report.close();
        assert!(
            text.ends_with("skipped: x: needs y\n\n6 passed, 1 failed, 1 skipped\n"),
            "{text}"
        );
        assert!(!success);
    }
}
