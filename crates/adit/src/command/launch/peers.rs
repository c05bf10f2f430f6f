//! `adit launch peer`: lets peers in and out of a gateway that runs, and gives them other keys.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use gateway::Name;
use hub::api::words::{Lease, Peer, PeerRequest};
use launch::{LeaseId, State, order::Keys};
use tokio::runtime::Runtime;
use wg::PrivateKey;

use super::{
    commands,
    config::{QrOptions, ShowQr, check_names},
    event::Event,
    files::{self, Former, Keeper, Late},
    leases::{self, Leases},
    screen::{self, Screen},
};
use crate::{amount, columns::columns, moment, output};

/// Where configurations are written for a lease that no launch on this machine drives.
pub(super) const OUTPUT: &str = "./adit";

/// How long a gateway may take until it knows a peer.
const LIMIT: Duration = Duration::from_secs(60);

/// How often it is looked whether it does.
const GLANCE: Duration = Duration::from_millis(100);

/// What is done with peers of a lease.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lets more peers in: makes their keys and writes their configurations. Others notice nothing.
    ///
    /// All of them or none.
    Add {
        /// The lease's id, or the beginning or the end of it.
        lease: String,
        /// Who: 1 to 15 letters, digits, `-` and `_`.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
        #[command(flatten)]
        handing: Handing,
    },
    /// Gives a peer another key, and writes its configuration anew: for who has lost the file, or whose file got into wrong
    /// hands. Its addresses stay; the old configuration opens nothing any more.
    Rekey {
        /// The lease's id, or the beginning or the end of it.
        lease: String,
        /// Who.
        name: Name,
        #[command(flatten)]
        handing: Handing,
    },
    /// Lets peers in no more: they are cut off at once, and their configurations are worthless.
    Remove {
        /// The lease's id, or the beginning or the end of it.
        lease: String,
        /// Who.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
        /// Prints the lease as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lists the peers of a lease: addresses, and what has happened with them.
    List {
        /// The lease's id, or the beginning or the end of it.
        lease: String,
        /// Prints one JSON object a line.
        #[arg(long)]
        json: bool,
    },
}

/// How configurations are handed to a person.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Handing {
    /// Directory for the configurations, which are the person's to remove. Default: that of the launch, if it runs on this
    /// machine, which removes them at the lease's end; else ./adit.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Prints one JSON object a line for each peer, as at the launch.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    qr: QrOptions,
}

/// Does it.
pub(super) fn run(command: &Command, runtime: &Runtime, leases: &dyn Leases) -> anyhow::Result<()> {
    let lease = |text: &str| {
        let id = runtime.block_on(leases::find(leases, text))?;
        runtime.block_on(leases.read(id))
    };
    let on = |handing: &Handing, id: LeaseId| Desk::new(handing, id, runtime, leases);
    match command {
        Command::Add {
            lease: text,
            names,
            handing,
        } => {
            check_names(names)?;
            let lease = lease(text)?;
            on(handing, lease.id).add(&lease, names)
        }
        Command::Rekey {
            lease: text,
            name,
            handing,
        } => {
            let lease = lease(text)?;
            on(handing, lease.id).rekey(&lease, name)
        }
        Command::Remove {
            lease: text,
            names,
            json,
        } => remove(&lease(text)?, names, *json, runtime, leases),
        Command::List { lease: text, json } => list(&lease(text)?, *json),
    }
}

/// Where peers of one lease get their configurations.
struct Desk<'a> {
    id: LeaseId,
    runtime: &'a Runtime,
    leases: &'a dyn Leases,
    directory: PathBuf,
    keeper: Keeper,
    show: ShowQr,
    json: bool,
    screen: Screen,
}

impl<'a> Desk<'a> {
    fn new(handing: &Handing, id: LeaseId, runtime: &'a Runtime, leases: &'a dyn Leases) -> Self {
        let of_launch = || runtime.block_on(leases.folder(id));
        let (directory, keeper) = match &handing.output {
            Some(output) => (output.clone(), Keeper::Person),
            None => of_launch().map_or((OUTPUT.into(), Keeper::Person), |folder| (folder, Keeper::Driver)),
        };
        Self {
            id,
            runtime,
            leases,
            directory,
            keeper,
            show: handing.qr.show(),
            json: handing.json,
            screen: Screen::new(handing.json),
        }
    }

    fn add(&mut self, lease: &Lease, names: &[Name]) -> anyhow::Result<()> {
        check_running(lease)?;
        names.iter().try_for_each(|name| check_new(lease, name))?;
        let mut files = names
            .iter()
            .map(|name| Late::new(&self.directory, name, self.keeper, Former::Nothing))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut added = Vec::new();
        let all_in = names.iter().zip(&mut files).try_for_each(|(name, file)| {
            let key = self.let_in(lease.keys, name)?;
            added.push(name);
            self.hand(name, key.as_ref(), file, names)
        });
        if all_in.is_err() {
            self.take_back(&added, &files);
        }
        all_in
    }

    /// Adds a peer; gives its private key, unless the gateway makes it.
    fn let_in(&self, keys: Keys, name: &Name) -> anyhow::Result<Option<PrivateKey>> {
        let key = (keys == Keys::Client).then(gateway::key::private).transpose()?;
        if key.is_none() {
            // Without a key of its own, a peer that another command has added meanwhile is the same.
            check_new(&self.runtime.block_on(self.leases.read(self.id))?, name)?;
        }
        let request = PeerRequest {
            name: name.to_string(),
            public_key: key.as_ref().map(PrivateKey::public_key),
        };
        self.runtime.block_on(self.leases.add_peer(self.id, &request))?;
        Ok(key)
    }

    /// Removes peers that were let in, of which there were to be more, and the files that were written for them.
    fn take_back(&self, names: &[&Name], files: &[Late]) {
        for name in names {
            // What went wrong before says more.
            let _still_there = self.runtime.block_on(self.leases.remove_peer(self.id, name.as_str()));
        }
        for file in files {
            let _still_there = file.take_back();
        }
    }

    fn rekey(&mut self, lease: &Lease, name: &Name) -> anyhow::Result<()> {
        check_running(lease)?;
        let peer =
            peer_of(lease, name).with_context(|| format!("the lease has no peer `{name}`; it has {}", names(lease)))?;
        let name: &Name = &peer.name.parse()?;
        let mut file = Late::new(&self.directory, name, self.keeper, Former::OfKey(peer.public_key))?;
        let key = (lease.keys == Keys::Client).then(gateway::key::private).transpose()?;
        match &key {
            Some(key) => {
                let replaced = self.leases.replace_key(self.id, name.as_str(), key.public_key());
                self.runtime.block_on(replaced)?;
            }
            // Its configuration was handed to nobody: the gateway makes a key as it does.
            None if peer.handed_over_at.is_none() => {}
            None => self.begin_anew(lease, name)?,
        }
        self.hand(name, key.as_ref(), &mut file, std::slice::from_ref(name))
    }

    /// Lets a peer whose key the gateway makes be handed over once more: as another peer of the same name.
    fn begin_anew(&mut self, lease: &Lease, name: &Name) -> anyhow::Result<()> {
        if lease.peers.len() == 1 {
            bail!(
                "{name} is the only peer of a gateway that makes the keys itself: let another one in, \
                 `adit launch peer add {} NAME`, then remove this one",
                self.id
            );
        }
        self.runtime.block_on(self.leases.remove_peer(self.id, name.as_str()))?;
        let request = PeerRequest {
            name: name.to_string(),
            public_key: None,
        };
        self.runtime.block_on(self.leases.add_peer(self.id, &request))?;
        Ok(())
    }

    /// Writes the configuration of a peer once the gateway knows it, and shows it.
    fn hand(&mut self, name: &Name, key: Option<&PrivateKey>, file: &mut Late, all: &[Name]) -> anyhow::Result<()> {
        let lease = self.wait_until_known(name)?;
        let text = self
            .runtime
            .block_on(leases::whole(self.leases, self.id, name.as_str(), key))?;
        let path = file.write(&format!("{name}, until {}", lease.ends_at), text.danger_text())?;
        let peer = peer_of(&lease, name);
        let addresses = peer.map(|peer| peer.addresses.clone()).unwrap_or_default();
        let width = all.iter().map(|name| name.as_str().len()).max().unwrap_or_default();
        self.screen
            .line(&screen::handed(name.as_str(), width, &addresses, path));
        self.screen.qr(self.show, text.danger_text(), all.len())?;
        if self.json {
            let made = || peer.and_then(|peer| peer.public_key);
            let public_key = key.map(PrivateKey::public_key).or_else(made);
            let event = Event::Peer {
                peer: name.as_str(),
                public_key: public_key.map(|key| key.to_string()).unwrap_or_default(),
                addresses: &addresses,
                config: path,
            };
            output::line(&event.line()?)?;
        }
        Ok(())
    }

    /// Waits until the gateway has told a peer's addresses.
    fn wait_until_known(&self, name: &Name) -> anyhow::Result<Lease> {
        let started = Instant::now();
        loop {
            let lease = self.runtime.block_on(self.leases.read(self.id))?;
            check_running(&lease)?;
            let is_known = peer_of(&lease, name).is_some_and(|peer| !peer.addresses.is_empty());
            if lease.state == State::Ready && is_known {
                return Ok(lease);
            }
            if started.elapsed() > LIMIT {
                bail!(
                    "the gateway does not know {name} after {} s; `adit launch show {}` says how it is",
                    LIMIT.as_secs(),
                    self.id
                );
            }
            std::thread::sleep(GLANCE);
        }
    }
}

fn remove(lease: &Lease, who: &[Name], json: bool, runtime: &Runtime, leases: &dyn Leases) -> anyhow::Result<()> {
    check_running(lease)?;
    if let Some(unknown) = who.iter().find(|name| peer_of(lease, name).is_none()) {
        bail!("the lease has no peer `{unknown}`; it has {}", names(lease));
    }
    let stays = |peer: &&Peer| !who.iter().any(|name| peer.name.eq_ignore_ascii_case(name.as_str()));
    if !lease.peers.iter().any(|peer| stays(&peer)) {
        bail!("a lease has at least one peer; `adit launch end {}` ends it", lease.id);
    }
    let folder = runtime.block_on(leases.folder(lease.id));
    let mut left = lease.clone();
    for peer in who.iter().filter_map(|name| peer_of(lease, name)) {
        left = runtime.block_on(leases.remove_peer(lease.id, &peer.name))?;
        if let Some(folder) = &folder {
            files::forget(folder, &peer.name)?;
        }
        if !json {
            output::line(&format!("{} may connect no more", peer.name))?;
        }
    }
    if json { commands::print_json(&left) } else { Ok(()) }
}

fn list(lease: &Lease, json: bool) -> anyhow::Result<()> {
    if json {
        return lease
            .peers
            .iter()
            .try_for_each(|peer| output::line(&serde_json::to_string(peer)?));
    }
    output::bytes(table(&lease.peers, |at| moment::wall(at.to_system())).as_bytes())
}

/// The peers in columns; traffic as the client sees it.
fn table(peers: &[Peer], clock: impl Fn(launch::Moment) -> String) -> String {
    let mut rows = vec![["PEER", "ADDRESSES", "SEEN", "DOWN / UP"].map(str::to_owned)];
    rows.extend(peers.iter().map(|peer| {
        let addresses: Vec<String> = peer.addresses.iter().map(ToString::to_string).collect();
        [
            peer.name.clone(),
            addresses.join(", "),
            peer.latest_handshake_at.map_or_else(|| "never".to_owned(), &clock),
            format!(
                "{} / {}",
                amount::bytes(peer.sent_bytes),
                amount::bytes(peer.received_bytes)
            ),
        ]
    }));
    columns(&rows)
}

fn check_new(lease: &Lease, name: &Name) -> anyhow::Result<()> {
    if peer_of(lease, name).is_some() {
        bail!(
            "{name} is a peer already; `adit launch peer rekey {} {name}` gives it another key",
            lease.id
        );
    }
    Ok(())
}

fn check_running(lease: &Lease) -> anyhow::Result<()> {
    if lease.state.is_running() {
        Ok(())
    } else {
        bail!("the lease is over; launch another one")
    }
}

fn peer_of<'a>(lease: &'a Lease, name: &Name) -> Option<&'a Peer> {
    lease
        .peers
        .iter()
        .find(|peer| peer.name.eq_ignore_ascii_case(name.as_str()))
}

fn names(lease: &Lease) -> String {
    let names: Vec<&str> = lease.peers.iter().map(|peer| peer.name.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use launch::Moment;

    use super::*;

    #[test]
    fn peers_stand_in_columns() {
        let peer = |name: &str, seen: Option<u64>| Peer {
            name: name.to_owned(),
            public_key: None,
            addresses: vec!["10.13.13.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            handed_over_at: None,
            first_handshake_at: None,
            endpoint: None,
            latest_handshake_at: seen.map(Moment::from_millis),
            received_bytes: 0,
            sent_bytes: 12_400_000,
        };
        let clock = |at: Moment| format!("{} ms", at.as_millis());
        assert_eq!(
            table(&[peer("phone", None), peer("my-laptop", Some(7))], clock),
            "PEER       ADDRESSES            SEEN   DOWN / UP\n\
             phone      10.13.13.2, fd00::2  never  12.4 MB / 0 B\n\
             my-laptop  10.13.13.2, fd00::2  7 ms   12.4 MB / 0 B\n"
        );
    }
}
