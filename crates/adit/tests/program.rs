//! The program as people and service managers run it: what it prints, writes and leaves behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::UdpSocket,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// More than enough for anything that the program does, on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(30);

/// The program, with an environment of its own, on the plane that changes nothing on this machine.
fn adit(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command
        .args(arguments)
        .env_clear()
        .env("ADIT_PLANE", "netstack")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A running `adit launch --json`, ended at the latest when dropped.
struct Launch {
    child: Child,
    /// Until nobody reads any more.
    lines: Option<std::io::Lines<BufReader<std::process::ChildStdout>>>,
}

impl Launch {
    fn start(output: &Path, arguments: &[&str]) -> Self {
        let fixed = [
            "launch",
            "--json",
            "--endpoint",
            "192.0.2.1",
            "--listen",
            "0",
            "--output",
        ];
        let mut child = adit(&fixed).arg(output).args(arguments).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            lines: Some(lines),
        }
    }

    fn event(&mut self) -> Value {
        let line = self.lines.as_mut().unwrap().next();
        serde_json::from_str(&line.expect("an event").unwrap()).unwrap()
    }

    /// How it ends, and what it says to people, once nobody reads what it prints.
    fn without_reader(mut self) -> (ExitStatus, String) {
        self.lines = None;
        let limit = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < limit, "it goes on without a reader");
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status, said)
    }

    /// What was printed from here on, the exit code, and what was said to people.
    fn end(mut self) -> (Vec<Value>, Option<i32>, String) {
        let rest = self
            .lines
            .take()
            .unwrap()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (rest, self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn keys_are_made_and_read_as_wg_does() {
    let private = text(&run(&mut adit(&["genkey"]), "").stdout);
    assert_eq!(private.len(), 45);
    let public = text(&run(&mut adit(&["pubkey"]), &private).stdout);
    assert_eq!(
        wg::PrivateKey::from_base64(private.trim_end())
            .unwrap()
            .public_key()
            .to_string(),
        public.trim_end()
    );
    assert_ne!(private, text(&run(&mut adit(&["genkey"]), "").stdout));
    wg::PresharedKey::from_base64(text(&run(&mut adit(&["genpsk"]), "").stdout).trim_end()).unwrap();
}

#[test]
fn failures_are_told_once_and_exit_with_their_code() {
    for (arguments, input, code, said) in [
        (
            &["pubkey"][..],
            "short",
            1,
            "error: standard input is not a private key: a key has 44 characters, this has 5",
        ),
        (
            &["launch", "--peer", "a", "--peer", "a"],
            "",
            2,
            "error: the peer's name `a` is given twice",
        ),
        (
            &["launch", "--mtu", "1"],
            "",
            2,
            "error: invalid value '1' for '--mtu <BYTES>'",
        ),
        (&["serve"], "", 2, "error: PEERS is not set"),
        (&["nonsense"], "", 2, "error: unrecognized subcommand"),
        (
            &["serve", "--peers", "1", "--config-dir", "/proc/adit"],
            "",
            1,
            "error: cannot write in /proc/adit",
        ),
    ] {
        let output = run(&mut adit(arguments), input);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with(said), "{arguments:?}: {stderr}");
        assert_eq!(
            (stderr.matches("error:").count(), output.stdout.len()),
            (1, 0),
            "{arguments:?}: {stderr}"
        );
    }
    let output = adit(&["serve"]).env("SERVERPORT", "x").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("the environment variable SERVERPORT is `x`"));
}

#[test]
fn a_wrong_value_is_called_by_the_place_that_it_came_from() {
    // (the variable, its wrong value, the rest of the arguments, what the error names)
    for (variable, value, arguments, named) in [
        ("ADIT_LISTEN", "x", &["launch"][..], "'ADIT_LISTEN (--listen <PORT>)'"),
        ("ADIT_LISTEN", "65536", &["serve"], "'ADIT_LISTEN (--listen <PORT>)'"),
        (
            "ADIT_DNS_UPSTREAM",
            "dns.example",
            &["serve"],
            "'ADIT_DNS_UPSTREAM (--dns-upstream <ADDRESS>)'",
        ),
        ("ADIT_PLANE", "bus", &["launch"], "'ADIT_PLANE (--plane <PLANE>)'"),
        ("ADIT_PLANE", "bus", &["up", "wg0"], "'ADIT_PLANE (--plane <PLANE>)'"),
        (
            "ADIT_DNS_CA",
            "/proc/adit",
            &["launch"],
            "'ADIT_DNS_CA (--dns-ca <FILE>)': cannot read the certificates in /proc/adit",
        ),
        ("ADIT_DNS_CA", "/dev/null", &["serve"], "there is no certificate in it"),
        ("ADIT_LANES", "x", &["launch"], "ADIT_LANES is \"x\""),
        ("ADIT_LANES", "65", &["serve", "--peers", "1"], "ADIT_LANES is \"65\""),
        ("ADIT_LANES", "0", &["up", "wg0"], "ADIT_LANES is \"0\""),
        ("ADIT_LANES", "-1", &["device", "wg0"], "ADIT_LANES is \"-1\""),
        (
            "ADIT_CONFIG_DIR",
            "",
            &["serve"],
            "'ADIT_CONFIG_DIR (--config-dir <DIR>)'",
        ),
        ("ADIT_LISTEN", "1", &["launch", "--listen", "x"], "'--listen <PORT>'"),
        ("ADIT_LISTEN", "1", &["launch", "--listen=x"], "'--listen <PORT>'"),
    ] {
        let output = adit(arguments).env(variable, value).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{variable}: {stderr}");
        assert!(stderr.contains(named), "{variable}: {stderr}");
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_told_with_the_variable_that_names_it() {
    for directory in ["/proc/adit", "/dev/null"] {
        for arguments in [
            &["serve", "--peers", "1"][..],
            &["health"],
            &["peer", "list"],
            &["show-peer", "1"],
        ] {
            let output = adit(arguments).env("ADIT_CONFIG_DIR", directory).output().unwrap();
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{directory} {arguments:?}: {stderr}");
            assert!(
                stderr.contains("ADIT_CONFIG_DIR"),
                "{directory} {arguments:?}: {stderr}"
            );
            assert!(stderr.contains(directory), "{arguments:?}: {stderr}");
        }
    }
}

#[test]
fn a_closed_output_ends_quietly() {
    for arguments in [&["man"][..], &["completions", "bash"], &["genkey"], &["doctor"]] {
        let mut child = adit(arguments).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), text(&output.stderr).as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn completions_and_manual_pages_cover_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&adit(&["completions", shell]).output().unwrap().stdout);
        assert!(
            ["launch", "serve", "doctor", "lifetime"]
                .iter()
                .all(|word| script.contains(word)),
            "{shell}"
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    assert!(adit(&["man", "--output"]).arg(&pages).status().unwrap().success());
    for page in ["adit.1", "adit-launch.1", "adit-serve.1", "adit-doctor.1"] {
        assert!(fs::read_to_string(pages.join(page)).unwrap().contains("adit"), "{page}");
    }
}

#[test]
fn doctor_says_that_the_netstack_plane_works() {
    let output = adit(&["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let plane = report["planes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|plane| plane["name"] == "netstack")
        .unwrap();
    assert_eq!(
        (plane["state"].as_str(), output.status.code()),
        (Some("works"), Some(0)),
        "{report}"
    );
    for finding in report["planes"]
        .as_array()
        .unwrap()
        .iter()
        .chain(report["features"].as_array().unwrap())
    {
        assert!(
            finding["state"] == "works" || finding["remedy"].is_string(),
            "no remedy: {finding}"
        );
    }
}

#[test]
fn a_lease_is_announced_and_leaves_nothing_behind() {
    for (sent, reason) in [
        (Some(Signal::INT), "interrupt"),
        (Some(Signal::TERM), "terminate"),
        (Some(Signal::HUP), "hangup"),
        (None, "lifetime"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("lease");
        let lifetime = if sent.is_some() { "10m" } else { "1s" };
        let mut launch = Launch::start(
            &output,
            &["--peer", "phone", "--peer", "laptop", "--lifetime", lifetime],
        );
        let ready = launch.event();
        assert_eq!(
            (ready["event"].as_str(), ready["plane"].as_str()),
            (Some("ready"), Some("netstack"))
        );
        let port = ready["listen_port"].as_u64().unwrap();
        assert_eq!(ready["endpoint"], format!("192.0.2.1:{port}"));
        let server_key = ready["public_key"].as_str().unwrap().to_owned();
        for name in ["phone", "laptop"] {
            let peer = launch.event();
            assert_eq!(
                (peer["event"].as_str(), peer["peer"].as_str()),
                (Some("peer"), Some(name))
            );
            let path = PathBuf::from(peer["config"].as_str().unwrap());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            check_conf(
                &fs::read_to_string(&path).unwrap(),
                &peer,
                &server_key,
                &format!("192.0.2.1:{port}"),
            );
        }
        if let Some(sent) = sent {
            signal(&launch.child, sent);
        }
        let (rest, code, said) = launch.end();
        assert_eq!((code, said.as_str()), (Some(0), ""), "{reason}");
        let [ended] = rest.as_slice() else { panic!("{rest:?}") };
        assert_eq!(
            (ended["event"].as_str(), ended["reason"].as_str()),
            (Some("ended"), Some(reason))
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{reason}");
        UdpSocket::bind(("0.0.0.0", u16::try_from(port).unwrap())).unwrap();
    }
}

/// The configuration asks for what its event announced.
fn check_conf(text: &str, peer: &Value, server_key: &str, endpoint: &str) {
    let conf = wg::conf::Conf::parse("lease", text).unwrap();
    let interface = conf.interface();
    assert_eq!(
        interface.private_key.unwrap().public_key().to_string(),
        peer["public_key"].as_str().unwrap()
    );
    // A configuration has IPv4 last, an event first.
    let addresses: Vec<String> = interface
        .addresses
        .iter()
        .rev()
        .map(|address| address.addr().to_string())
        .collect();
    assert_eq!(serde_json::to_value(addresses).unwrap(), peer["addresses"]);
    assert_eq!(interface.dns.len(), 2);
    let servers: Vec<wg::conf::Peer> = conf.peers().collect();
    assert_eq!(servers.len(), 1);
    assert_eq!(servers[0].public_key.to_string(), server_key);
    assert_eq!(servers[0].endpoint.as_ref().unwrap().to_string(), endpoint);
    assert!(servers[0].preshared_key.is_some() && servers[0].allowed_ips.len() == 2);
}

#[test]
fn a_lease_without_a_reader_ends() {
    // A reader that goes before the first event, or after the last one for a long time.
    for read in [0, 2] {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("lease");
        let mut launch = Launch::start(&output, &[]);
        for _ in 0..read {
            launch.event();
        }
        let (status, said) = launch.without_reader();
        assert_eq!((status.code(), said.as_str()), (Some(0), ""), "{read} read");
        assert!(!output.exists());
    }
}

#[test]
fn a_port_that_is_asked_for_and_taken_is_an_error() {
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("lease");
    let ended = adit(&["launch", "--endpoint", "192.0.2.1", "--listen", &port, "--output"])
        .arg(&output)
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(text(&ended.stderr).contains(&format!("udp {port} is taken by another program")));
    assert!(!output.exists());
}

/// A running `adit serve`, killed when dropped.
struct Serve {
    child: Child,
}

impl Serve {
    fn start(directory: &Path, peers: &str) -> Self {
        let child = serve(directory, peers).stderr(Stdio::null()).spawn().unwrap();
        Self { child }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn serve(directory: &Path, peers: &str) -> Command {
    let mut command = adit(&[
        "serve",
        "--listen",
        "0",
        "--endpoint",
        "192.0.2.1:51820",
        "--config-dir",
    ]);
    command.arg(directory).env("PEERS", peers).env("LOG_CONFS", "false");
    command
}

/// Every file below a directory with its content.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(root).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(tree(&path));
        } else if let Ok(content) = fs::read(&path) {
            files.insert(path, content);
        }
    }
    files
}

#[test]
fn a_gateway_tells_when_it_is_ready_and_keeps_everything_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (config, socket) = (directory.path().join("config"), directory.path().join("notify"));
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let mut before: Option<BTreeMap<PathBuf, Vec<u8>>> = None;
    for _start in 0..2 {
        let mut child = serve(&config, "laptop,7")
            .env("NOTIFY_SOCKET", &socket)
            .spawn()
            .unwrap();
        let mut message = [0; 512];
        let len = manager.recv(&mut message).unwrap();
        assert!(text(&message[..len]).starts_with("READY=1\n"));
        let files = tree(&config);
        for (path, content) in before.get_or_insert_with(|| files.clone()) {
            assert!(
                files.get(path) == Some(content),
                "{} is not what it was",
                path.display()
            );
        }
        signal(&child, Signal::TERM);
        let len = manager.recv(&mut message).unwrap();
        assert_eq!(text(&message[..len]), "STOPPING=1");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    let names: Vec<String> = before
        .unwrap()
        .keys()
        .map(|path| path.strip_prefix(&config).unwrap().display().to_string())
        .collect();
    let expected = [
        ".adit.lock",
        ".adit.state",
        ".donoteditthisfile",
        "coredns/Corefile",
        "peer7/peer7.conf",
        "peer7/peer7.png",
        "peer7/presharedkey-peer7",
        "peer7/privatekey-peer7",
        "peer7/publickey-peer7",
        "peer_laptop/peer_laptop.conf",
        "peer_laptop/peer_laptop.png",
        "peer_laptop/presharedkey-peer_laptop",
        "peer_laptop/privatekey-peer_laptop",
        "peer_laptop/publickey-peer_laptop",
        "server/privatekey-server",
        "server/publickey-server",
        "templates/peer.conf",
        "templates/server.conf",
        "wg_confs/wg0.conf",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_gateway_that_is_killed_at_any_moment_leaves_whole_files() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config");
    let mut keys: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    // Each start adds a peer and is killed a little later than the one before, from before its first file on.
    for round in 1..=40_u32 {
        let running = Serve::start(&config, &round.to_string());
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(u64::from(round)) {
            std::hint::spin_loop();
        }
        drop(running);
        for (path, content) in tree(&config) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            assert!(!content.is_empty(), "{name} is empty after kill {round}");
            if name.starts_with("privatekey-") || name.starts_with("presharedkey-") {
                wg::PresharedKey::from_base64(text(&content).trim_end()).unwrap();
                assert_eq!(
                    keys.entry(path).or_insert_with(|| content.clone()),
                    &content,
                    "{name} changed"
                );
            } else if name.ends_with(".conf") && !path.starts_with(config.join("templates")) {
                wg::conf::Conf::parse(&name, &text(&content)).unwrap();
            }
        }
    }
    let output = {
        let running = Serve::start(&config, "40");
        let limit = Instant::now() + LIMIT;
        let last = config.join("wg_confs/wg0.conf");
        let is_whole = || fs::read_to_string(&last).is_ok_and(|text| text.contains("# peer40\n"));
        while !is_whole() {
            assert!(Instant::now() < limit, "the last start does not finish");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        drop(running);
        tree(&config)
    };
    assert!(
        output.keys().all(|path| !path.to_string_lossy().ends_with(".adit-new")),
        "leftovers"
    );
    assert!(
        keys.iter().all(|(path, content)| output.get(path) == Some(content)),
        "a key was lost"
    );
}

/// The directory's files and what is in them.
fn state(root: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = tree(root).into_keys().collect();
    files.extend(fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()));
    files.sort();
    files
}

#[test]
fn a_directory_that_cannot_be_used_is_said_before_anything_changes() {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root, to become somebody else");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let config = root.path().join("config");
    fs::create_dir_all(config.join("peer1")).unwrap();
    fs::write(config.join("peer1/privatekey-peer1"), "").unwrap();
    fs::set_permissions(config.join("peer1/privatekey-peer1"), fs::Permissions::from_mode(0o600)).unwrap();
    let before = state(&config);
    for (owner, reason) in [(0, "cannot write in"), (NOBODY, "cannot read")] {
        for directory in [config.clone(), config.join("peer1")] {
            std::os::unix::fs::chown(directory, Some(owner), None).unwrap();
        }
        let mut command = adit(&[
            "serve",
            "--plane",
            "netstack",
            "--listen",
            "0",
            "--peers",
            "1",
            "--config-dir",
        ]);
        std::os::unix::process::CommandExt::uid(&mut command, NOBODY);
        let output = match command.arg(&config).output() {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                eprintln!("skipped: nobody but root may run the program where it lies");
                return;
            }
            output => output.unwrap(),
        };
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(reason), "{said}");
        assert_eq!(state(&config), before, "{said}");
    }
}
