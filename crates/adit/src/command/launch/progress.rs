//! How far a gateway is on its way, in one line: which step, how long so far, and how long it usually takes. Pure.

use std::time::Duration;

use launch::State;

use crate::duration;

/// Steps until a gateway is ready.
const STEPS: usize = 3;

/// Cells of the bar on a terminal that has room for it.
const CELLS: usize = 20;

/// A narrower terminal has half of them, or none.
const ROOMY: usize = 72;
const NARROW: usize = 48;

/// Share of the bar, in percent, that is not filled before the gateway is ready, however long it takes.
const MOST: u128 = 95;

/// A gateway on its way.
#[derive(Clone, Debug)]
pub(crate) struct Progress<'a> {
    /// Where the lease is in its life.
    pub(crate) state: State,
    /// What is going on, for people.
    pub(crate) doing: &'a str,
    /// Since it was asked for.
    pub(crate) passed: Duration,
    /// How long it usually takes there; `None` if nobody says.
    pub(crate) usual: Option<Duration>,
}

impl Progress<'_> {
    /// The line, for a terminal of so many columns; `None` once nothing is on its way.
    pub(crate) fn line(&self, columns: usize) -> Option<String> {
        let step = self.step()?;
        let cells = match columns {
            ROOMY.. => CELLS,
            NARROW..ROOMY => CELLS / 2,
            0..NARROW => 0,
        };
        let mut line = String::new();
        if cells > 0 {
            let filled = self.filled(step, cells);
            line = format!("[{}{}] ", "█".repeat(filled), "░".repeat(cells - filled));
        }
        line += &format!("{step}/{STEPS} {} · {}", self.doing, self.time());
        Some(line)
    }

    fn step(&self) -> Option<usize> {
        match self.state {
            State::Requested => Some(1),
            State::Provisioning => Some(2),
            State::Configuring => Some(3),
            State::Ready | State::Failed | State::Lost | State::Removing | State::Removed => None,
        }
    }

    /// By the time that it usually takes; where nobody knows that, by the steps that are done.
    fn filled(&self, step: usize, cells: usize) -> usize {
        let percent = match self.usual.map(|usual| usual.as_millis()) {
            Some(usual) if usual > 0 => (self.passed.as_millis() * 100 / usual).min(MOST),
            Some(_) | None => 100 * (step as u128 - 1) / STEPS as u128,
        };
        cells * usize::try_from(percent).unwrap_or_default() / 100
    }

    fn time(&self) -> String {
        let passed = duration::humane(self.passed);
        match self.usual.map(duration::humane) {
            None => passed,
            Some(usual) if self.is_late() => format!("{passed}, longer than the usual {usual}"),
            Some(usual) => format!("{passed} of usually {usual}"),
        }
    }

    fn is_late(&self) -> bool {
        self.usual.is_some_and(|usual| self.passed.as_secs() > usual.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_the_step_and_the_time_and_never_more_than_is_so() {
        use State::{Configuring, Provisioning, Ready, Removing, Requested};
        // (state, seconds so far, seconds that are usual, columns, the line)
        for (state, passed, usual, columns, line) in [
            (
                Requested,
                0,
                Some(40),
                80,
                Some("[░░░░░░░░░░░░░░░░░░░░] 1/3 it goes on · 0 s of usually 40 s"),
            ),
            (
                Provisioning,
                20,
                Some(40),
                80,
                Some("[██████████░░░░░░░░░░] 2/3 it goes on · 20 s of usually 40 s"),
            ),
            (
                Configuring,
                40,
                Some(40),
                80,
                Some("[███████████████████░] 3/3 it goes on · 40 s of usually 40 s"),
            ),
            (
                Configuring,
                95,
                Some(40),
                80,
                Some("[███████████████████░] 3/3 it goes on · 1 min 35 s, longer than the usual 40 s"),
            ),
            (
                Provisioning,
                20,
                Some(40),
                60,
                Some("[█████░░░░░] 2/3 it goes on · 20 s of usually 40 s"),
            ),
            (
                Provisioning,
                20,
                Some(40),
                40,
                Some("2/3 it goes on · 20 s of usually 40 s"),
            ),
            (
                Configuring,
                7,
                None,
                80,
                Some("[█████████████░░░░░░░] 3/3 it goes on · 7 s"),
            ),
            (
                Provisioning,
                7,
                Some(0),
                60,
                Some("[███░░░░░░░] 2/3 it goes on · 7 s, longer than the usual 0 s"),
            ),
            (Ready, 7, Some(40), 80, None),
            (Removing, 7, Some(40), 80, None),
        ] {
            let progress = Progress {
                state,
                doing: "it goes on",
                passed: Duration::from_secs(passed),
                usual: usual.map(Duration::from_secs),
            };
            assert_eq!(progress.line(columns).as_deref(), line, "{progress:?}");
        }
    }
}
