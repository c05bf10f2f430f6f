//! Machines without virtualisation: what Azure was asked for really runs, each in a network namespace of its own.
//!
//! ```text
//!   hub ── internet ─┬─ m1  203.0.113.1: systemd.sh ─▶ docker.sh ─▶ adit node     (a virtual machine, by its Ignition or script)
//!                    └─ m2  203.0.113.2: docker.sh ─▶ adit node, as nobody        (a container group, by its command)
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use netlab::serve::azure::{ContainerGroup, Life, Machine, Machines, Ran, Refusal, Script};
use netlab::{Account, Host, Lab};
use serde_json::Value;

use crate::network;

/// How long a machine may take until its gateway has said that it is ready, before the machine counts as booted.
const BOOT: Duration = Duration::from_secs(5);

/// The programs of a machine, and what they are.
const PROGRAMS: [(&str, &str); 5] = [
    ("docker", include_str!("docker.sh")),
    ("systemd", include_str!("systemd.sh")),
    ("systemctl", include_str!("systemd.sh")),
    ("journalctl", include_str!("systemd.sh")),
    ("modprobe", include_str!("systemd.sh")),
];

/// The machines. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Light(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lab: Lab,
    internet: Host,
    programs: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    made: u8,
    /// How many are being made.
    busy: u8,
    /// By their IDs in lower case.
    there: BTreeMap<String, Host>,
    /// What every program of a machine has in its environment.
    variables: Vec<(String, String)>,
}

impl Light {
    /// Machines behind this router.
    pub(crate) fn behind(internet: &Host) -> Self {
        let lab = Lab::new();
        let programs = lab.folder().join("programs");
        fs::create_dir(&programs).expect("make a folder for programs");
        for (name, text) in PROGRAMS {
            let path = programs.join(name);
            fs::write(&path, text).expect("write a program");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("let a program be run");
        }
        Self(Arc::new(Inner {
            lab,
            internet: internet.clone(),
            programs,
            state: Mutex::default(),
        }))
    }

    /// Sets a variable for every program of the machines that are made from here on.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.state().variables.push((name.to_owned(), value.to_owned()));
    }

    /// How many machines there are.
    pub(crate) fn count(&self) -> usize {
        self.state().there.len()
    }

    /// How many were ever made.
    pub(crate) fn made(&self) -> u8 {
        self.state().made
    }

    /// Waits until no machine is being made: what makes it is in the network of whoever asked for it.
    pub(crate) fn rest(&self) {
        let begun = Instant::now();
        while self.state().busy > 0 && begun.elapsed() < BOOT {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How many gateways run on them.
    pub(crate) fn gateways(&self) -> usize {
        let hosts: Vec<Host> = self.state().there.values().cloned().collect();
        let is_gateway = |process: &Account| {
            let words = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
            words.contains(&&b"node"[..]) && words.first().is_some_and(|first| first.ends_with(b"adit"))
        };
        let of = |host: &Host| host.processes().iter().filter(|process| is_gateway(process)).count();
        hosts.iter().map(of).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn host(&self, id: &str) -> Option<Host> {
        self.state().there.get(&id.to_lowercase()).cloned()
    }

    /// A machine with nothing on it, and its address.
    fn make(&self, id: &str) -> (Host, IpAddr) {
        let number = {
            let mut state = self.state();
            state.made += 1;
            state.busy += 1;
            state.made
        };
        let (v4, v6) = (format!("203.0.113.{number}"), format!("2001:db8:3::{number:x}"));
        let host = network::connect(&self.0.internet, &self.0.lab.host(&format!("m{number}")), &v4, &v6);
        let mut state = self.state();
        state.there.insert(id.to_lowercase(), host.clone());
        state.busy -= 1;
        drop(state);
        (host, v4.parse().expect("it is an address"))
    }

    /// A program of a machine's, whose containers are in its folder `state`.
    fn command(&self, host: &Host, program: &str) -> netlab::Command {
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.0.programs.display());
        let own = self.0.programs.join(program);
        let mut command = if own.is_file() {
            host.command(own)
        } else {
            host.command(program)
        };
        for (name, value) in &self.state().variables {
            command = command.env(name, value);
        }
        command
            .env("PATH", path)
            .env("LIGHT_STATE", host.folder().join("state"))
            .env("LIGHT_ADIT", host.install(env!("CARGO_BIN_EXE_adit")))
    }
}

impl Machines for Light {
    fn boot(&self, machine: &Machine) -> Result<IpAddr, Refusal> {
        let (host, address) = self.make(&machine.id);
        fs::create_dir(host.folder().join("state")).expect("make a folder for containers");
        if let Some(data) = &machine.custom_data {
            let lines = unit_lines(data);
            self.command(&host, "systemd").input(lines).run();
            // As a person's machine mostly has: else the script that reads its key sleeps two seconds.
            let begun = Instant::now();
            while !self.logs(&machine.id, "adit").contains(r#"{"adit":"ready""#) && begun.elapsed() < BOOT {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(address)
    }

    fn run(&self, id: &str, script: &Script) -> Ran {
        let Some(host) = self.host(id) else {
            return Ran {
                exit: 1,
                ..Ran::default()
            };
        };
        let command = self
            .command(&host, "sh")
            .limit(script.limit.min(Duration::from_secs(100)));
        let output = command.args(["-c", &script.text]).output();
        Ran {
            stdout: output.stdout,
            stderr: output.stderr,
            exit: output.status.code().unwrap_or(-1),
        }
    }

    fn start(&self, group: &ContainerGroup) -> Result<IpAddr, Refusal> {
        let (host, address) = self.make(&group.id);
        let _containers = host.nobodys_folder("state");
        let runtime = host.nobodys_folder("runtime");
        for container in &group.containers {
            let (program, arguments) = container.command.split_first().expect("the container has a command");
            assert!(program.ends_with("/adit"), "{program} is not in adit's image");
            let mut command = self
                .command(&host, "docker")
                .as_nobody()
                .env("XDG_RUNTIME_DIR", &runtime);
            for variable in &container.environment {
                command = command.env(&variable.name, &variable.value);
            }
            command = command.args(["run", "--detach", "--name", &container.name]);
            if group.restart != "Never" {
                command = command.args(["--restart", "on-failure"]);
            }
            command.arg(&container.image).args(arguments).run();
        }
        Ok(address)
    }

    fn stop(&self, id: &str) {
        if let Some(host) = self.host(id) {
            for container in fs::read_dir(host.folder().join("state"))
                .into_iter()
                .flatten()
                .flatten()
            {
                self.command(&host, "docker")
                    .arg("stop")
                    .arg(container.file_name())
                    .run();
            }
        }
    }

    fn logs(&self, id: &str, container: &str) -> String {
        let host = self.host(id);
        let log =
            host.and_then(|host| fs::read_to_string(host.folder().join("state").join(container).join("log")).ok());
        log.unwrap_or_default()
    }

    fn life(&self, id: &str, container: &str) -> Life {
        let state = self.host(id).and_then(|host| {
            let state = host.folder().join("state").join(container).join("state");
            fs::read_to_string(state).ok()
        });
        let state = state.unwrap_or_default();
        let mut words = state.split_whitespace();
        match (words.next(), words.next().and_then(|word| word.parse().ok())) {
            (Some("running"), Some(restarts)) => Life::Running(u32::try_from(restarts).unwrap_or_default()),
            (Some("exited"), Some(code)) => Life::Ended(code),
            _ => Life::Waiting,
        }
    }

    fn removed(&self, id: &str) {
        let host = self.state().there.remove(&id.to_lowercase());
        drop(host);
    }
}

/// What systemd does for the units of an Ignition: `pre`, `try` and `main`, and the words.
fn unit_lines(data: &[u8]) -> String {
    let ignition: Value = serde_json::from_slice(data).expect("custom data is JSON");
    assert_eq!(ignition["ignition"]["version"], "3.3.0", "{ignition}");
    let units = ignition["systemd"]["units"].as_array().expect("there are units");
    let units = units.iter().filter(|unit| unit["enabled"] == true);
    let contents = units.filter_map(|unit| unit["contents"].as_str());
    let mut lines = String::new();
    for line in contents.flat_map(str::lines) {
        let Some((name, words)) = line.split_once('=') else {
            continue;
        };
        let (kind, words) = match (name, words.strip_prefix('-')) {
            ("ExecStartPre", Some(words)) => ("try", words),
            ("ExecStartPre", None) => ("pre", words),
            ("ExecStart", _) => ("main", words),
            _ => continue,
        };
        // The machine's programs are elsewhere.
        let words = words.trim_start_matches("/usr/bin/").trim_start_matches("/usr/sbin/");
        lines += &format!("{kind} {}\n", words.replace("%%", "%").replace("$$", "$"));
    }
    assert!(lines.contains("main "), "no unit starts anything: {ignition}");
    lines
}
