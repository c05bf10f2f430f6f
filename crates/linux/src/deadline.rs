//! Ends this process after a set time by the kernel's hand, whatever its threads are at.
#![allow(unsafe_code, reason = "POSIX timers and signal handlers have no safe interface")]

use std::{
    io,
    mem::{MaybeUninit, zeroed},
    ptr,
    time::Duration,
};

/// The code with which process 1 of a container ends at its deadline. Any other process is ended by `SIGKILL`.
pub const EXIT_CODE: i32 = 137;

/// The first process of a container, which the kernel spares what it does to others by a signal.
const FIRST: u32 = 1;

/// A timer of the kernel's that ends this process, and that nobody's clock moves.
///
/// It stands still while the machine sleeps, when the process serves nobody: one whose time ends meanwhile can still end by
/// itself once the machine is awake.
///
/// Dropping it changes nothing: only the process's end takes it back. A program that takes this one's place has none.
#[derive(Debug)]
pub struct Deadline {
    timer: libc::timer_t,
}

impl Deadline {
    /// Lets the kernel end this process once the machine was awake for so long from this moment on.
    ///
    /// By `SIGKILL`, which ends it though it be stopped. The kernel delivers that to no process 1 of its own, so there it is
    /// `SIGALRM` and a handler that ends the process, in any thread that is not held up in the kernel. To be called before
    /// the first thread is started.
    ///
    /// # Errors
    ///
    /// What the kernel says: `EAGAIN` at the limit of pending signals.
    pub fn set(after: Duration) -> io::Result<Self> {
        let signal = if std::process::id() == FIRST {
            handle_alarm()?;
            libc::SIGALRM
        } else {
            libc::SIGKILL
        };
        // SAFETY: a sigevent is numbers and a pointer that is not read here, for all of which zero is a value.
        let mut event: libc::sigevent = unsafe { zeroed() };
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = signal;
        let mut timer = MaybeUninit::uninit();
        // SAFETY: both pointers are to values of the right type that outlive the call.
        if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, timer.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: timer_create has written it.
        let timer = unsafe { timer.assume_init() };
        let deadline = Self { timer };
        deadline.move_to(after)?;
        Ok(deadline)
    }

    /// Sets another time from this moment on, longer or shorter.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn move_to(&self, after: Duration) -> io::Result<()> {
        // Zero would take it back.
        let after = after.max(Duration::from_nanos(1));
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let value = libc::itimerspec {
            it_interval: never,
            it_value: libc::timespec {
                tv_sec: after.as_secs().try_into().unwrap_or(libc::time_t::MAX),
                tv_nsec: after.subsec_nanos().into(),
            },
        };
        // SAFETY: the timer is one that timer_create gave, and nobody deletes it; the old value is not asked for.
        match unsafe { libc::timer_settime(self.timer, 0, &raw const value, ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Lets `SIGALRM` end this process, in whichever thread.
fn handle_alarm() -> io::Result<()> {
    extern "C" fn end(_signal: libc::c_int) {
        // SAFETY: _exit is async-signal-safe, and runs nothing of this program's.
        unsafe { libc::_exit(EXIT_CODE) }
    }
    // SAFETY: zeroes are a sigaction without flags and with an empty mask.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = end as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler does what a handler may; the set is initialised; old values are not asked for.
    unsafe {
        if libc::sigaction(libc::SIGALRM, &raw const action, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut set = zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGALRM);
        match libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        env, io,
        os::unix::process::ExitStatusExt as _,
        process::{Command, ExitStatus, Stdio},
        time::Instant,
    };

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    /// What the process does that is to end, if this is that process.
    const ROLE: &str = "ADIT_TEST_DEADLINE";

    const SOON: Duration = Duration::from_millis(300);

    /// Runs this test in another process, as `role`, behind `words`. How it ended, and after which time.
    fn run(words: &[&str], role: &str) -> io::Result<(ExitStatus, Duration)> {
        let program = env::current_exe()?;
        let mut command = match words {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command.args([
            "--exact",
            "deadline::tests::a_process_that_hangs_ends_all_the_same",
            "--nocapture",
        ]);
        command.env(ROLE, role).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        Ok((command.status()?, started.elapsed()))
    }

    /// Never returns.
    fn play(role: &str) {
        {
            // Whoever drops it has it all the same.
            let deadline = Deadline::set(Duration::from_secs(60)).unwrap();
            deadline.move_to(SOON).unwrap();
        }
        match role {
            "stopped" => kill_process(getpid(), Signal::STOP).unwrap(),
            "deaf" => {
                // SAFETY: both only change how this process takes a signal.
                unsafe {
                    libc::signal(libc::SIGTERM, libc::SIG_IGN);
                }
            }
            _ => assert_eq!(getpid().as_raw_nonzero().get(), 1),
        }
        loop {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn a_process_that_hangs_ends_all_the_same() {
        if let Ok(role) = env::var(ROLE) {
            return play(&role);
        }
        let limit = Duration::from_secs(20);
        for role in ["deaf", "stopped"] {
            let (status, after) = run(&[], role).unwrap();
            assert_eq!(status.signal(), Some(libc::SIGKILL), "{role}: {status}");
            assert!((SOON..limit).contains(&after), "{role}: {after:?}");
        }
        let first = [
            "unshare",
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child",
        ];
        let may = Command::new(first[0]).args(&first[1..]).arg("true").output();
        if !may.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: no process namespace of its own here");
            return;
        }
        let (status, after) = run(&first, "first").unwrap();
        assert_eq!(status.code(), Some(EXIT_CODE), "{status}");
        assert!((SOON..limit).contains(&after), "{after:?}");
    }
}
