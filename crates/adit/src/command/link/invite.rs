//! `adit link invite`: a token for another host.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use link::control::{self, Answer, Command};
use serde_json::json;
use zeroize::Zeroizing;

use super::{LinkArguments, say};
use crate::{duration, output};

/// How long a token may be used unless it is told otherwise.
const LIFETIME: &str = "10m";

/// For which link.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    link: LinkArguments,
    #[command(flatten)]
    token: TokenArguments,
}

/// The token, and how it is printed.
#[derive(Debug, Args)]
pub(super) struct TokenArguments {
    /// How long the token may be used, up to 7d.
    #[arg(long, value_name = "DURATION", default_value = LIFETIME, value_parser = duration::parse)]
    pub(super) lifetime: Duration,
    /// Prints a JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// Prints a token.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let command = Command::Invite {
        link: arguments.link.link,
        lifetime: arguments.token.lifetime.as_secs(),
    };
    let answer = control::ask(&arguments.link.socket.socket, &command)?;
    print(answer, "", None, arguments.token.json)
}

/// Prints the token of an answer, and says what is to be done with it.
pub(super) fn print(answer: Answer, first: &str, note: Option<String>, json: bool) -> anyhow::Result<()> {
    let Answer::Token(invited) = answer else {
        anyhow::bail!("the daemon answers something else: it may be of another version");
    };
    let token = Zeroizing::new(invited.token);
    let lifetime = duration::humane(Duration::from_secs(invited.lifetime));
    if json {
        let text = json!({
            "link": invited.link.to_string(),
            "token": &*token,
            "lifetime": invited.lifetime,
            "notes": invited.notes.iter().chain(&note).collect::<Vec<_>>(),
        });
        let text = Zeroizing::new(serde_json::to_string_pretty(&text).context("cannot write JSON")?);
        return output::secret_line(&text);
    }
    say(&format!("{first}On the other host, within {lifetime}, once:"));
    output::secret_line(&format!("  adit link join {}", &*token))?;
    for note in invited.notes.iter().chain(&note) {
        say(&format!("note: {note}"));
    }
    Ok(())
}
