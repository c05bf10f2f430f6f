//! `show-peer`: what linuxserver's image has under this name, the QR codes of a gateway's peers.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use gateway::{
    control::{self, Client, Reply, Request},
    environment::PeerId,
};
use wg::qr::{Ink, Qr};
use zeroize::Zeroizing;

use crate::output;

/// Whose codes to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Peers as in PEERS: 1 4 myPC.
    #[arg(value_name = "PEER")]
    peers: Vec<String>,
    /// The gateway's directory.
    #[arg(
        long,
        value_name = "DIR",
        env = "ADIT_CONFIG_DIR",
        hide_env = true,
        default_value = "/config"
    )]
    config_dir: PathBuf,
}

/// Prints the codes of those peers that the gateway serves.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.peers.is_empty() {
        return output::line("You need to specify which peers to show");
    }
    anyhow::ensure!(
        arguments.config_dir.is_dir(),
        "{} is no directory; --config-dir or ADIT_CONFIG_DIR names the gateway's",
        arguments.config_dir.display()
    );
    let served = match asked(&arguments.config_dir) {
        Some(served) => served,
        None => written(&read(&arguments.config_dir.join("wg_confs/wg0.conf"))?.unwrap_or_default()),
    };
    for item in &arguments.peers {
        match active(&served, item) {
            Some(name) => {
                let path = arguments.config_dir.join(&name).join(format!("{name}.conf"));
                let conf = read(&path)?.with_context(|| format!("{} is not there", path.display()))?;
                let code = Qr::new(&conf)?.terminal(Ink::Colours);
                output::line(&format!("PEER {item} QR code:"))?;
                output::secret_line(code.trim_end_matches('\n'))?;
            }
            None => output::line(&format!("PEER {item} is not active"))?,
        }
    }
    Ok(())
}

/// The directories' names of the peers of the gateway that runs, if one does. Its configuration follows a change a moment
/// later.
fn asked(config_dir: &Path) -> Option<HashSet<String>> {
    let mut client = Client::connect(&control::in_directory(config_dir)).ok()?;
    let reply = client.ask(&Request::List { names: Vec::new() }).ok()?;
    let Reply::Peers { peers } = reply else { return None };
    let names = peers.iter().filter_map(|peer| peer.name.parse::<PeerId>().ok());
    Some(names.map(|peer| peer.file_name()).collect())
}

/// The directories' names of the peers in a gateway's configuration.
fn written(conf: &str) -> HashSet<String> {
    let names = conf.lines().filter_map(|line| line.trim_end().strip_prefix("# "));
    names.map(str::to_owned).collect()
}

/// The directory's name of a peer that the gateway serves.
fn active(served: &HashSet<String>, item: &str) -> Option<String> {
    // Blanks and punctuation around a name are dropped, as that image does.
    let known = |character: &char| character.is_ascii_alphanumeric() || "_-".contains(*character);
    let item: String = item.chars().filter(known).collect();
    let name = item.parse::<PeerId>().ok()?.file_name();
    served.contains(&name).then_some(name)
}

fn read(path: &Path) -> anyhow::Result<Option<Zeroizing<String>>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_active_if_the_gateways_configuration_names_it() {
        let served = written("[Interface]\n\n[Peer]\n# peer10\nPublicKey = x\n\n[Peer]\n# peer_my-PC_2\n");
        for (item, name) in [
            ("10", Some("peer10")),
            ("1", None),
            ("my-PC_2", Some("peer_my-PC_2")),
            ("my-PC_2,", Some("peer_my-PC_2")),
            ("phone", None),
            ("../..", None),
            ("", None),
        ] {
            assert_eq!(active(&served, item).as_deref(), name, "{item}");
        }
    }
}
