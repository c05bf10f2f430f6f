//! `adit hub audit`: whether the audit is whole, and all of it as JSON.

use std::{
    fs::File,
    io::{self, BufReader, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use hub::audit::{self, Audit, Head, Whole};
use launch::Clock;

use super::{config::DataArguments, run::open_beside};
use crate::output;

/// What is done with the audit.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Walks along the audit's chain of hashes, and prints its head, COUNT:HASH, and to standard error from where on.
    ///
    /// Whoever can write the store could make all of it anew. A head that was noted elsewhere shows that, too: give it with
    /// --head.
    Verify {
        /// A head that was printed before: the audit has to go on from it.
        #[arg(long = "head", value_name = "COUNT:HASH")]
        heads: Vec<Head>,
        /// A file that `export` wrote, instead of the hub's own audit; - is standard input.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Writes the audit to standard output, a line of JSON for each row, and its head to standard error.
    Export,
}

/// Runs what was asked for. A hub may run beside it.
pub(super) fn run(arguments: &Arguments, data: DataArguments) -> anyhow::Result<()> {
    match &arguments.what {
        What::Verify { heads, file: None } => {
            let whole = open(data)?.verify(heads).context("the audit is not whole")?;
            verified(&whole)
        }
        What::Verify {
            heads,
            file: Some(file),
        } => {
            let whole = if file.as_os_str() == "-" {
                audit::verify_lines(io::stdin().lock(), heads)
            } else {
                let lines = File::open(file).with_context(|| file.display().to_string())?;
                audit::verify_lines(BufReader::new(lines), heads)
            };
            verified(&whole.context("the audit is not whole")?)
        }
        What::Export => {
            let mut out = io::BufWriter::new(io::stdout().lock());
            let whole = open(data)?.export(&mut out).context("cannot export the audit")?;
            out.flush().map_err(crate::failure::output)?;
            // There is nobody to tell if standard error is closed.
            let _unreachable = writeln!(io::stderr(), "{}", whole.head);
            Ok(())
        }
    }
}

/// Says from where on an audit is whole, and prints its head.
fn verified(whole: &Whole) -> anyhow::Result<()> {
    let Whole { from, head } = whole;
    let rows = whole.rows();
    let said = if from.count == 0 {
        format!("whole from its first row on: {rows} rows")
    } else {
        format!(
            "whole from {from} on: {rows} rows; the {} before were pruned",
            from.count
        )
    };
    // There is nobody to tell if standard error is closed.
    let _unreachable = writeln!(io::stderr(), "{said}");
    output::line(&head.to_string())
}

fn open(data: DataArguments) -> anyhow::Result<Audit> {
    let (_, data) = data.read()?;
    anyhow::ensure!(
        data.join(super::run::STORE).is_file(),
        "there is no hub's data in {}",
        data.display()
    );
    Audit::open(open_beside(&data)?, Clock::system()).context("cannot open the audit")
}
