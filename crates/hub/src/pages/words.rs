//! Times, durations and sizes as people read them. `assets/words.js` says them the same way.

use std::time::Duration;

use launch::Moment;
use maud::{Markup, html};

/// A duration by its two largest units: `45 s`, `30 min`, `1 h 30 min`, `2 days 3 h`.
pub(super) fn duration(duration: Duration) -> String {
    let secs = duration.as_secs();
    let (days, hours, mins) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    let day = if days == 1 { "day" } else { "days" };
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match secs {
        0..60 => format!("{secs} s"),
        60..600 => two(mins, "min", secs % 60, "s"),
        600..3_600 => format!("{mins} min"),
        3_600..86_400 => two(hours, "h", mins, "min"),
        _ => two(days, day, hours, "h"),
    }
}

/// A duration to a tenth of a second while that tells more, never nothing: `0.3 s`, `12 s`, `2 min`.
pub(super) fn exact(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        let tenths = time.as_millis().div_ceil(100).max(1);
        format!("{}.{} s", tenths / 10, tenths % 10)
    } else {
        duration(time)
    }
}

/// A size in decimal units: `0 B`, `999 B`, `1.2 kB`, `34 MB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "kB"),
    ];
    for (size, unit) in UNITS {
        if count >= size {
            let tenths = u128::from(count) * 10 / u128::from(size);
            return match tenths {
                0..100 => format!("{}.{} {unit}", tenths / 10, tenths % 10),
                _ => format!("{} {unit}", tenths / 10),
            };
        }
    }
    format!("{count} B")
}

/// A moment in UTC, which the page's script turns into the reader's own time.
pub(super) fn time(moment: Moment) -> Markup {
    let text = moment.to_string();
    let date = text.get(..10).unwrap_or_default();
    let clock = text.get(11..16).unwrap_or_default();
    html! { time datetime=(text) data-time { (date) " " (clock) " UTC" } }
}

/// How long it is until `end`, which the page's script counts down.
pub(super) fn left(end: Moment, now: Moment) -> Markup {
    html! { time.count datetime=(end) data-left { (duration(end.since(now))) } }
}

/// How long it is since `start`, which the page's script counts up.
pub(super) fn since(start: Moment, now: Moment) -> Markup {
    html! { time.count datetime=(start) data-since { (duration(now.since(start))) } }
}

/// A program's text as a sentence: a capital at its start, a full stop at its end.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let mut sentence: String = letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default();
    if sentence.ends_with(|last: char| last.is_alphanumeric() || matches!(last, '`' | ')')) {
        sentence.push('.');
    }
    sentence
}

/// A value as it may stand in an address. RFC 3986, section 2.1.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_by_their_two_largest_units() {
        for (secs, text) in [
            (0, "0 s"),
            (45, "45 s"),
            (60, "1 min"),
            (95, "1 min 35 s"),
            (1_800, "30 min"),
            (3_600, "1 h"),
            (5_400, "1 h 30 min"),
            (86_400, "1 day"),
            (97_300, "1 day 3 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(duration(Duration::from_secs(secs)), text);
        }
    }

    #[test]
    fn what_took_a_moment_took_some_time() {
        for (millis, text) in [
            (0, "0.1 s"),
            (100, "0.1 s"),
            (4_210, "4.3 s"),
            (9_999, "10.0 s"),
            (12_700, "12 s"),
        ] {
            assert_eq!(exact(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn sizes_have_two_digits_at_least_and_three_at_most() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_299, "1.2 kB"),
            (34_567_890, "34 MB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn a_time_is_in_utc_until_the_script_knows_better() {
        assert_eq!(
            time(Moment::from_millis(1_795_000_000_123)).into_string(),
            "<time datetime=\"2026-11-18T11:06:40.123Z\" data-time>2026-11-18 11:06 UTC</time>"
        );
    }

    #[test]
    fn a_program_s_text_becomes_a_sentence() {
        for (text, wanted) in [
            ("there is no such lease", "There is no such lease."),
            ("Wait!", "Wait!"),
            ("", ""),
        ] {
            assert_eq!(sentence(text), wanted);
        }
    }
}
