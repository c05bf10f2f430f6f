//! `adit launch list`, `show`, `extend`, `end` and `config`: what is done with leases that are there.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use hub::api::words::Lease;
use launch::{LeaseId, State, conf::PRIVATE_KEY, lease::End};
use tokio::runtime::Runtime;

use super::{leases::Leases, places, target::Target};
use crate::{amount, duration, failure, moment, output};

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
    /// Whole, if it was written on this machine; else but for the private key, which only the client has.
    Config {
        /// The lease's id, or the beginning or the end of it.
        lease: String,
        /// The peer's name [default: the only one].
        peer: Option<String>,
    },
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
        target.open(places::all(&target.docker), &PathBuf::from("./adit"))?
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
        Command::Config { lease, peer } => {
            let id = find(lease)?;
            let lease = runtime.block_on(leases.read(id))?;
            let name = peer_of(&lease, peer.as_deref())?;
            config(id, &name, runtime, leases)
        }
    }
}

fn peer_of(lease: &Lease, peer: Option<&str>) -> anyhow::Result<String> {
    let names: Vec<&str> = lease.peers.iter().map(|peer| peer.name.as_str()).collect();
    match (peer, names.as_slice()) {
        (Some(peer), _) if names.contains(&peer) => Ok(peer.to_owned()),
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => Err(failure::usage(format!("name one of its peers: {}", names.join(", ")))),
        (Some(peer), _) => anyhow::bail!("the lease has no peer `{peer}`; it has {}", names.join(", ")),
    }
}

/// The file that the launch has written, else what can be known without the private key.
fn config(id: LeaseId, peer: &str, runtime: &Runtime, leases: &dyn Leases) -> anyhow::Result<()> {
    if let Some(folder) = runtime.block_on(leases.folder(id)) {
        let path = folder.join(format!("{peer}.conf"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        return output::secret_line(zeroize::Zeroizing::new(text).trim_end());
    }
    let configuration = runtime.block_on(leases.configuration(id, peer))?;
    let key = format!("PrivateKey = {PRIVATE_KEY}");
    let note = format!(
        "# The line `PrivateKey = …` is for the client to add: the key that belongs to {}",
        configuration.public_key
    );
    output::line(configuration.text.replace(&key, &note).trim_end())
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
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    rows.iter().try_for_each(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        output::line(cells.collect::<Vec<_>>().join("  ").trim_end())
    })
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

fn print_json(lease: &Lease) -> anyhow::Result<()> {
    output::line(&serde_json::to_string(lease)?)
}
