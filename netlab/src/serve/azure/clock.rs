//! The service's clock, which may be wrong, and how it writes times.

use std::time::{SystemTime, UNIX_EPOCH};

/// The seconds since 1970 of a clock that is `skew` seconds ahead.
pub(super) fn now(skew: i64) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let secs = since.map_or(0, |since| since.as_secs());
    i64::try_from(secs).unwrap_or(i64::MAX).saturating_add(skew)
}

/// Year, month and day of a number of days since 1970 (the civil calendar, by eras of 400 years).
const fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

/// A time as bodies have it: `2026-11-27T23:41:40.0000000Z`.
pub(super) fn rfc3339(secs: i64) -> String {
    let (year, month, day) = date(secs.div_euclid(86_400));
    let rest = secs.rem_euclid(86_400);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.0000000Z")
}

/// A time as headers have it (*RFC 9110, 5.6.7*).
pub(super) fn http(secs: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let days = secs.div_euclid(86_400);
    let (year, month, day) = date(days);
    let rest = secs.rem_euclid(86_400);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let weekday = DAYS[usize::try_from(days.rem_euclid(7)).unwrap_or(0)];
    let month = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_headers_and_bodies_have_them() {
        for (secs, body, header) in [
            (0, "1970-01-01T00:00:00.0000000Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (
                784_111_777,
                "1994-11-06T08:49:37.0000000Z",
                "Sun, 06 Nov 1994 08:49:37 GMT",
            ),
            (
                1_709_251_199,
                "2024-02-29T23:59:59.0000000Z",
                "Thu, 29 Feb 2024 23:59:59 GMT",
            ),
            (
                1_795_824_000,
                "2026-11-28T00:00:00.0000000Z",
                "Sat, 28 Nov 2026 00:00:00 GMT",
            ),
        ] {
            assert_eq!((&*rfc3339(secs), &*http(secs)), (body, header), "{secs}");
        }
    }
}
