//! A Docker Engine of the test's own, and containers in it.
//!
//! ```text
//!   internet ── eth0 203.0.113.2  gateway: dockerd, docker0 172.17.0.1 ── 172.17.0.2 container: adit
//! ```
//!
//! The Engine has process numbers and mounts of its own: when its first process goes, everything in it does.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use netlab::{Command, Host, Process, wait_until};

use crate::network::Network;

/// The variable that names the archive of the image.
pub(crate) const IMAGE: &str = "ADIT_TEST_IMAGE";

/// What the image is called in the archive.
pub(crate) const TAG: &str = "adit:latest";

/// Lets the Engine see its own processes, keeps what it writes beside its folder from the machine, and starts it again when
/// it ends.
const START: &str = r#"
mount --make-rshared /
for folder in /etc/docker /run/docker /run/adit /run/wireguard; do
    mkdir -p $folder && mount -t tmpfs none $folder
done
while :; do "$@"; done
"#;

/// The Engine, its image loaded.
pub(crate) struct Engine {
    pub(crate) host: Host,
    folder: PathBuf,
    groups: String,
    /// Ends with the test.
    daemon: Process,
    /// Left last.
    _turn: Turn,
}

/// Engines share the machine, but for one whose test starts many containers at once: on two cores that may hold every
/// change of networks on the machine up for two minutes, without adit, too.
static MACHINE: RwLock<()> = RwLock::new(());

/// What an Engine has of the machine.
enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl Turn {
    fn shared() -> Self {
        let _guard = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        Self::Shared { _guard }
    }

    fn alone() -> Self {
        let _guard = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
        Self::Alone { _guard }
    }
}

impl Engine {
    /// Starts the Engine on `network.gateway` and loads the image.
    #[track_caller]
    pub(crate) fn start(network: &Network) -> Self {
        let engine = Self::start_empty(network);
        engine.load();
        engine
    }

    /// Loads the image.
    #[track_caller]
    pub(crate) fn load(&self) {
        let archive = std::env::var_os(IMAGE).expect("asked for before");
        let load = self.docker(&["load", "--quiet", "--input"]).arg(archive);
        let said = load.limit(Duration::from_secs(120)).run();
        assert!(said.contains(TAG), "{said}");
    }

    /// Starts the Engine on `network.gateway`, without an image.
    #[track_caller]
    pub(crate) fn start_empty(network: &Network) -> Self {
        Self::start_on(&network.gateway)
    }

    /// Starts the Engine on a host, without an image.
    #[track_caller]
    pub(crate) fn start_on(host: &Host) -> Self {
        Self::start_in(host, Turn::shared())
    }

    /// Starts the Engine without an image, once no other is there, and while it is there no other starts.
    #[track_caller]
    pub(crate) fn start_alone(network: &Network) -> Self {
        Self::start_in(&network.gateway, Turn::alone())
    }

    #[track_caller]
    fn start_in(host: &Host, turn: Turn) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let host = host.clone();
        let folder = host.folder().join("docker");
        std::fs::create_dir(&folder).expect("make a folder for the Engine");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let groups = format!("adit-test-{}-{number}", std::process::id());
        let daemon = Self::daemon(&host, &folder, &groups).spawn();
        let mut engine = Self {
            host,
            folder,
            groups,
            daemon,
            _turn: turn,
        };
        wait_until("the Engine answers", Duration::from_secs(60), || {
            assert!(engine.daemon.poll().is_none(), "dockerd has ended");
            engine.docker(&["version"]).output().status.success().then_some(())
        });
        engine
    }

    /// Restarts the Engine as its service does: it ends its containers, and starts again those that are to.
    #[track_caller]
    pub(crate) fn restart(&self) {
        let number = || self.beside("pgrep").args(["-x", "dockerd"]).output().stdout;
        let before = number();
        self.beside("pkill").args(["-TERM", "-x", "dockerd"]).run();
        wait_until("the Engine is another", Duration::from_secs(60), || {
            let is_another = !number().trim().is_empty() && number() != before;
            (is_another && self.docker(&["version"]).output().status.success()).then_some(())
        });
    }

    /// A program where the Engine is: with its processes, its mounts and its network.
    #[must_use]
    pub(crate) fn beside(&self, program: &str) -> Command {
        let children = format!("/proc/{0}/task/{0}/children", self.daemon.pid());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let child = children.split_whitespace().next().expect("unshare has a child");
        let command = self.host.command("nsenter");
        command.args(["--target", child, "--pid", "--mount", program])
    }

    /// A file or folder of the Engine's.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// dockerd in the host's network, with the machine's own mounts, where the control groups are.
    fn daemon(host: &Host, folder: &Path, groups: &str) -> Command {
        let path = |name: &str| folder.join(name).display().to_string();
        let mounts = format!("--mount=/proc/{}/ns/mnt", std::process::id());
        let separate = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let options = [
            ["--data-root", &path("data")],
            ["--exec-root", &path("exec")],
            ["--pidfile", &path("pid")],
            ["--host", &format!("unix://{}", path("socket"))],
            ["--cgroup-parent", &format!("/{groups}")],
            ["--dns", "198.51.100.2"],
            ["--log-level", "warn"],
        ];
        host.command("nsenter")
            .arg(mounts)
            .args(separate)
            .args(["sh", "-c", START, "sh", "dockerd"])
            .args(options.concat())
    }

    /// A command of Docker's own command line.
    #[must_use]
    pub(crate) fn docker(&self, arguments: &[&str]) -> Command {
        self.tool("docker").args(arguments)
    }

    /// A program that talks to the Engine.
    #[must_use]
    pub(crate) fn tool(&self, program: &str) -> Command {
        self.host
            .command(program)
            .env(
                "DOCKER_HOST",
                format!("unix://{}", self.folder.join("socket").display()),
            )
            .env("HOME", self.folder.display().to_string())
            .limit(Duration::from_secs(180))
    }

    /// Starts a container called `name` with the `options` of `docker run`, and waits until its gateway is ready.
    #[track_caller]
    pub(crate) fn serve(&self, name: &str, options: &[&str]) -> Container<'_> {
        self.docker(&["run", "--detach", "--name", name, "--publish", "51820:51820/udp"])
            .args(options)
            .arg(TAG)
            .run();
        let container = self.container(name);
        container.wait_for("gateway ready", 1);
        container
    }

    /// The container called `name`.
    pub(crate) fn container(&self, name: &str) -> Container<'_> {
        Container {
            engine: self,
            name: name.to_owned(),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.daemon.signal(libc::SIGKILL);
        self.daemon.wait(Duration::from_secs(10));
        // Its first process takes all others with it, containers included, but not at once.
        let start = Instant::now();
        while !netlab::groups::remove(&self.groups) && start.elapsed() < Duration::from_secs(5) {
            std::thread::yield_now();
        }
    }
}

/// A container of the Engine.
pub(crate) struct Container<'a> {
    engine: &'a Engine,
    name: String,
}

impl Container<'_> {
    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        let output = self.engine.docker(&["logs", &self.name]).output();
        output.stdout + &output.stderr
    }

    /// Waits until it has said `text` so many times.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str, times: usize) {
        wait_until(&format!("{} says {text:?}", self.name), Duration::from_secs(30), || {
            let log = self.log();
            assert!(
                self.inspect("{{.State.Running}}") == "true" || log.matches(text).count() >= times,
                "{} has ended:\n{log}",
                self.name
            );
            (log.matches(text).count() >= times).then_some(())
        });
    }

    /// A fact of `docker inspect`.
    #[track_caller]
    pub(crate) fn inspect(&self, format: &str) -> String {
        let inspect = ["inspect", "--format", format, &self.name];
        self.engine.docker(&inspect).run().trim().to_owned()
    }

    /// Runs a program in it that has to succeed, and gives what it says.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> String {
        self.engine.docker(&["exec", &self.name]).args(words).run()
    }

    /// A file in it; there is no `cat`.
    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> String {
        let copy = self.engine.folder.join("copied");
        let source = format!("{}:{path}", self.name);
        self.engine.docker(&["cp", &source]).arg(&copy).run();
        std::fs::read_to_string(&copy).expect("read a copied file")
    }

    /// Stops it: it ends by itself, and content. How long that took.
    #[track_caller]
    pub(crate) fn stop(&self) -> Duration {
        let took = self.engine.docker(&["stop", &self.name]).output().took;
        let code = self.inspect("{{.State.ExitCode}}");
        assert_eq!(code, "0", "{}", self.log());
        took
    }

    /// Starts it again after [`Container::stop`]; `times` is how often it has started then.
    #[track_caller]
    pub(crate) fn start(&self, times: usize) {
        self.engine.docker(&["start", &self.name]).run();
        self.wait_for("gateway ready", times);
    }

    /// Waits until its health check says so.
    #[track_caller]
    pub(crate) fn wait_until_healthy(&self) {
        wait_until("the container is healthy", Duration::from_secs(30), || {
            let state = self.inspect("{{.State.Health.Status}}");
            assert_ne!(state, "unhealthy", "{}", self.inspect("{{json .State.Health}}"));
            (state == "healthy").then_some(())
        });
    }
}
