//! Wakes an event loop when a state machine's next timeout falls due, also while it is set by other threads.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::time::Time;

/// No time at all.
const NEVER: u64 = u64::MAX;

/// A timer with a descriptor that is readable once it is due.
///
/// It runs by `CLOCK_BOOTTIME`, and so goes off at once when the machine wakes from a sleep that it spans. Setting
/// it to a time later than it is set to costs nothing and does nothing: it goes off early, and is then set anew.
#[derive(Debug)]
pub struct Alarm {
    fd: OwnedFd,
    due: AtomicU64,
    setting: Mutex<()>,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    ///
    /// Those of `timerfd_create`.
    pub fn new() -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        Ok(Self {
            fd,
            due: AtomicU64::new(NEVER),
            setting: Mutex::new(()),
        })
    }

    /// Makes sure that the alarm goes off at `due` at the latest; `None` is never. Any thread may call it.
    pub fn arm(&self, due: Option<Time>) {
        let Some(due) = due.map(Time::as_nanos) else { return };
        if due >= self.due.load(Ordering::Acquire) {
            return;
        }
        let _setting = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
        if due < self.due.load(Ordering::Acquire) {
            self.due.store(due, Ordering::Release);
            self.set(due);
        }
    }

    /// To be called when the descriptor is readable, before the timeout is handled and the alarm armed anew.
    pub fn went_off(&self) {
        let _setting = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
        // Expired, it is not set; another thread may have set it since, which then must be repeated.
        let mut expirations = [0; 8];
        if rustix::io::read(&self.fd, &mut expirations).is_ok() {
            self.due.store(NEVER, Ordering::Release);
        }
    }

    fn set(&self, due: u64) {
        const NANOS: u64 = 1_000_000_000;
        // An absolute time of zero would switch the timer off.
        let due = due.max(1);
        let time = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: i64::try_from(due / NANOS).unwrap_or(i64::MAX),
                tv_nsec: (due % NANOS).try_into().unwrap_or_default(),
            },
        };
        let set = timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &time);
        debug_assert!(set.is_ok(), "a valid time and descriptor: {set:?}");
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn goes_off_within(alarm: &Alarm, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).unwrap();
        poll(&mut [PollFd::new(alarm, PollFlags::IN)], Some(&limit)).unwrap() == 1
    }

    #[test]
    fn it_goes_off_at_the_earliest_time_that_any_thread_asked_for() {
        let alarm = Alarm::new().unwrap();
        assert!(!goes_off_within(&alarm, Duration::ZERO));
        let now = Time::now();
        alarm.arm(Some(now + Duration::from_secs(3600)));
        std::thread::scope(|scope| {
            for millis in [900_000, 20, 500_000] {
                let alarm = &alarm;
                scope.spawn(move || alarm.arm(Some(now + Duration::from_millis(millis))));
            }
        });
        assert!(goes_off_within(&alarm, Duration::from_secs(5)));
        assert!(Time::now() >= now + Duration::from_millis(20));
        alarm.went_off();
        assert!(
            !goes_off_within(&alarm, Duration::ZERO),
            "it stays off until it is armed again"
        );
        for past in [Some(now), Some(Time::ZERO)] {
            alarm.arm(None);
            alarm.arm(past);
            assert!(goes_off_within(&alarm, Duration::from_secs(5)));
            alarm.went_off();
        }
    }

    #[test]
    fn a_time_set_between_going_off_and_being_noticed_is_kept() {
        let alarm = Alarm::new().unwrap();
        alarm.arm(Some(Time::now()));
        assert!(goes_off_within(&alarm, Duration::from_secs(5)));
        // Later than what is set: refused while that is pending, and so to be armed after `went_off`.
        alarm.arm(Some(Time::now() + Duration::from_millis(1)));
        alarm.went_off();
        alarm.arm(Some(Time::now() + Duration::from_millis(1)));
        assert!(goes_off_within(&alarm, Duration::from_secs(5)));
    }
}
