//! `adit hub`: leases over HTTP, with a web page and an API, for whoever signs in.

mod audit;
mod config;
pub(crate) mod file;
mod monitor;
mod places;
mod run;
mod token;
mod trace;

use clap::{Args, Subcommand};

use self::config::{DataArguments, HubArguments};

/// How a hub runs, or what is done with its data.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Try it out: `adit hub --dry-run`.\n\
                  A file of settings is YAML (or JSON) with the keys listen, metrics_listen, metrics_token_file, metrics_insecure, \
                  public_url, tls, trusted_proxies, oidc, api_tokens, session_secs, limits, rates, retention, profiles, \
                  otlp_endpoint, azure_monitor, places, endpoint, plane and data; \
                  an option wins over it."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    hub: HubArguments,
    #[command(flatten)]
    data: DataArguments,
    #[command(subcommand)]
    what: Option<What>,
}

/// What is done with a hub's data; each has a file of its own.
#[derive(Debug, Subcommand)]
enum What {
    /// Checks or writes out the audit: who did what, when, and how it went.
    Audit(audit::Arguments),
    /// Makes an API token, for a hub whose people have tokens and nothing else.
    ///
    /// Prints it once. The account is token:OWNER; it has the roles that were named last, in all its tokens.
    Token(token::Arguments),
}

/// Runs what was asked for.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { hub, data, what } = arguments;
    match what {
        None => run::run(hub, data),
        Some(What::Audit(arguments)) => audit::run(&arguments, data),
        Some(What::Token(arguments)) => token::run(arguments, data),
    }
}
