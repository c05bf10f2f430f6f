//! The machine that a guest runs on: QEMU, and the server of the host's files.
//!
//! ```text
//!   qemu  hvc0 ─── standard output: what the job says        console.log: what the kernel says
//!     └── virtiofsd.sock ── virtiofsd: the host's files, read only in the guest
//! ```
//!
//! Both end with whoever started them, however that ends (`setpriv --pdeathsig`).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::guest::kernel::Kernel;

/// Where Debian's releases have the server of files: with QEMU first, then as a package of its own.
const SERVERS: [&str; 2] = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];

/// The emulator.
const PROGRAM: &str = "qemu-system-x86_64";

/// What the socket of the server of files is called.
const SOCKET: &str = "virtiofsd.sock";

/// What a guest has of memory: what it writes is there, too.
const MEMORY: &str = "2G";

/// QEMU with its interpreter: it works on every host, inside of other virtual machines, too.
///
/// One processor at a time: QEMU 7.2 crashes guests that have more. Without `cmpxchg16b`, whose flags it gets wrong,
/// so that the kernel's allocator corrupts its lists.
const MACHINE: [&str; 8] = [
    "-accel",
    "tcg,thread=single,tb-size=512",
    "-cpu",
    "Nehalem,-cx16",
    "-smp",
    "1",
    "-display",
    "none",
];

/// The machine, before it is switched on.
pub(crate) struct Emulator<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) initramfs: &'a Path,
    /// For sockets and logs.
    pub(crate) folder: &'a Path,
}

impl Emulator<'_> {
    /// The command that runs the script `job` in a guest, and the server that it needs for as long as it runs.
    pub(crate) fn command(&self, job: &Path) -> Result<(Command, Server)> {
        let server = Server::start(self.folder)?;
        let mut command = bound(PROGRAM);
        command.args(self.arguments(&job.display().to_string()));
        command.args(["-chardev", "stdio,id=output,signal=off"]);
        command.args(["-device", "virtio-serial-pci", "-device", "virtconsole,chardev=output"]);
        Ok((command, server))
    }

    /// What QEMU is told of a machine that runs `job`, but for where its output goes. `folder` has the server's socket.
    fn arguments(&self, job: &str) -> Vec<String> {
        let files = self.folder.join(SOCKET);
        let mut words: Vec<String> = MACHINE.map(str::to_owned).to_vec();
        words.extend(["-nodefaults", "-no-reboot", "-m", MEMORY].map(str::to_owned));
        for (name, value) in [
            ("-machine", "q35,memory-backend=memory".to_owned()),
            (
                "-object",
                format!("memory-backend-memfd,id=memory,size={MEMORY},share=on"),
            ),
            ("-kernel", self.kernel.image.display().to_string()),
            ("-initrd", self.initramfs.display().to_string()),
            (
                "-append",
                format!("console=ttyS0 quiet panic=-1 oops=panic mitigations=off adit.job={job}"),
            ),
            ("-serial", format!("file:{}", self.log().display())),
            ("-device", "virtio-rng-pci".to_owned()),
            ("-chardev", format!("socket,id=files,path={}", files.display())),
            (
                "-device",
                "vhost-user-fs-pci,chardev=files,tag=host,queue-size=1024".to_owned(),
            ),
        ] {
            words.extend([name.to_owned(), value]);
        }
        words
    }

    /// The same for whoever starts a machine by itself, a word a line: the server of files with its arguments, an empty line,
    /// QEMU with its own. For `FOLDER` it puts a folder of its own, for `JOB` a script.
    pub(crate) fn recipe(kernel: &Kernel, initramfs: &Path) -> Result<String> {
        let program = Server::program().context("virtiofsd is not installed")?;
        let folder = Path::new("FOLDER");
        let of_files = Server::arguments(&folder.join(SOCKET));
        let emulator = Emulator {
            kernel,
            initramfs,
            folder,
        };
        let lines = [
            vec![program.display().to_string()],
            of_files,
            vec![String::new(), PROGRAM.to_owned()],
        ];
        Ok([lines.concat(), emulator.arguments("JOB")].concat().join("\n"))
    }

    /// The last lines that the guest's kernel said.
    pub(crate) fn last_words(&self) -> String {
        let said = std::fs::read(self.log()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        let lines: Vec<_> = said.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("console.log")
    }
}

/// The server of the host's files. Dropping it ends it.
pub(crate) struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    /// Where its program is, if it is installed.
    pub(crate) fn program() -> Option<&'static Path> {
        SERVERS.into_iter().map(Path::new).find(|path| path.is_file())
    }

    fn start(folder: &Path) -> Result<Self> {
        let program = Self::program().context("virtiofsd is not installed")?;
        let socket = folder.join(SOCKET);
        if socket.exists() {
            std::fs::remove_file(&socket).context("remove an earlier socket")?;
        }
        let mut command = bound(program);
        command.args(Self::arguments(&socket));
        let log = File::create(folder.join("virtiofsd.log")).context("make a log")?;
        let errors = log.try_clone().context("share a log")?;
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let mut server = Self {
            child: child.context("start virtiofsd")?,
            socket,
        };
        server.wait(folder)?;
        Ok(server)
    }

    fn arguments(socket: &Path) -> Vec<String> {
        let mut words = vec![format!("--socket-path={}", socket.display())];
        words.extend(["-o", "source=/", "-o", "sandbox=chroot", "-o", "cache=always"].map(str::to_owned));
        words
    }

    /// Waits until it listens.
    fn wait(&mut self, folder: &Path) -> Result<()> {
        let start = Instant::now();
        while !self.socket.exists() {
            let ended = self.child.try_wait().context("ask after virtiofsd")?.is_some();
            if ended || start.elapsed() > Duration::from_secs(10) {
                let said = std::fs::read_to_string(folder.join("virtiofsd.log")).unwrap_or_default();
                anyhow::bail!("virtiofsd does not listen: {said}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// A command that is killed when the thread that starts it ends.
fn bound(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}
