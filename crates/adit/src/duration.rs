//! Durations as people write them: 45s, 30m, 2h, 1h30m.

use std::time::Duration;

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Reads a duration. Each unit comes at most once, larger ones first; a number alone has no meaning.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let problem = || format!("`{text}` is not a duration such as 45s, 30m, 2h, 1h30m or 1d");
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut seconds = 0_u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = rest[..digits].parse::<u64>().map_err(|_| problem())?;
        let unit = rest[digits..].chars().next().ok_or_else(problem)?;
        let (_, length) = units.find(|(name, _)| *name == unit).ok_or_else(problem)?;
        let part = number.checked_mul(*length).ok_or_else(problem)?;
        seconds = seconds.checked_add(part).ok_or_else(problem)?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    if text.is_empty() {
        Err(problem())
    } else {
        Ok(Duration::from_secs(seconds))
    }
}

/// Writes a duration for people, with its two largest units: `30 min`, `1 h 30 min`, `45 s`.
pub(crate) fn humane(duration: Duration) -> String {
    let names = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let mut rest = duration.as_secs();
    let mut parts = Vec::new();
    for (name, length) in names {
        let number = rest / length;
        rest %= length;
        if number > 0 {
            parts.push(format!("{number} {name}"));
        }
    }
    parts.truncate(2);
    if parts.is_empty() {
        "0 s".to_owned()
    } else {
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("45s", 45),
            ("30m", 1_800),
            ("2h", 7_200),
            ("1h30m", 5_400),
            ("1d", 86_400),
            ("1d2h3m4s", 93_784),
            ("90m", 5_400),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "30",
            "m",
            "30 m",
            "1m1h",
            "1m1m",
            "-1m",
            "1.5h",
            "30min",
            "1w",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_written_with_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (45, "45 s"),
            (90, "1 min 30 s"),
            (1_800, "30 min"),
            (5_400, "1 h 30 min"),
            (93_784, "1 d 2 h"),
        ] {
            assert_eq!(humane(Duration::from_secs(seconds)), text);
        }
    }
}
