//! What a clock on the wall of this machine shows: as `TZ` says, else as `/etc/localtime` does, else UTC.
#![allow(unsafe_code, reason = "the C library alone knows this machine's time zone")]

use std::{
    mem::MaybeUninit,
    time::{SystemTime, UNIX_EPOCH},
};

/// The time of this machine's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// Seconds that it is ahead of UTC.
    pub offset_secs: i32,
}

/// What the clock shows at this moment. `None` for a moment that the C library cannot place.
pub fn local(moment: SystemTime) -> Option<WallClock> {
    let seconds = libc::time_t::try_from(moment.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    let mut fields = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to values of the right type that outlive the call. adit never changes its environment,
    // so that reading TZ in this call races with nothing.
    let fields = unsafe {
        if libc::localtime_r(&raw const seconds, fields.as_mut_ptr()).is_null() {
            return None;
        }
        fields.assume_init()
    };
    Some(WallClock {
        hour: u8::try_from(fields.tm_hour).ok()?,
        minute: u8::try_from(fields.tm_min).ok()?,
        offset_secs: i32::try_from(fields.tm_gmtoff).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_later_the_clock_shows_a_minute_more() {
        let moment = UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        let (now, later) = (
            local(moment).unwrap(),
            local(moment + std::time::Duration::from_secs(60)).unwrap(),
        );
        assert!(now.hour < 24 && now.minute < 60);
        assert_eq!(later.minute, (now.minute + 1) % 60);
    }
}
