//! A command on a host, with a time limit.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::{Host, Process, namespace, wait_until};

/// A command that runs on a [`Host`], as root there unless [`Command::as_nobody`] says otherwise.
#[derive(Debug)]
pub struct Command {
    inner: std::process::Command,
    host: Host,
    input: Vec<u8>,
    limit: Duration,
    nobody: bool,
}

/// How a command ended and what it said.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Command {
    pub(crate) fn new(host: Host, program: &Path) -> Self {
        let mut inner = std::process::Command::new(program);
        inner.process_group(0);
        Self {
            inner,
            host,
            input: Vec::new(),
            limit: Duration::from_secs(30),
            nobody: false,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.inner.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.inner.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Sets the working folder; `/` unless told so.
    #[must_use]
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.inner.current_dir(folder);
        self
    }

    /// Sets what it reads from standard input; nothing unless told so.
    #[must_use]
    pub fn input(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.input = text.into();
        self
    }

    /// Sets how long it may take; 30 seconds unless told so.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it as user and group 65534 without any capability, in the bounding set neither, and without a way back.
    #[must_use]
    pub const fn as_nobody(mut self) -> Self {
        self.nobody = true;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    ///
    /// If it cannot be started, or goes on past its limit.
    #[track_caller]
    pub fn output(mut self) -> Output {
        // Files rather than pipes: a daemon that it leaves behind would keep a pipe open.
        let (stdout, stderr) = (Kept::new(), Kept::new());
        self.inner
            .stdin(Stdio::piped())
            .stdout(stdout.writer())
            .stderr(stderr.writer());
        self.host.lead(&mut self.inner, self.nobody);
        let limit = crate::pace::stretched(self.limit);
        let start = Instant::now();
        let name = format!("{:?} on {}", self.inner, self.host.name());
        let mut child = started(&mut self.inner, &name);
        let group = -i32::try_from(child.id()).expect("a process number fits");
        let (stdin, input) = (child.stdin.take(), self.input);
        // A program that does not read to the end closes its side: no error of the test's.
        let feeder = std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input).is_ok()));
        let status = loop {
            if let Some(status) = child.try_wait().expect("ask after a child") {
                break status;
            }
            if start.elapsed() > limit {
                namespace::kill(group, libc::SIGKILL);
                let _ = child.wait();
                panic!("{name} took longer than {limit:?}\n{}{}", stdout.read(), stderr.read());
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let took = start.elapsed();
        let _ = feeder.join();
        Output {
            status,
            stdout: stdout.read(),
            stderr: stderr.read(),
            took,
        }
    }

    /// Runs it and gives its standard output.
    ///
    /// # Panics
    ///
    /// If it does not end with 0; the message has all that it said.
    #[track_caller]
    pub fn run(self) -> String {
        let name = format!("{:?} on {}", self.inner, self.host.name());
        let output = self.output();
        assert!(
            output.status.success(),
            "{name}: {}\n{}{}",
            output.status,
            output.stdout,
            output.stderr
        );
        output.stdout
    }

    /// Starts it in the background; its output goes to a log in the host's folder.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[track_caller]
    #[must_use]
    pub fn spawn(mut self) -> Process {
        self.inner.stdin(Stdio::null());
        self.host.lead(&mut self.inner, self.nobody);
        Process::start(self.inner, &self.host)
    }
}

/// Starts a program, though it may just have been written: a child that another thread was starting meanwhile holds
/// the open file until it becomes its own program, and Linux does not run what is open for writing.
#[track_caller]
pub(crate) fn started(command: &mut std::process::Command, name: &str) -> Child {
    wait_until(
        &format!("{name} may be run"),
        Duration::from_secs(5),
        || match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => None,
            started => Some(started.unwrap_or_else(|error| panic!("start {name}: {error}"))),
        },
    )
}

/// A file without a name that keeps what a program says.
struct Kept(File);

impl Kept {
    fn new() -> Self {
        Self(tempfile::tempfile().expect("make a file for output"))
    }

    fn writer(&self) -> File {
        self.0.try_clone().expect("share a file")
    }

    fn read(mut self) -> String {
        let mut bytes = Vec::new();
        self.0.rewind().expect("go back to the start of a file");
        self.0.read_to_end(&mut bytes).expect("read what a program said");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
