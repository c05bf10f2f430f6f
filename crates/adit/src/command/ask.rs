//! `adit ask`: asks the gateway of a lease one question.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use launch::node::{Answer, END, MAX_QUESTION, Question, START, client, tunnel::Caller};
use wg::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::{failure, node_socket, output};

/// How long the gateway may think.
const LIMIT: Duration = Duration::from_secs(30);

/// How long it is tried through the tunnel: a handshake goes out four times.
const TUNNEL_LIMIT: Duration = Duration::from_secs(20);

/// What is asked, and of whom.
#[derive(Debug, Args)]
#[command(after_help = "Examples, in a container:\n  \
    docker exec lease adit ask '{\"ask\":\"report\"}'\n  \
    docker exec -i lease adit ask < question.json\n\n\
    From anywhere, as the launcher whose public key the gateway was given (adit node --launcher):\n  \
    adit ask --endpoint 192.0.2.1:51820 --public-key KEY --key-file launcher.key '{\"ask\":\"report\"}'\n\n\
    Prints the answer, one JSON object on a line; a client's configuration between the lines\n  \
    === WIREGUARD_CLIENT_CONFIG_START ===\n  \
    === WIREGUARD_CLIENT_CONFIG_END ===\n\n\
    Exit code: 0 if it is answered; 1 if it is refused, or nobody answers; 2 for wrong usage. With --json a refusal is an \
    answer.")]
pub(crate) struct Arguments {
    /// Where the gateway answers. Default: where `adit node` of the same user does.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Asks through the gateway's own WireGuard port, wherever it runs, in place of a socket.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "socket", requires = "public_key")]
    endpoint: Option<String>,
    /// The gateway's public key, as its line `{"adit":"ready",…}` says.
    #[arg(long, value_name = "KEY", requires = "key_file")]
    public_key: Option<PublicKey>,
    /// File with the launcher's private key, in base64.
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    key_file: Option<PathBuf>,
    /// Prints every answer as JSON, a configuration and a refusal, too.
    #[arg(long)]
    json: bool,
    /// The question, as JSON; from standard input if it is left out.
    question: Option<String>,
}

/// Prints the answer.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let text = match arguments.question {
        Some(text) => text,
        None => read().context("cannot read the question")?,
    };
    let question = Question::read(text.trim().as_bytes()).map_err(failure::usage)?;
    let answer = match (arguments.endpoint, arguments.public_key, arguments.key_file) {
        (Some(endpoint), Some(public_key), Some(key_file)) => {
            let caller = Caller::new(endpoint, public_key, private_key(&key_file)?);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(caller.ask(&question, TUNNEL_LIMIT))?
        }
        _ => {
            let path = arguments.socket.map_or_else(node_socket::find, Ok)?;
            client::ask(&path, &question, LIMIT)?
        }
    };
    if arguments.json {
        return print(&answer);
    }
    match answer {
        Answer::Configuration { text, .. } => {
            let mut lines = Zeroizing::new(String::with_capacity(text.danger_text().len() + 128));
            for part in [START, "\n", text.danger_text(), END] {
                lines.push_str(part);
            }
            output::secret_line(&lines)
        }
        Answer::Refused { message } => bail!(message),
        Answer::Report(_) | Answer::Ending {} => print(&answer),
    }
}

fn private_key(file: &Path) -> anyhow::Result<PrivateKey> {
    let text = fs::read_to_string(file).map(Zeroizing::new);
    let text = text.with_context(|| format!("cannot read {}", file.display()))?;
    PrivateKey::from_base64(text.trim()).with_context(|| format!("{} holds no private key", file.display()))
}

fn print(answer: &Answer) -> anyhow::Result<()> {
    let line = answer.line();
    output::secret_line(std::str::from_utf8(&line)?.trim_end())
}

fn read() -> io::Result<String> {
    let mut text = String::new();
    let limit = u64::try_from(MAX_QUESTION).unwrap_or(u64::MAX);
    io::stdin().lock().take(limit).read_to_string(&mut text)?;
    Ok(text)
}
