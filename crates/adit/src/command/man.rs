//! `adit man`: the manual pages.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::{cli::Cli, output};

/// The arguments of `adit man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Read it:     adit man | man -l -\n\
                        Install it:  adit man --output ~/.local/share/man/man1")]
pub(crate) struct Arguments {
    /// Writes adit.1 and one page for each subcommand into this directory, which is made if it is missing.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Prints the main page, or writes all pages.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Some(directory) = &arguments.output else {
        let mut page = Vec::new();
        Man::new(Cli::command())
            .render(&mut page)
            .context("cannot render the manual page")?;
        return output::bytes(&page);
    };
    fs::create_dir_all(directory).with_context(|| format!("cannot make the directory {}", directory.display()))?;
    clap_mangen::generate_to(Cli::command(), directory)
        .with_context(|| format!("cannot write the manual pages to {}", directory.display()))
}
