//! `adit peer token`.

use gateway::{
    control::{Client, Reply, Request},
    reach::Endpoint,
};
use zeroize::Zeroizing;

use crate::output;

/// The arguments of `adit peer token`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Makes another token; the one of before opens nothing any more.
    #[arg(long)]
    new: bool,
    /// Where clients reach the API. Default: where clients reach the gateway, and the API's port.
    #[arg(long, value_name = "NAME[:PORT]", value_parser = host)]
    host: Option<String>,
}

fn host(text: &str) -> Result<String, String> {
    let checked = text.parse::<Endpoint>().map_err(|error| error.to_string());
    checked.map(|_| text.to_owned())
}

pub(super) fn run(client: &mut Client, arguments: &Arguments) -> anyhow::Result<()> {
    let request = Request::Token {
        new: arguments.new,
        host: arguments.host.clone(),
    };
    match super::ask(client, &request)? {
        Reply::Token { token } => {
            let token = Zeroizing::new(token);
            output::line(&token)
        }
        other @ (Reply::Changed { .. }
        | Reply::Peers { .. }
        | Reply::Conf { .. }
        | Reply::Health { .. }
        | Reply::Refused { .. }) => super::unexpected(&other),
    }
}
