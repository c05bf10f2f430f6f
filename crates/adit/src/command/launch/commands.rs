//! `adit launch list`, `show`, `extend`, `end`, `config` and `peer`: what is done with leases that are there.

use std::{io, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use hub::api::words::{Lease, Peer};
use launch::{LeaseId, State, conf::PRIVATE_KEY, lease::End, order::Keys};
use tokio::runtime::Runtime;
use wg::qr::Qr;
use zeroize::Zeroizing;

use super::{files, leases::Leases, peers, screen, target::Target};
use crate::{amount, columns::columns, duration, failure, moment, output};

/// What is done with leases that are there.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists the leases that run: those of this user on this machine, or with --hub those of the hub.
    List {
        /// Also those that are over.
        #[arg(long)]
        all: bool,
        /// Prints one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Shows a lease and what happened with it.
    Show {
        /// The lease's id, or the beginning or the end of it.
        lease: String,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lets a lease live longer.
    Extend {
        /// The lease's id, or the beginning or the end of it.
        lease: String,
        /// By how long: 30m, 2h.
        #[arg(value_parser = duration::parse)]
        by: Duration,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ends a lease. Its gateway is gone then, and its configurations are worthless.
    End {
        /// The lease's id, or the beginning or the end of it.
        lease: String,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints the configuration of a peer.
    ///
    /// Whole, if it is in the directory of a launch that runs on this machine, or if the gateway makes the keys and has not
    /// handed it over yet; else but for the private key, which only the client has. Who has lost that gets another
    /// configuration with `adit launch peer rekey`.
    Config {
        /// The lease's id, or the beginning or the end of it.
        lease: String,
        /// The peer's name [default: the only one].
        peer: Option<String>,
        /// Shows it as a QR code.
        #[arg(long)]
        qr: bool,
    },
    /// Lets peers in and out of a gateway that runs, and gives them other keys.
    #[command(subcommand)]
    Peer(peers::Command),
}

/// Does it.
pub(super) fn run(command: &Command, target: &Target) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let leases = {
        let _inside = runtime.enter();
        target.open(None, None, Path::new(peers::OUTPUT))?
    };
    let result = run_on(command, &runtime, leases.as_ref());
    runtime.block_on(leases.close());
    result
}

fn run_on(command: &Command, runtime: &Runtime, leases: &dyn Leases) -> anyhow::Result<()> {
    let find = |text: &str| runtime.block_on(super::leases::find(leases, text));
    match command {
        Command::List { all, json } => {
            let found = runtime.block_on(leases.list(*all))?;
            if *json {
                return found.iter().try_for_each(print_json);
            }
            list(&found)
        }
        Command::Show { lease, json } => {
            let id = find(lease)?;
            let lease = runtime.block_on(leases.read(id))?;
            if *json {
                print_json(&lease)
            } else {
                show(&lease, runtime, leases)
            }
        }
        Command::Extend { lease, by, json } => {
            let id = find(lease)?;
            let lease = runtime.block_on(leases.extend(id, by.as_secs()))?;
            if *json {
                return print_json(&lease);
            }
            output::line(&format!(
                "{id} ends {}",
                moment::rfc3339_local(lease.ends_at.to_system())
            ))
        }
        Command::End { lease, json } => {
            let id = find(lease)?;
            let lease = runtime.block_on(leases.end(id))?;
            if *json {
                return print_json(&lease);
            }
            let what = if lease.state == State::Removed {
                "is gone"
            } else {
                "ends"
            };
            output::line(&format!("{id} {what}"))
        }
        Command::Config { lease, peer, qr } => {
            let id = find(lease)?;
            let lease = runtime.block_on(leases.read(id))?;
            let text = config(&lease, peer_of(&lease, peer.as_deref())?, runtime, leases)?;
            if *qr {
                output::bytes(Qr::new(&text)?.terminal(screen::ink()).as_bytes())
            } else {
                output::secret_line(text.trim_end())
            }
        }
        Command::Peer(command) => peers::run(command, runtime, leases),
    }
}

fn peer_of<'a>(lease: &'a Lease, peer: Option<&str>) -> anyhow::Result<&'a Peer> {
    let names = || {
        lease
            .peers
            .iter()
            .map(|peer| peer.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (peer, lease.peers.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => Err(failure::usage(format!("name one of its peers: {}", names()))),
        (Some(name), peers) => peers
            .iter()
            .find(|peer| peer.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| anyhow::anyhow!("the lease has no peer `{name}`; it has {}", names())),
    }
}

/// The file that a launch has written, what the gateway hands over, or what can be known without the private key.
fn config(lease: &Lease, peer: &Peer, runtime: &Runtime, leases: &dyn Leases) -> anyhow::Result<Zeroizing<String>> {
    let (id, name) = (lease.id, &peer.name);
    if let Some(folder) = runtime.block_on(leases.folder(id)) {
        return of_file(id, peer, &folder.join(format!("{name}.conf")));
    }
    if lease.keys == Keys::Gateway {
        if let Some(at) = peer.handed_over_at {
            bail!(
                "the configuration of {name} was handed over at {}, and is kept nowhere; {}",
                moment::rfc3339_local(at.to_system()),
                remedy(id, name)
            );
        }
        let text = runtime.block_on(leases.hand_over(id, name))?;
        return Ok(Zeroizing::new(text.danger_text().to_owned()));
    }
    let configuration = runtime.block_on(leases.configuration(id, name))?;
    let key = format!("PrivateKey = {PRIVATE_KEY}");
    let note = format!(
        "# The line `PrivateKey = …` is for the client to add: the key that belongs to {}\n# If it is lost, {}",
        configuration.public_key,
        remedy(id, name)
    );
    Ok(Zeroizing::new(configuration.text.replace(&key, &note)))
}

/// A launch's file, if it is there and has the key that the peer has.
fn of_file(id: LeaseId, peer: &Peer, path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{} is not there any more; {}", path.display(), remedy(id, &peer.name))
        }
        text => Zeroizing::new(text.with_context(|| format!("cannot read {}", path.display()))?),
    };
    if files::public_key(&text) != peer.public_key {
        bail!(
            "{} has not the key that {} has at the gateway; {}",
            path.display(),
            peer.name,
            remedy(id, &peer.name)
        );
    }
    Ok(text)
}

/// What helps whoever has lost a configuration.
fn remedy(id: LeaseId, peer: &str) -> String {
    format!("`adit launch peer rekey {id} {peer}` makes another key and a configuration with it")
}

fn list(leases: &[Lease]) -> anyhow::Result<()> {
    if leases.is_empty() {
        return output::line("no lease; `adit launch` makes one");
    }
    let mut rows = vec![["LEASE", "PLACE", "STATE", "ENDS", "PEERS", "DOWN / UP"].map(str::to_owned)];
    rows.extend(leases.iter().map(|lease| {
        [
            lease.id.to_string(),
            lease.place.clone(),
            state(lease),
            moment::wall(lease.ends_at.to_system()),
            lease.peers.len().to_string(),
            format!(
                "{} / {}",
                amount::bytes(lease.sent_bytes),
                amount::bytes(lease.received_bytes)
            ),
        ]
    }));
    output::bytes(columns(&rows).as_bytes())
}

fn state(lease: &Lease) -> String {
    let outcome = lease.outcome.map(End::as_str).filter(|_| lease.state == State::Removed);
    outcome.map_or_else(
        || lease.state.as_str().to_owned(),
        |outcome| format!("removed ({outcome})"),
    )
}

fn show(lease: &Lease, runtime: &Runtime, leases: &dyn Leases) -> anyhow::Result<()> {
    let mut lines = vec![
        format!("lease {} on {}: {}", lease.id, lease.place, state(lease)),
        format!("  ends {}", moment::rfc3339_local(lease.ends_at.to_system())),
    ];
    if lease.is_sample {
        lines.push("  a trial run: there is no gateway".to_owned());
    }
    if let Some(gateway) = &lease.gateway {
        lines.push(format!(
            "  {} · {} plane · {}",
            gateway.endpoint, gateway.plane, gateway.public_key
        ));
    }
    for peer in &lease.peers {
        let addresses: Vec<String> = peer.addresses.iter().map(ToString::to_string).collect();
        let seen = peer.latest_handshake_at.map_or_else(
            || "never seen".to_owned(),
            |at| format!("seen {}", moment::wall(at.to_system())),
        );
        lines.push(format!(
            "  {}: {} · {seen} · ↓ {} ↑ {}",
            peer.name,
            addresses.join(", "),
            amount::bytes(peer.sent_bytes),
            amount::bytes(peer.received_bytes)
        ));
    }
    if let Some(fault) = &lease.fault {
        lines.push(format!("  {}", fault.message));
        lines.extend((!fault.remedy.is_empty()).then(|| format!("  {}", fault.remedy)));
    }
    for notice in runtime.block_on(leases.notices(lease.id, 0))? {
        lines.push(format!(
            "  {}  {}",
            moment::rfc3339_local(notice.at.to_system()),
            notice.message
        ));
    }
    lines.iter().try_for_each(|line| output::line(line))
}

pub(super) fn print_json(lease: &Lease) -> anyhow::Result<()> {
    output::line(&serde_json::to_string(lease)?)
}

#[cfg(test)]
mod tests {
    use wg::PrivateKey;

    use super::*;

    #[test]
    fn a_file_that_is_lost_or_has_another_key_is_told_with_what_helps() {
        let folder = tempfile::tempdir().unwrap();
        let key = PrivateKey::from_random([1; 32]);
        let peer = Peer {
            name: "phone".to_owned(),
            public_key: Some(key.public_key()),
            addresses: Vec::new(),
            handed_over_at: None,
            first_handshake_at: None,
            endpoint: None,
            latest_handshake_at: None,
            received_bytes: 0,
            sent_bytes: 0,
        };
        let id = LeaseId::new(launch::Moment::from_millis(1), 1);
        let path = folder.path().join("phone.conf");
        let with = |key: &PrivateKey| format!("# x\n[Interface]\nPrivateKey = {}\n", *key.danger_base64());
        for (text, said) in [
            (None, Some("is not there any more")),
            (Some(with(&PrivateKey::from_random([2; 32]))), Some("has not the key")),
            (Some("[Interface]\n".to_owned()), Some("has not the key")),
            (Some(with(&key)), None),
            (Some(launch::conf::mark(&with(&key))), None),
        ] {
            if let Some(text) = &text {
                std::fs::write(&path, text).unwrap();
            }
            let read = of_file(id, &peer, &path).map_err(|error| error.to_string());
            match said {
                None => assert_eq!(*read.unwrap(), text.unwrap()),
                Some(said) => {
                    let problem = read.unwrap_err();
                    let remedy = format!("`adit launch peer rekey {id} phone`");
                    assert!(problem.contains(said) && problem.contains(&remedy), "{problem}");
                }
            }
        }
    }
}
