//! A virtual machine of Azure's: QEMU with the kernel that has WireGuard, Ignition, systemd and Docker, and an agent in it.
//!
//! ```text
//!   qemu  vmN ── eth0     agent.sock ── /dev/vport*: agent.sh     virtiofsd.sock: this machine's files, read only
//! ```
//!
//! `cargo xtask` says by `ADIT_TEST_GUEST` how such a machine is started.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netlab::serve::azure::Ran;
use netlab::{Host, Process, wait_until};

/// The variable that names the file that says how a machine is started.
pub(crate) const RECIPE: &str = "ADIT_TEST_GUEST";

/// Debian's package has Ignition where its initramfs takes it from.
pub(crate) const IGNITION: &str = "/usr/lib/dracut/modules.d/30ignition/ignition";

/// How long a machine may take until its agent is up: its processor is emulated.
const BOOT: Duration = Duration::from_secs(150);

/// How long its programs may take to start.
const SOON: Duration = Duration::from_secs(10);

/// What a machine is.
pub(crate) struct Board<'a> {
    /// The host whose network it is plugged into, by a TAP of this name.
    pub(crate) host: &'a Host,
    pub(crate) tap: &'a str,
    /// Its own address with the prefix, and its router's.
    pub(crate) address: String,
    pub(crate) router: String,
    /// For its sockets and logs.
    pub(crate) folder: &'a Path,
    /// The archive of the image that its registry has.
    pub(crate) image: PathBuf,
}

/// A machine that runs. Dropping it switches it off.
#[derive(Debug)]
pub(crate) struct Guest {
    agent: Mutex<BufReader<UnixStream>>,
    scripts: Mutex<u32>,
    folder: PathBuf,
    programs: Programs,
}

impl Guest {
    /// Switches a machine on and waits for its agent; what its console said if that does not come up.
    pub(crate) fn boot(board: &Board<'_>, custom_data: Option<&[u8]>) -> Result<Self, String> {
        let folder = board.folder;
        fs::create_dir_all(folder).expect("make a folder for a machine");
        if let Some(data) = custom_data {
            fs::write(folder.join("config.ign"), data).expect("write the custom data");
        }
        fs::write(folder.join("agent.sh"), include_str!("agent.sh")).expect("write the agent");
        let script = format!(
            "folder={} address={} router={} image={}\n{}",
            folder.display(),
            board.address,
            board.router,
            board.image.display(),
            include_str!("boot.sh")
        );
        fs::write(folder.join("boot.sh"), script).expect("write the first process");
        let (socket, programs) = (folder.join("agent.sock"), Programs::start(board));
        let agent = wait_until("the emulator has its socket", SOON, || {
            UnixStream::connect(&socket).ok()
        });
        agent
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("limit a read");
        let guest = Self {
            agent: Mutex::new(BufReader::new(agent)),
            scripts: Mutex::default(),
            folder: folder.to_owned(),
            programs,
        };
        match guest.line(BOOT) {
            Some(line) if line == "up" => Ok(guest),
            other => Err(format!("{other:?}\n{}", guest.console())),
        }
    }

    /// What its serial console said.
    pub(crate) fn console(&self) -> String {
        let said = fs::read(self.folder.join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Has the agent run a script.
    pub(crate) fn run(&self, script: &str, limit: Duration) -> Ran {
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        *scripts += 1;
        // The machine has not looked for this name before, so that it finds the file.
        let path = self.folder.join(format!("script-{scripts}"));
        fs::write(&path, script).expect("write a script");
        self.say(&path);
        let failed = |why: &str| Ran {
            stderr: why.to_owned(),
            exit: 124,
            ..Ran::default()
        };
        let Some(line) = self.line(limit) else {
            return failed("the machine does not answer");
        };
        let numbers: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [exit, stdout, stderr] = numbers[..] else {
            return failed(&line);
        };
        let (stdout, stderr) = (self.bytes(stdout), self.bytes(stderr));
        Ran {
            stdout,
            stderr,
            exit: i32::try_from(exit).unwrap_or(-1),
        }
    }

    fn say(&self, path: &Path) {
        let mut agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        let said = writeln!(agent.get_mut(), "{}", path.display());
        said.expect("the emulator takes what the agent is told");
    }

    /// The agent's next line; `None` if none comes in time, or the machine is off.
    fn line(&self, limit: Duration) -> Option<String> {
        let mut agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, mut line) = (Instant::now(), String::new());
        while !line.ends_with('\n') {
            match agent.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(_) if start.elapsed() > limit || !self.is_on() => return None,
                Err(_) => {}
            }
        }
        Some(line.trim_end().to_owned())
    }

    fn bytes(&self, count: usize) -> String {
        let mut agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, mut bytes) = (Instant::now(), Vec::new());
        while bytes.len() < count && start.elapsed() < Duration::from_secs(10) {
            let mut part = vec![0; count - bytes.len()];
            if let Ok(read) = agent.read(&mut part) {
                bytes.extend_from_slice(&part[..read]);
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn is_on(&self) -> bool {
        self.programs.is_on.load(Ordering::Acquire)
    }
}

/// The emulator and its server of files. They end with the thread that started them, so that it stays for as long as they.
#[derive(Debug)]
struct Programs {
    keeper: Option<JoinHandle<()>>,
    /// Dropped, it ends the thread.
    leave: Option<Sender<()>>,
    is_on: Arc<AtomicBool>,
}

impl Programs {
    fn start(board: &Board<'_>) -> Self {
        let folder = board.folder.to_owned();
        let recipe = std::env::var_os(RECIPE).expect("asked for before");
        let recipe = fs::read_to_string(recipe).expect("read how a machine is started");
        let recipe = recipe
            .replace("FOLDER", &folder.display().to_string())
            .replace("JOB", &folder.join("boot.sh").display().to_string());
        let (socket, tap, host) = (folder.join("agent.sock"), board.tap.to_owned(), board.host.clone());
        let more = [
            ("-netdev", format!("tap,id=net,ifname={tap},script=no,downscript=no")),
            ("-device", "virtio-net-pci,netdev=net".to_owned()),
            (
                "-chardev",
                format!("socket,id=agent,path={},server=on,wait=off", socket.display()),
            ),
            ("-device", "virtio-serial-pci".to_owned()),
            ("-device", "virtserialport,chardev=agent".to_owned()),
        ];
        let (leave, left) = mpsc::channel::<()>();
        let is_on = Arc::new(AtomicBool::new(true));
        let told = Arc::clone(&is_on);
        let keeper = std::thread::spawn(move || {
            let (files, emulator) = recipe.split_once("\n\n").expect("it tells of two programs");
            let _files = start(&host, files, &[]);
            wait_until("the server of files listens", SOON, || {
                folder.join("virtiofsd.sock").exists().then_some(())
            });
            let mut emulator = start(&host, emulator, &more);
            while left.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
                told.store(emulator.poll().is_none(), Ordering::Release);
            }
        });
        Self {
            keeper: Some(keeper),
            leave: Some(leave),
            is_on,
        }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        self.leave = None;
        let _panicked = self.keeper.take().map(JoinHandle::join);
    }
}

/// Starts one of the recipe's programs, with more arguments.
fn start(host: &Host, words: &str, more: &[(&str, String)]) -> Process {
    let mut words = words.lines();
    let mut command = host.command(words.next().expect("a program"));
    command = command.args(words);
    for (name, value) in more {
        command = command.arg(name).arg(value);
    }
    command.spawn()
}
