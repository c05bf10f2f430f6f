//! A Docker Engine of the test's own, whose plugins' folder is the test's.
//!
//! The Engine has process numbers and mounts of its own: when its first process goes, everything in it does.

use std::{
    collections::BTreeMap,
    os::unix::fs::symlink,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use attach::driver::{self, Network};
use netlab::{Command, Host, Output, Process, wait_until};

/// An image of busybox.
pub(crate) const IMAGE: &str = "busybox:test";

/// Programs of the image.
const PROGRAMS: [&str; 7] = ["sh", "ip", "ping", "cat", "sleep", "echo", "ls"];

/// Lets the Engine see its own processes, and keeps what it writes beside its folder from the machine.
const START: &str = r#"
for folder in /etc/docker /run/docker; do
    mkdir -p $folder && mount -t tmpfs none $folder
done
mkdir -p /run/docker/plugins && mount --bind "$1" /run/docker/plugins
shift
exec "$@"
"#;

/// The Engine.
pub(crate) struct Engine {
    host: Host,
    folder: PathBuf,
    groups: String,
    /// Ends with the test; `None` while it is off.
    daemon: Option<Process>,
}

impl Engine {
    /// Starts the Engine on `host`, and gives it the image.
    #[track_caller]
    pub(crate) fn start(host: &Host) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let folder = host.folder().join("docker");
        std::fs::create_dir_all(folder.join("plugins")).expect("make folders for the Engine");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut engine = Self {
            host: host.clone(),
            folder,
            groups: format!("attach-test-{}-{number}", std::process::id()),
            daemon: None,
        };
        engine.switch_on();
        engine.import();
        engine
    }

    /// Where it looks for drivers.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.folder.join("plugins")
    }

    /// Starts it, and waits until it answers: then its containers that start by themselves have been tried.
    #[track_caller]
    pub(crate) fn switch_on(&mut self) {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mounts = format!("--mount=/proc/{}/ns/mnt", std::process::id());
        let separate = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let options = [
            ["--data-root", &path("data")],
            ["--exec-root", &path("exec")],
            ["--pidfile", &path("pid")],
            ["--host", &format!("unix://{}", path("socket"))],
            ["--cgroup-parent", &format!("/{}", self.groups)],
            ["--log-level", "warn"],
        ];
        let command = self.host.command("nsenter").arg(mounts).args(separate);
        let command = command.args(["sh", "-c", START, "sh", &path("plugins"), "dockerd"]);
        let mut daemon = command.args(options.concat()).spawn();
        wait_until("the Engine answers", Duration::from_secs(60), || {
            assert!(daemon.poll().is_none(), "dockerd has ended");
            self.docker(&["version"]).output().status.success().then_some(())
        });
        self.daemon = Some(daemon);
    }

    /// Ends it and all its containers at once, as a power failure does.
    #[track_caller]
    pub(crate) fn cut_off(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.signal(9);
            daemon.wait(Duration::from_secs(10));
        }
        // Its first process takes all others with it, containers included, but not at once.
        let start = Instant::now();
        while !netlab::groups::remove(&self.groups) && start.elapsed() < Duration::from_secs(5) {
            std::thread::yield_now();
        }
        // What a boot empties: numbers of processes that are no more, and may be others' by now.
        let _was_never_there = std::fs::remove_file(self.folder.join("pid"));
        let _was_never_there = std::fs::remove_dir_all(self.folder.join("exec"));
    }

    /// A command of Docker's own command line.
    #[must_use]
    pub(crate) fn docker(&self, arguments: &[&str]) -> Command {
        let socket = format!("unix://{}", self.folder.join("socket").display());
        let command = self.host.command("docker").args(arguments);
        let command = command.env("DOCKER_HOST", socket);
        command
            .env("HOME", self.folder.display().to_string())
            .limit(Duration::from_secs(60))
    }

    /// What Docker says to a command that it refuses.
    #[track_caller]
    pub(crate) fn refusal(&self, arguments: &[&str]) -> String {
        let Output { status, stderr, .. } = self.docker(arguments).output();
        assert!(!status.success(), "docker {} succeeds", arguments.join(" "));
        stderr
    }

    /// The driver's networks, as the daemon asks for them.
    #[track_caller]
    pub(crate) fn networks(&self) -> BTreeMap<String, Network> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().expect("make a runtime");
        let engine = docker::Engine::new(&self.folder.join("socket"));
        let found = runtime
            .block_on(engine.networks(driver::NAME))
            .expect("the Engine lists its networks");
        found.into_iter().map(Network::found).collect()
    }

    #[track_caller]
    fn import(&self) {
        let programs = self.folder.join("root/bin");
        std::fs::create_dir_all(&programs).expect("make folders for the image");
        let busybox = netlab::tool("busybox").expect("asked for before");
        std::fs::copy(busybox, programs.join("busybox")).expect("copy busybox");
        for program in PROGRAMS {
            symlink("busybox", programs.join(program)).expect("link a program");
        }
        let archive = self.folder.join("image.tar");
        let pack = self.host.command("tar").args(["--create", "--file"]).arg(&archive);
        pack.arg("--directory").arg(self.folder.join("root")).arg(".").run();
        let import = self.docker(&["import", "--change", "ENV PATH=/bin"]);
        import.arg(&archive).arg(IMAGE).run();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.cut_off();
    }
}
