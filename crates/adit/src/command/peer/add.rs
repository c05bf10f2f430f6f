//! `adit peer add`.

use std::{io::IsTerminal as _, net::IpAddr};

use gateway::{
    control::{Change, Client, NewPeer, Request},
    text::Text,
};
use wg::PublicKey;

use super::{conf, settings::Settings};
use crate::{failure, output};

/// More QR codes are not shown unasked.
const MAX_UNASKED_QR: usize = 3;

/// The arguments of `adit peer add`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Who: names as in PEERS, of ASCII letters, digits, `-` and `_`.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// The public key of a client that made its keys itself; its private key is then nowhere but there.
    #[arg(long, value_name = "KEY")]
    public_key: Option<PublicKey>,
    /// The address that the peer gets. Default: the lowest that is free.
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    #[command(flatten)]
    settings: Settings,
    /// Prints what was done as one JSON object.
    #[arg(long)]
    json: bool,
    /// Shows no QR code.
    #[arg(long)]
    no_qr: bool,
}

pub(super) fn run(client: &mut Client, arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.names.len() > 1 && (arguments.public_key.is_some() || arguments.address.is_some()) {
        return Err(failure::usage(
            "--public-key and --address are for one peer: add the peers one by one",
        ));
    }
    let new = |name: &String| NewPeer {
        name: name.clone(),
        public_key: arguments.public_key.map(Text),
        address: arguments.address,
        settings: arguments.settings.record(),
    };
    let request = Request::Add {
        peers: arguments.names.iter().map(new).collect(),
    };
    let peers = super::change(client, &request)?;
    super::report(&peers, arguments.json)?;
    if arguments.json {
        return Ok(());
    }
    let added: Vec<_> = peers.iter().filter(|peer| peer.change == Change::Added).collect();
    for peer in added.iter().filter(|peer| !peer.is_complete) {
        let conf = conf::ask(client, &peer.name)?;
        output::line("")?;
        output::bytes(conf.text.as_bytes())?;
    }
    if arguments.no_qr || !std::io::stdout().is_terminal() || added.len() > MAX_UNASKED_QR {
        return Ok(());
    }
    for peer in added.iter().filter(|peer| peer.is_complete) {
        conf::show_qr(&conf::ask(client, &peer.name)?)?;
    }
    Ok(())
}
