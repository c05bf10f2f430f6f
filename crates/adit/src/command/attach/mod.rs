//! `adit attach`: the daemon that gives containers their tunnels, and what is asked of it.

mod once;
mod run;
mod status;

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to do; nothing is to run the daemon.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    run: run::RunArguments,
}

/// What is asked of the daemon, or done without it.
#[derive(Debug, Subcommand)]
enum What {
    /// Says of each container how its tunnel is.
    Status(status::Arguments),
    /// Gives one running container a tunnel, without the daemon.
    ///
    /// The container is closed first, gets its tunnel, and keeps both until it ends. Nobody watches the tunnel then.
    Once(once::Arguments),
}

/// The engine's socket, as all of these take it.
#[derive(Clone, Debug, Args)]
struct EngineArguments {
    /// The socket of Docker, or Podman's compatible one.
    #[arg(
        long = "docker",
        value_name = "SOCKET",
        env = "DOCKER_HOST",
        default_value = "/var/run/docker.sock"
    )]
    engine: PathBuf,
    /// Who handles the tunnels' packets: auto, kernel or tun.
    #[arg(long, value_name = "PLANE", env = "ADIT_PLANE", default_value_t)]
    plane: tunnel::Choice,
}

/// Runs what was asked for.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.what {
        None => run::run(arguments.run),
        Some(What::Status(arguments)) => status::run(&arguments),
        Some(What::Once(arguments)) => once::run(&arguments),
    }
}
