//! `adit completions`: what a shell needs to complete our arguments.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{cli::Cli, output};

/// The arguments of `adit completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "bash:  adit completions bash > ~/.local/share/bash-completion/completions/adit\n\
                        zsh:   adit completions zsh > ~/.zfunc/_adit\n\
                        fish:  adit completions fish > ~/.config/fish/completions/adit.fish"
)]
pub(crate) struct Arguments {
    /// Which shell.
    shell: Shell,
}

/// Prints the completions.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "adit", &mut script);
    output::bytes(&script)
}
