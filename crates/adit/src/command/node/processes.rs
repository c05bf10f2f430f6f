//! The gateways of the place `local`: processes of this program.

use std::{env, os::unix::process::CommandExt as _, process::Command};

use clap::ValueEnum as _;
use gateway::{
    firewall,
    reach::{Host, Reach, Sources},
};
use launch::place::local::{Gateways, Start};

use super::desk::MAX_REMAINING_SECS;
use crate::options::PlaneChoice;

/// The program itself, even if another one has taken its place meanwhile.
const PROGRAM: &str = "/proc/self/exe";

/// What a gateway is told of this process's environment: nothing else, for that may hold what is not for it.
const VARIABLES: [&str; 5] = [
    "ADIT_DNS_CA",
    "ADIT_DNS_UPSTREAM",
    "ADIT_LANES",
    "TZ",
    "XDG_RUNTIME_DIR",
];

/// How the gateways of this machine are started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Processes {
    /// Where clients reach this machine; `None` is to be found.
    pub(crate) host: Option<Host>,
    /// Who handles the packets.
    pub(crate) plane: PlaneChoice,
}

impl Gateways for Processes {
    fn command(&self, start: &Start<'_>) -> Command {
        let lifetime = start.lifetime.as_millis().div_ceil(1_000).max(1);
        let lifetime = u64::try_from(lifetime).unwrap_or(u64::MAX).min(MAX_REMAINING_SECS);
        let mut command = Command::new(PROGRAM);
        command.arg0("adit").arg("node");
        command.args([
            "--lease",
            &start.id.to_string(),
            "--lifetime",
            &lifetime.to_string(),
            "--socket",
        ]);
        command.arg(start.socket);
        if let Some(plane) = self.plane.to_possible_value() {
            command.args(["--plane", plane.get_name()]);
        }
        for (name, value) in [("--listen", start.port), ("--mtu", start.mtu)] {
            if let Some(value) = value {
                command.args([name, &value.to_string()]);
            }
        }
        let variables = VARIABLES
            .into_iter()
            .filter_map(|name| Some((name, env::var_os(name)?)));
        command.env_clear().envs(variables);
        linux::session::start_in_own(&mut command);
        command
    }

    fn host(&self) -> Result<String, String> {
        let reach = Reach::find(self.host.clone(), Sources::of_this_machine());
        reach
            .map(|reach| reach.host.to_string())
            .map_err(|error| error.to_string())
    }

    fn clear(&self) -> Result<(), String> {
        // Interfaces first: rules are left only if theirs is gone.
        tunnel::clear_leftovers().map_err(|error| error.to_string())?;
        firewall::clear().map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command as Subcommand};

    #[test]
    fn a_gateway_is_started_as_it_is_ordered() {
        let processes = Processes {
            host: Some("2001:db8::1".parse().unwrap()),
            plane: PlaneChoice::Netstack,
        };
        assert_eq!(processes.host(), Ok("[2001:db8::1]".to_owned()));
        let start = Start {
            id: "01kb2w0v9hq3k1yv8s4n6t2m5e".parse().unwrap(),
            socket: Path::new("/run/adit/leases/hub/x/socket"),
            lifetime: Duration::from_millis(1_799_001),
            port: Some(443),
            mtu: None,
        };
        let command = processes.command(&start);
        let words: Vec<_> = command.get_args().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(
            words.join(" "),
            "node --lease 01kb2w0v9hq3k1yv8s4n6t2m5e --lifetime 1800 --socket /run/adit/leases/hub/x/socket \
             --plane netstack --listen 443"
        );
        let typed = std::iter::once("adit").chain(words);
        assert!(matches!(
            Cli::try_parse_from(typed).unwrap().command,
            Subcommand::Node(_)
        ));
        assert!(
            command
                .get_envs()
                .all(|(name, _)| VARIABLES.iter().any(|variable| *variable == name))
        );
    }
}
