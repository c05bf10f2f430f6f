//! `cargo xtask guest`: runs a command in a virtual machine whose kernel is Debian's own, with WireGuard.
//!
//! The guest sees every file of the host under its path, and may write anywhere: what it writes stays in its memory.

mod emulator;
mod initramfs;
mod kernel;
mod suite;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::machine::{self, Machine};
use crate::run::{self, Ran};
use emulator::{Emulator, Server};
use kernel::Kernel;
pub(crate) use suite::{NAME, left_to_it, test};

/// How long the guest of a developer may run.
const LIMIT: Duration = Duration::from_secs(3600);

/// What prepares a guest for anything: what a host's start would have mounted and set.
const SETUP: &str = r"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mount -t tmpfs tmpfs /run
mkdir -p /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm && mount -t devpts devpts /dev/pts && mount -t tmpfs tmpfs /dev/shm
for name in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do ln -s /proc/self/${name#*:} /dev/${name%:*}; done
chmod 666 /dev/net/tun
ip link set lo up
exec </dev/null >/dev/hvc0 2>&1
";

/// What `cargo xtask guest` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Installs nothing.
    #[arg(long)]
    no_install: bool,
    /// The command and its arguments; a shell on this terminal unless given.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the command; whether it ended with 0.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let root = crate::root();
    let machine = machine::prepare(&root, !arguments.no_install)?;
    let guest = match Guest::prepare(&root, &machine, !arguments.no_install)? {
        Ok(guest) => guest,
        Err(missing) => anyhow::bail!("a guest needs {missing}"),
    };
    let folder = std::env::current_dir().context("ask for the working folder")?;
    if arguments.command.is_empty() {
        return guest.shell(&folder);
    }
    let task = Task {
        name: arguments.command.join(" "),
        command: arguments.command.clone(),
        folder,
        environment: vec![("ADIT_TOOLS".to_owned(), machine.tools.display().to_string())],
        limit: LIMIT,
    };
    let ran = guest.run("command", &[task], LIMIT)?;
    Ok(ran.iter().all(|ran| ran.success))
}

/// A command that runs in a guest.
pub(crate) struct Task {
    /// What it is called in what is shown.
    pub(crate) name: String,
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// In which folder.
    pub(crate) folder: PathBuf,
    /// Environment variables beside those of every task.
    pub(crate) environment: Vec<(String, String)>,
    /// How long it may take.
    pub(crate) limit: Duration,
}

impl Task {
    /// The lines of shell that run it between two marks.
    fn script(&self) -> String {
        let words = self.environment.iter().map(|(name, value)| format!("{name}={value}"));
        let words = words.chain(self.command.iter().cloned()).map(|word| quoted(&word));
        format!(
            "echo {BEGIN}{name}\ncd {folder}\nread start rest </proc/uptime\n\
             /usr/bin/timeout -s KILL {limit} /usr/bin/env {words}\nstatus=$?\nread end rest </proc/uptime\n\
             echo \"{END}$status $start $end\"\n",
            name = quoted(&self.name),
            folder = quoted(&self.folder.to_string_lossy()),
            limit = self.limit.as_secs(),
            words = words.collect::<Vec<_>>().join(" "),
        )
    }
}

const BEGIN: &str = "=== in the guest: ";
const END: &str = "=== ended with ";

/// A machine that can be switched on.
pub(crate) struct Guest {
    kernel: Kernel,
    initramfs: PathBuf,
    folder: PathBuf,
}

impl Guest {
    /// Fetches the kernel if `install` and if there is none, and builds the guest's first files. What cannot be had is
    /// named by the inner error.
    pub(crate) fn prepare(root: &Path, machine: &Machine, install: bool) -> Result<Result<Self, &'static str>> {
        if !machine.root {
            return Ok(Err("root"));
        }
        if let Err(missing) = kernel::emulator() {
            return Ok(Err(missing));
        }
        if Server::program().is_none() && install {
            crate::apt::machine(&["install", "-y", "-qq", "--no-install-recommends", "virtiofsd"])?;
        }
        if Server::program().is_none() {
            return Ok(Err("virtiofsd"));
        }
        let kernel = match Kernel::unpacked(&machine.tools) {
            Some(kernel) => kernel,
            None if install => Kernel::fetch(&machine.tools)?,
            None => return Ok(Err("Debian's kernel")),
        };
        println!("the guest's kernel: Linux {}", kernel.version);
        let folder = root.join("target/guest");
        std::fs::create_dir_all(&folder).context("make a folder for the guest")?;
        let initramfs = folder.join("initramfs");
        let busybox = machine::found("busybox").context("busybox has gone")?;
        let busybox = std::fs::read(busybox).context("read busybox")?;
        let archive = initramfs::archive(&busybox, &kernel.modules()?);
        std::fs::write(&initramfs, archive).context("write the guest's first files")?;
        let guest = Self {
            kernel,
            initramfs,
            folder,
        };
        let recipe = Emulator::recipe(&guest.kernel, &guest.initramfs)?;
        std::fs::write(guest.recipe(), recipe).context("write how a guest is started")?;
        Ok(Ok(guest))
    }

    /// The file that says how such a machine is started, for tests that start their own.
    pub(crate) fn recipe(&self) -> PathBuf {
        self.folder.join("recipe")
    }

    /// Runs the tasks one after the other in one guest, and shows what they say. One that the guest does not come to
    /// has failed. Guests of different names run beside each other.
    pub(crate) fn run(&self, name: &str, tasks: &[Task], limit: Duration) -> Result<Vec<Ran>> {
        let start = Instant::now();
        let script: String = tasks.iter().map(Task::script).collect();
        let folder = self.folder.join(name);
        let emulator = self.emulator(&folder);
        let (mut command, _server) = emulator.command(&job(&folder, &format!("stty -opost </dev/hvc0\n{script}"))?)?;
        let ran = run::show(&mut command, limit)?;
        let sections = sections(&ran.lines);
        let (ended, took) = (
            sections.iter().filter(|section| section.ended.is_some()),
            start.elapsed(),
        );
        let within: Duration = sections.iter().filter_map(|section| Some(section.ended?.1)).sum();
        println!(
            "{} of {} ended; {:.1} s in all, {:.1} s of these for the machine's start and end",
            ended.count(),
            tasks.len(),
            took.as_secs_f32(),
            took.saturating_sub(within).as_secs_f32()
        );
        if sections.len() < tasks.len() || sections.iter().any(|section| section.ended.is_none()) {
            println!("the guest's kernel said last:\n{}", emulator.last_words());
        }
        let mut sections = sections.into_iter();
        let all = tasks.iter().map(|_| match sections.next() {
            Some(section) => Ran {
                success: section.ended.is_some_and(|(success, _)| success),
                took: section.ended.map_or(Duration::ZERO, |(_, took)| took),
                lines: section.lines,
            },
            None => Ran {
                success: false,
                took: Duration::ZERO,
                lines: Vec::new(),
            },
        });
        Ok(all.collect())
    }

    /// A shell on this terminal.
    fn shell(&self, folder: &Path) -> Result<bool> {
        let script = format!(
            "cd {}\nexport TERM=xterm\nsetsid -c bash -i </dev/hvc0 >/dev/hvc0 2>&1\n",
            quoted(&folder.to_string_lossy())
        );
        let folder = self.folder.join("shell");
        let (mut command, _server) = self.emulator(&folder).command(&job(&folder, &script)?)?;
        Ok(command.status().context("start QEMU")?.success())
    }

    fn emulator<'a>(&'a self, folder: &'a Path) -> Emulator<'a> {
        Emulator {
            kernel: &self.kernel,
            initramfs: &self.initramfs,
            folder,
        }
    }
}

/// Writes the script that the guest runs as its first process.
fn job(folder: &Path, script: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).context("make a folder for a guest")?;
    let path = folder.join("job");
    let text = format!("{SETUP}{script}exec busybox poweroff -f\n");
    std::fs::write(&path, text).context("write the guest's job")?;
    Ok(path)
}

/// What one task said, and how it ended, if it did: whether well, and after how long.
#[derive(Debug, PartialEq)]
struct Section {
    lines: Vec<String>,
    ended: Option<(bool, Duration)>,
}

/// Splits what the guest said by task.
fn sections(lines: &[String]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in lines {
        if line.starts_with(BEGIN) {
            sections.push(Section {
                lines: Vec::new(),
                ended: None,
            });
        } else if let Some(section) = sections.last_mut() {
            match line.strip_prefix(END) {
                Some(end) => section.ended = ending(end),
                None => section.lines.push(line.clone()),
            }
        }
    }
    sections
}

/// Reads `STATUS START END`, of which the last two are the guest's seconds.
fn ending(text: &str) -> Option<(bool, Duration)> {
    let words: Vec<_> = text.split_whitespace().collect();
    let [status, start, end] = words[..] else { return None };
    let (start, end): (f64, f64) = (start.parse().ok()?, end.parse().ok()?);
    Some((status == "0", Duration::try_from_secs_f64(end - start).ok()?))
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guest_says_is_split_by_task() {
        let said = "noise\n=== in the guest: a\none\ntwo\n=== ended with 0 1.00 3.50\n=== in the guest: b\n\
                    three\n=== ended with 101 4.00 4.25\n=== in the guest: c\nhalf a";
        let lines: Vec<_> = said.lines().map(str::to_owned).collect();
        let found: Vec<_> = sections(&lines)
            .into_iter()
            .map(|section| (section.lines.join(" "), section.ended))
            .collect();
        let end = |success, seconds| Some((success, Duration::from_secs_f64(seconds)));
        let wanted = [
            ("one two", end(true, 2.5)),
            ("three", end(false, 0.25)),
            ("half a", None),
        ];
        assert_eq!(found, wanted.map(|(lines, ended)| (lines.to_owned(), ended)));
    }

    #[test]
    fn a_task_s_words_reach_it_as_they_are() {
        let task = Task {
            name: "it's".to_owned(),
            command: ["echo", "a b", "$HOME", "it's"].map(str::to_owned).into(),
            folder: "/tmp".into(),
            environment: vec![("X".to_owned(), "\"y\"".to_owned())],
            limit: Duration::from_secs(5),
        };
        let output = std::process::Command::new("sh").args(["-c", &task.script()]).output();
        let said = String::from_utf8(output.expect("start a shell").stdout).expect("text");
        assert!(
            said.starts_with("=== in the guest: it's\na b $HOME it's\n=== ended with 0 "),
            "{said}"
        );
    }
}
