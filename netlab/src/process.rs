//! A process in the background of a host, and its log.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::{Account, Host, namespace, wait_until};

/// A running process. Dropping it kills it; if the test is failing, the log is printed first.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    stdout: PathBuf,
    stderr: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    #[track_caller]
    pub(crate) fn start(mut command: std::process::Command, host: &Host) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let program = PathBuf::from(command.get_program());
        let program = program
            .file_name()
            .map_or_else(|| "process".into(), |name| name.to_string_lossy().into_owned());
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = |kind: &str| host.folder().join(format!("{program}-{number}.{kind}"));
        let (stdout, stderr) = (log("stdout"), log("stderr"));
        let open = |path: &PathBuf| {
            let file = File::create(path).expect("make a log");
            crate::host::readable_by_all(path);
            file
        };
        command.stdout(open(&stdout)).stderr(open(&stderr));
        let name = format!("{command:?} on {}", host.name());
        let child = crate::command::started(&mut command, &name);
        Self {
            child,
            name,
            stdout,
            stderr,
            ended: None,
        }
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process number fits")
    }

    /// Its standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        std::fs::read(&self.stdout)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Its standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        std::fs::read(&self.stderr)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Both.
    #[must_use]
    pub fn log(&self) -> String {
        self.stdout() + &self.stderr()
    }

    /// What it holds.
    ///
    /// # Panics
    ///
    /// If it has ended.
    #[track_caller]
    #[must_use]
    pub fn account(&self) -> Account {
        Account::of(self.pid()).unwrap_or_else(|| panic!("{} has ended", self.name))
    }

    /// Waits until its output holds `text`.
    ///
    /// # Panics
    ///
    /// If it ends before, or does not say so within `limit`.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str, limit: Duration) {
        let what = format!("{} says {text:?}", self.name);
        wait_until(&what, limit, || {
            let ended = self.poll();
            if self.log().contains(text) {
                return Some(());
            }
            assert!(ended.is_none(), "{} ended before it said {text:?}", self.name);
            None
        });
    }

    /// How it ended, if it did.
    pub fn poll(&mut self) -> Option<ExitStatus> {
        self.ended = self.ended.or_else(|| self.child.try_wait().expect("ask after a child"));
        self.ended
    }

    /// Sends it a signal, such as `libc::SIGTERM`.
    pub fn signal(&self, signal: i32) {
        if self.ended.is_none() {
            namespace::kill(self.pid(), signal);
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// If it goes on past `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        wait_until(&what, limit, || self.poll())
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Panics
    ///
    /// If it goes on past `limit`.
    #[track_caller]
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait(limit)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let state = self
                .poll()
                .map_or_else(|| "running".to_owned(), |status| status.to_string());
            eprintln!("--- {} ({state})\n{}{}---", self.name, self.stdout(), self.stderr());
        }
        if self.poll().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
