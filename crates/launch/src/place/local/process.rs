//! A process that is no child of this one any more, perhaps: who it is, and how it is ended.

use std::{
    fmt,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    str::FromStr,
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal},
};

/// A process by its number and when it started, in clock ticks since the machine's start: numbers come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: i32,
    started: u64,
}

impl Process {
    /// The process of this number, if there is one.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        let started = started(pid)?;
        Some(Self { pid, started })
    }

    /// The process whose standard input is this file.
    pub(super) fn with_input(file: &Metadata) -> Option<Self> {
        let own = std::process::id();
        let numbers = fs::read_dir("/proc")
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let has_it = |pid: &u32| {
            let input = fs::metadata(format!("/proc/{pid}/fd/0"));
            input.is_ok_and(|input| (input.dev(), input.ino()) == (file.dev(), file.ino()))
        };
        numbers.filter(|pid| *pid != own).find(has_it).and_then(Self::of)
    }

    /// Sends it a signal; no other process gets it.
    ///
    /// # Errors
    ///
    /// The kernel's refusal; `ESRCH` if it has ended.
    pub(super) fn signal(self, signal: Signal) -> Result<(), Errno> {
        let pid = Pid::from_raw(self.pid).ok_or(Errno::SRCH)?;
        // What is open stands for one process, and was opened before this one was seen to live.
        let open = pidfd_open(pid, PidfdFlags::empty());
        if started(self.pid) != Some(self.started) {
            return Err(Errno::SRCH);
        }
        match open {
            Ok(process) => pidfd_send_signal(process, signal),
            // Linux before 5.3.
            Err(Errno::NOSYS) => kill_process(pid, signal),
            Err(error) => Err(error),
        }
    }
}

/// When a process started; `None` if there is none, or only its exit code is left.
fn started(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc_pid_stat(5): the name, in brackets, may hold anything; the state is the third field, the start the 22nd.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.pid, self.started)
    }
}

impl FromStr for Process {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split_whitespace();
        let mut number = || words.next()?.parse::<u64>().ok();
        let (pid, started) = number().zip(number()).ok_or(())?;
        let pid = i32::try_from(pid).map_err(|_| ())?;
        Ok(Self { pid, started })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_found_by_its_input_and_no_other_gets_its_signals() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("input");
        let file = fs::File::create_new(&path).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!(Process::with_input(&metadata), None);
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::from(file))
            .spawn()
            .unwrap();
        let process = Process::of(child.id()).unwrap();
        assert_eq!(Process::with_input(&metadata), Some(process));
        assert_eq!(process.to_string().parse(), Ok(process));
        let earlier = Process {
            started: process.started - 1,
            ..process
        };
        assert_eq!(earlier.signal(Signal::KILL), Err(Errno::SRCH));
        assert_eq!(process.signal(Signal::KILL), Ok(()));
        assert!(!child.wait().unwrap().success());
        assert_eq!(process.signal(Signal::KILL), Err(Errno::SRCH));
        for text in ["", "1", "x 1", "1 x", "99999999999 1"] {
            assert_eq!(text.parse::<Process>(), Err(()), "{text}");
        }
    }
}
