//! Azure's container groups: containers of a Docker Engine, each group with a public address of its own.
//!
//! ```text
//!   internet ── 203.0.113.N  gateway: dockerd ── 172.17.0.M container
//! ```
//!
//! As at Azure, a container has no capability that it could ask for, and only the group's ports are open.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netlab::serve::azure::{Container, ContainerGroup, Life, Machine, Machines, Refusal};
use netlab::{Command, Host, Output};

use crate::engine::Engine;
use crate::network::Network;

/// The first public address of a group is the one behind this.
const FIRST: u8 = 64;

/// The groups. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Groups(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    internet: Host,
    region: Host,
    /// The Engine's address.
    engine: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    made: u8,
    /// Their addresses, and the names of their containers, by their IDs in lower case.
    there: BTreeMap<String, (Ipv4Addr, Vec<String>)>,
}

impl Groups {
    /// Groups in an Engine on the network's host `gateway`.
    pub(crate) fn new(network: &Network, engine: &Engine) -> Self {
        Self(Arc::new(Inner {
            internet: network.internet.clone(),
            region: network.gateway.clone(),
            engine: format!("unix://{}", engine.path("socket").display()),
            state: Mutex::default(),
        }))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.state().there.len()
    }

    /// The name by which the Engine knows the container of the only group.
    pub(crate) fn only(&self) -> String {
        let state = self.state();
        let (_, names) = state.there.values().next().expect("there is a group");
        names.first().expect("it has a container").clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn docker(&self, words: &[&str]) -> Command {
        let command = self.0.region.command("docker").args(words);
        let home = self.0.region.folder();
        command.env("DOCKER_HOST", &self.0.engine).env("HOME", home)
    }

    /// A group's address, which it keeps, without what ran there before.
    fn cleared(&self, group: &ContainerGroup) -> Ipv4Addr {
        if let Some((address, names)) = self.state().there.remove(&group.id.to_lowercase()) {
            self.remove(&names);
            return address;
        }
        let mut state = self.state();
        state.made += 1;
        let address = Ipv4Addr::new(203, 0, 113, FIRST + state.made);
        drop(state);
        self.0.region.add_address("lo", &format!("{address}/32"));
        self.0.internet.route(&format!("{address} via 203.0.113.2"));
        address
    }

    fn run(&self, group: &ContainerGroup, container: &Container, address: Ipv4Addr, name: &str) -> Output {
        let (cpus, memory) = (container.cpu.to_string(), format!("{}m", container.memory_gb * 1024.0));
        let mut command = self
            .docker(&["run", "--detach", "--name", name, "--cap-drop", "ALL"])
            .args([
                "--security-opt",
                "no-new-privileges",
                "--cpus",
                &cpus,
                "--memory",
                &memory,
                "--restart",
                match &*group.restart {
                    "Always" => "always",
                    "OnFailure" => "on-failure",
                    _ => "no",
                },
            ]);
        for variable in &container.environment {
            command = command
                .arg("--env")
                .arg(format!("{}={}", variable.name, variable.value));
        }
        for (port, protocol) in group.ports.iter().filter(|open| container.ports.contains(open)) {
            let protocol = protocol.to_lowercase();
            command = command
                .arg("--publish")
                .arg(format!("{address}:{port}:{port}/{protocol}"));
        }
        if let Some(program) = container.command.first() {
            command = command.arg("--entrypoint").arg(program);
        }
        let arguments = container.command.iter().skip(1);
        command.arg(&container.image).args(arguments).output()
    }

    fn remove(&self, names: &[String]) {
        for name in names {
            self.docker(&["rm", "--force", "--volumes", name]).run();
        }
    }

    fn name(&self, id: &str, container: &str) -> Option<String> {
        let state = self.state();
        let (_, names) = state.there.get(&id.to_lowercase())?;
        names
            .iter()
            .find(|name| name.ends_with(&format!(".{container}")))
            .cloned()
    }

    /// A fact of `docker inspect`.
    fn inspect(&self, name: &str, format: &str) -> String {
        let output = self.docker(&["inspect", "--format", format, name]).output();
        output.stdout.trim().to_owned()
    }
}

impl Machines for Groups {
    fn boot(&self, _machine: &Machine) -> Result<IpAddr, Refusal> {
        Err(Refusal::new(
            409,
            "AllocationFailed",
            "this region has container groups only",
        ))
    }

    fn start(&self, group: &ContainerGroup) -> Result<IpAddr, Refusal> {
        let address = self.cleared(group);
        let mut names = Vec::new();
        for container in &group.containers {
            let name = format!("{}.{}", group.name, container.name);
            let output = self.run(group, container, address, &name);
            if !output.status.success() {
                self.remove(&names);
                let message = format!("The image '{}' is not accessible: {}", container.image, output.stderr);
                return Err(Refusal::new(400, "InaccessibleImage", message));
            }
            names.push(name);
        }
        self.state().there.insert(group.id.to_lowercase(), (address, names));
        Ok(address.into())
    }

    fn stop(&self, id: &str) {
        let found = self.state().there.get(&id.to_lowercase()).cloned();
        for name in found.map(|(_, names)| names).unwrap_or_default() {
            self.docker(&["stop", &name]).run();
        }
    }

    /// As at Azure, what it said since it was started last.
    fn logs(&self, id: &str, container: &str) -> String {
        let Some(name) = self.name(id, container) else {
            return String::new();
        };
        // It may speak before its start is noted: while it runs, what counts is when it ended before, if it ever did.
        let facts = self.inspect(
            &name,
            "{{.RestartCount}} {{.State.Running}} {{.State.FinishedAt}} {{.State.StartedAt}}",
        );
        let facts: Vec<_> = facts.split(' ').collect();
        let since: &[&str] = match facts[..] {
            ["0", ..] => &[],
            [_, "true", ended, _] => &["--since", ended],
            [_, _, _, started] => &["--since", started],
            _ => panic!("{name} is {facts:?}"),
        };
        let output = self.docker(&[&["logs"], since, &[&name]].concat()).output();
        output.stdout + &output.stderr
    }

    fn life(&self, id: &str, container: &str) -> Life {
        let Some(name) = self.name(id, container) else {
            return Life::Waiting;
        };
        let said = self.inspect(&name, "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}");
        let words: Vec<_> = said.split(' ').collect();
        match words[..] {
            ["running" | "restarting", _, restarts] => Life::Running(restarts.parse().unwrap_or_default()),
            ["exited" | "dead", exit, _] => Life::Ended(exit.parse().unwrap_or(-1)),
            _ => Life::Waiting,
        }
    }

    fn removed(&self, id: &str) {
        if let Some((_, names)) = self.state().there.remove(&id.to_lowercase()) {
            self.remove(&names);
        }
    }
}
