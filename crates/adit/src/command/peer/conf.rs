//! `adit peer show` and `adit peer qr`.

use std::path::PathBuf;

use gateway::control::{Client, Reply, Request};
use wg::qr::{Ink, Qr};
use zeroize::Zeroizing;

use crate::output;

/// The arguments of `adit peer show`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Who.
    #[arg(value_name = "NAME")]
    name: String,
    /// Prints the file's path and its text as one JSON object.
    #[arg(long)]
    json: bool,
}

/// The arguments of `adit peer qr`.
#[derive(Debug, clap::Args)]
pub(super) struct QrArguments {
    /// Who.
    #[arg(value_name = "NAME")]
    name: String,
    /// Draws without colours, for a terminal with light text on a dark background.
    #[arg(long)]
    plain: bool,
}

/// A client's configuration.
pub(super) struct Conf {
    path: PathBuf,
    pub(super) text: Zeroizing<String>,
    is_complete: bool,
}

pub(super) fn ask(client: &mut Client, name: &str) -> anyhow::Result<Conf> {
    let request = Request::Conf { name: name.to_owned() };
    match super::ask(client, &request)? {
        Reply::Conf {
            path,
            text,
            is_complete,
        } => Ok(Conf {
            path,
            text: text.into(),
            is_complete,
        }),
        other @ (Reply::Changed { .. }
        | Reply::Peers { .. }
        | Reply::Health { .. }
        | Reply::Token { .. }
        | Reply::Refused { .. }) => super::unexpected(&other),
    }
}

pub(super) fn run(client: &mut Client, arguments: &Arguments) -> anyhow::Result<()> {
    let conf = ask(client, &arguments.name)?;
    if arguments.json {
        return super::print_json(&serde_json::json!({
            "config": conf.path,
            "text": *conf.text,
            "is_complete": conf.is_complete,
        }));
    }
    output::bytes(conf.text.as_bytes())
}

pub(super) fn run_qr(client: &mut Client, arguments: &QrArguments) -> anyhow::Result<()> {
    let conf = ask(client, &arguments.name)?;
    if !conf.is_complete {
        anyhow::bail!(
            "{}'s private key is only at its client: import the configuration that `adit peer show {}` prints, and \
             add the key there",
            arguments.name,
            arguments.name,
        );
    }
    let ink = if arguments.plain { Ink::Plain } else { Ink::Colours };
    output::bytes(Qr::new(&conf.text)?.terminal(ink).as_bytes())
}

pub(super) fn show_qr(conf: &Conf) -> anyhow::Result<()> {
    output::bytes(Qr::new(&conf.text)?.terminal(Ink::Colours).as_bytes())
}
