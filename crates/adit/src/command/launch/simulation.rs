//! How the place `simulate` behaves, at which nothing is launched: for `launch`, and for a hub.

use launch::place::simulate::Config;

/// The speeds that there are, as times a cloud's.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.1..=1_000.0;

/// How a trial run goes.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct SimulateOptions {
    /// How many times as fast as a cloud the place `simulate` is, 0.1 to 1000. Default: 1, which is 40 s until a gateway is
    /// ready.
    #[arg(
        long,
        value_name = "FACTOR",
        env = "ADIT_SIMULATE_SPEED",
        hide_env_values = true,
        value_parser = speed
    )]
    pub(crate) simulate_speed: Option<f64>,
    /// How many of a hundred calls go wrong at the place `simulate`, 0 to 100: they fail, lose their answer or hang. A quarter
    /// as many machines never boot. Default: 0.
    #[arg(
        long,
        value_name = "PERCENT",
        env = "ADIT_SIMULATE_FAULTS",
        hide_env_values = true,
        value_parser = clap::value_parser!(u8).range(0..=100)
    )]
    pub(crate) simulate_faults: Option<u8>,
}

impl SimulateOptions {
    /// The place as it is set up: these options over those of a file.
    pub(crate) fn over(self, file: Self) -> Config {
        let usual = Config::default();
        Config {
            speed: self.simulate_speed.or(file.simulate_speed).unwrap_or(usual.speed),
            fault_percent: self
                .simulate_faults
                .or(file.simulate_faults)
                .unwrap_or(usual.fault_percent),
        }
    }
}

fn speed(text: &str) -> Result<f64, String> {
    text.parse()
        .map_err(|_| "not a number such as 10".to_owned())
        .and_then(check_speed)
}

/// Refuses a speed that there is not.
pub(crate) fn check_speed(speed: f64) -> Result<f64, String> {
    if SPEEDS.contains(&speed) {
        Ok(speed)
    } else {
        Err(format!("must be between {} and {}", SPEEDS.start(), SPEEDS.end()))
    }
}

/// Refuses a share that there is not.
pub(crate) fn check_faults(percent: u8) -> Result<u8, String> {
    if percent <= 100 {
        Ok(percent)
    } else {
        Err("must be between 0 and 100".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_wins_over_the_file_and_what_cannot_be_is_refused() {
        let options = |simulate_speed, simulate_faults| SimulateOptions {
            simulate_speed,
            simulate_faults,
        };
        for (typed, file, speed, fault_percent) in [
            (options(None, None), options(None, None), 1.0, 0),
            (options(Some(10.0), None), options(Some(2.0), Some(5)), 10.0, 5),
            (options(None, Some(0)), options(Some(2.0), Some(5)), 2.0, 0),
        ] {
            assert_eq!(typed.over(file), Config { speed, fault_percent });
        }
        assert_eq!(speed("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "1001", "NaN", "inf", "fast", ""] {
            assert!(speed(wrong).is_err(), "{wrong}");
        }
        assert!(check_faults(100).is_ok() && check_faults(101).is_err());
    }
}
