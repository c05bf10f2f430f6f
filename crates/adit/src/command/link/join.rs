//! `adit link join`: into a link, by a token.

use std::io::Read as _;

use anyhow::Context as _;
use clap::Args;
use link::control::{Answer, Command};
use zeroize::Zeroizing;

use super::{DaemonArguments, PartArguments, daemon, say};
use crate::output;

/// The longest text that is read for a token, in bytes.
const MAX_TOKEN: u64 = 4096;

/// By which token, and how.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The token, as `adit link create` or `invite` prints it; `-` reads it from standard input.
    #[arg(value_name = "TOKEN")]
    token: String,
    #[command(flatten)]
    part: PartArguments,
    /// Prints a JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonArguments,
}

/// Joins, and says what came of it.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let token = match arguments.token.as_str() {
        "-" => {
            let mut text = String::new();
            let read = std::io::stdin().take(MAX_TOKEN).read_to_string(&mut text);
            read.context("cannot read the token from standard input")?;
            text
        }
        token => token.to_owned(),
    };
    let token = Zeroizing::new(token);
    let command = Command::Join {
        token: token.trim().to_owned(),
        host: arguments.part.part(),
    };
    let (answer, note) = daemon::ask(&arguments.daemon, &command)?;
    let Answer::Joined(joined) = answer else {
        anyhow::bail!("the daemon answers something else: it may be of another version");
    };
    if arguments.json {
        return output::line(&serde_json::to_string_pretty(&joined).context("cannot write JSON")?);
    }
    output::line(&format!(
        "paired with {} (handshake {:.2} s).  {} here, {} there",
        joined.host, joined.handshake, joined.here, joined.there
    ))?;
    for note in joined.notes.iter().chain(&note) {
        say(&format!("note: {note}"));
    }
    Ok(())
}
