//! Waits for signals as one waits for data: on a file descriptor.
#![allow(unsafe_code, reason = "signal masks and signalfd have no safe interface")]

use std::{
    fs::File,
    io::{self, Read as _},
    mem::{MaybeUninit, size_of},
    os::{
        fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::Command,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A signal that asks a program for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGINT`: Ctrl-C.
    Interrupt,
    /// `SIGTERM`: a service manager or a container engine ends the program.
    Terminate,
    /// `SIGHUP`: the terminal has gone.
    Hangup,
}

impl Signal {
    /// Every signal that this module knows.
    pub const ALL: [Self; 3] = [Self::Interrupt, Self::Terminate, Self::Hangup];

    /// Its number. A shell says 128 more of a program that it ended.
    pub const fn number(self) -> i32 {
        match self {
            Self::Interrupt => libc::SIGINT,
            Self::Terminate => libc::SIGTERM,
            Self::Hangup => libc::SIGHUP,
        }
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
        })
    }
}

/// Signals that are delivered to this descriptor instead of ending the program. They stay blocked when it is dropped.
#[derive(Debug)]
pub struct Signals {
    file: File,
}

impl Signals {
    /// Takes these signals in the calling thread and in all threads that it starts from here on.
    ///
    /// To be called before the first thread is started. A signal that the parent had ignored (`nohup`) stays ignored.
    /// Works for process 1 too, to which the kernel otherwise delivers no signal without a handler.
    ///
    /// # Errors
    ///
    /// What `sigprocmask` or `signalfd` say; the latter at the limit of open files.
    pub fn take(signals: &[Signal]) -> io::Result<Self> {
        let mut set = empty_set();
        for signal in signals.iter().filter(|signal| !is_ignored(**signal)) {
            // SAFETY: the set is initialised, and the number is one of libc's own.
            unsafe { libc::sigaddset(&raw mut set, signal.number()) };
        }
        // SAFETY: the set is initialised; the old mask is not asked for.
        let code = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if code != 0 {
            return Err(io::Error::from_raw_os_error(code));
        }
        // SAFETY: the set is initialised; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd has just made this descriptor, and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { file: fd.into() })
    }

    /// The next signal that has already arrived.
    ///
    /// # Errors
    ///
    /// What reading the descriptor says.
    pub fn try_next(&self) -> io::Result<Option<Signal>> {
        let mut record = [0_u8; size_of::<libc::signalfd_siginfo>()];
        match (&self.file).read(&mut record) {
            // The record begins with the signal's number, 32 bits in this machine's order.
            Ok(_) => {
                let number = u32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
                Ok(Signal::ALL
                    .into_iter()
                    .find(|signal| u32::try_from(signal.number()) == Ok(number)))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits for a signal, at most for `limit`; `None` waits for ever.
    ///
    /// # Errors
    ///
    /// What waiting on the descriptor says.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<Option<Signal>> {
        let limit = limit.map(|limit| {
            Timespec::try_from(limit).unwrap_or(Timespec {
                tv_sec: i64::MAX,
                tv_nsec: 0,
            })
        });
        match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => self.try_next(),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Lets a program that is started hear the signals that this one has taken: a mask is inherited, and few programs clear it.
pub fn unblock_in(command: &mut Command) -> &mut Command {
    let set = empty_set();
    // SAFETY: between fork and exec the child calls pthread_sigmask alone, which is async-signal-safe, with an
    // initialised set; it allocates nothing.
    unsafe {
        command.pre_exec(
            move || match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) {
                0 => Ok(()),
                code => Err(io::Error::from_raw_os_error(code)),
            },
        )
    }
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set that it is given.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Whether the signal was set to be ignored, by this process or by its parent.
fn is_ignored(signal: Signal) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only reads the old one, into a struct that zeroes have initialised.
    unsafe {
        libc::sigaction(signal.number(), std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_signal_is_read_and_ends_nothing() {
        // A thread of its own: the mask of the test runner's threads stays as it is.
        std::thread::spawn(|| {
            let signals = Signals::take(&[Signal::Hangup]).unwrap();
            assert_eq!(signals.wait(Some(Duration::ZERO)).unwrap(), None);
            // SAFETY: pthread_self is always a valid thread.
            assert_eq!(unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGHUP) }, 0);
            assert_eq!(
                signals.wait(Some(Duration::from_secs(5))).unwrap(),
                Some(Signal::Hangup)
            );
            assert_eq!(signals.try_next().unwrap(), None);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_program_that_is_started_hears_what_was_taken() {
        std::thread::spawn(|| {
            let _signals = Signals::take(&Signal::ALL).unwrap();
            let blocked = |command: &mut Command| {
                let output = command.args(["SigBlk", "/proc/self/status"]).output().unwrap();
                String::from_utf8(output.stdout).unwrap()
            };
            assert_ne!(blocked(&mut Command::new("grep")), "SigBlk:\t0000000000000000\n");
            assert_eq!(
                blocked(unblock_in(&mut Command::new("grep"))),
                "SigBlk:\t0000000000000000\n"
            );
        })
        .join()
        .unwrap();
    }
}
