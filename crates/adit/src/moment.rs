//! Points in time as text: RFC 3339 for programs, the clock on the wall for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Time since this machine was started, by the clock that nobody sets and that goes on while it sleeps.
pub(crate) fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(
        now.tv_sec.try_into().unwrap_or_default(),
        now.tv_nsec.try_into().unwrap_or_default(),
    )
}

/// A moment as `2026-11-21T04:12:00Z`.
pub(crate) fn rfc3339(moment: SystemTime) -> String {
    rfc3339_at(moment, 0)
}

/// A moment in this machine's time zone: `2026-11-21T05:12:00+01:00`.
pub(crate) fn rfc3339_local(moment: SystemTime) -> String {
    rfc3339_at(moment, linux::clock::local(moment).map_or(0, |clock| clock.offset_secs))
}

/// A moment where clocks are so many seconds ahead of UTC.
fn rfc3339_at(moment: SystemTime, offset_secs: i32) -> String {
    let seconds = moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds = seconds.saturating_add_signed(offset_secs.into());
    let zone = match offset_secs.unsigned_abs() / 60 {
        0 => "Z".to_owned(),
        minutes => {
            let sign = if offset_secs < 0 { '-' } else { '+' };
            format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
    };
    let (year, month, day) = civil(seconds / 86_400);
    let second = seconds % 86_400;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}")
}

/// A moment as this machine's clock shows it: `04:12`.
pub(crate) fn wall(moment: SystemTime) -> String {
    match linux::clock::local(moment) {
        Some(clock) => format!("{:02}:{:02}", clock.hour, clock.minute),
        None => rfc3339(moment),
    }
}

/// Year, month and day of a day counted from 1 January 1970, by the Gregorian calendar.
fn civil(day: u64) -> (u64, u64, u64) {
    // Counted from 1 March of the year 0, so that the leap day is a year's last: 719,468 days before 1970.
    let day = day + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 31, 30, 31, 30, 31 days, over and over: 153 days for five of them.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (1_795_234_320, "2026-11-21T04:12:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_moment_elsewhere_says_how_far_its_clocks_are_ahead() {
        let moment = UNIX_EPOCH + Duration::from_secs(1_795_234_320);
        for (offset, text) in [
            (0, "2026-11-21T04:12:00Z"),
            (3_600, "2026-11-21T05:12:00+01:00"),
            (-12_600, "2026-11-21T00:42:00-03:30"),
            (-18_000, "2026-11-20T23:12:00-05:00"),
        ] {
            assert_eq!(rfc3339_at(moment, offset), text);
        }
    }
}
