//! Carries out what is asked of a running gateway: files, tunnel and memory change together, or not at all.
//!
//! ```text
//! decide ─▶ announce ─▶ keys, configurations, records ─▶ tunnel ─▶ settle ─▶ remember ─▶ reply
//!               └────────── an error, or a kill, undoes all of it ──────┘
//! ```

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use zeroize::Zeroizing;

use super::decide::{Step, Wanted};
use crate::{
    client::Terms,
    control::{Change, Changed, Listed, Reply, Request},
    directory::{Directory, DirectoryError, Kind},
    environment::PeerId,
    file,
    ledger::Before,
    pictures::{Pictures, Turn},
    record::Standing,
    roster::{Member, Roster, RosterError, Wish},
    server::{Gateway, GatewayError, PeerChange, PeerState},
    text::Text,
};

/// Changes with more peers than this are synced by one call for the file system, not file by file.
const FEW: usize = 4;

/// A peer whose latest handshake is not older has a session (WireGuard whitepaper 6.1: `REJECT_AFTER_TIME`).
const SESSION_SECS: u64 = 180;

/// Who asked for a change, in the log: `adit peer`.
const COMMAND: &str = "by command";

/// A gateway for good with all that belongs to its peers.
#[derive(Debug)]
pub struct Desk {
    /// The tunnel and who is on it.
    pub gateway: Gateway,
    /// The pictures of configurations; the thread that draws them ends before the directory is another's.
    pub pictures: Arc<Pictures>,
    /// The files.
    pub directory: Directory,
    /// Who they are.
    pub roster: Roster,
    /// What all clients are told alike.
    pub terms: Terms,
    /// The port that is written into the gateway's own configuration.
    pub listen_port: u16,
    /// The user and the group that files are given to.
    pub owner: (Option<u32>, Option<u32>),
}

/// Why something asked for is not done.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// It cannot be as it is asked for.
    #[error("{0}")]
    Refused(String),
    /// The files cannot be read or written.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The tunnel does not take it.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// There is no address or no key.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// It failed, and not all of it is undone.
    #[error("{cause}; undoing it failed too: {undoing}; the next command, or the next start, undoes the rest")]
    NotUndone {
        /// Why it failed.
        cause: Box<Self>,
        /// Why it is not undone.
        undoing: Box<Self>,
    },
}

impl Desk {
    /// Carries out a request; the peers of the gateway are different only if the reply says so. Says too what is worth
    /// a line in the log.
    pub fn handle(&mut self, request: Request) -> (Reply, Option<String>) {
        let result = match request {
            Request::Add { peers } => self.change(Wanted::Add(peers), COMMAND),
            Request::Set {
                names,
                settings,
                address,
            } => self.change(
                Wanted::Set {
                    names,
                    settings,
                    address,
                },
                COMMAND,
            ),
            Request::Remove { names, keep } => self.change(Wanted::Remove { names, keep }, COMMAND),
            Request::List { names } => self.list(&names).map(|reply| (reply, None)),
            Request::Conf { name } => self.conf(&name).map(|reply| (reply, None)),
            Request::Health {} => Err(DeskError::Refused("nobody watches this gateway".to_owned())),
            Request::Token { .. } => Err(DeskError::Refused(
                "this gateway has no API: start it with --api ADDRESS:PORT, or ADIT_API".to_owned(),
            )),
        };
        result.unwrap_or_else(|error| {
            let message = error.to_string();
            (Reply::Refused { message }, None)
        })
    }

    /// Changes peers; `by` says in the log who asked for it.
    pub(super) fn change(&mut self, wanted: Wanted, by: &str) -> Result<(Reply, Option<String>), DeskError> {
        let pictures = Arc::clone(&self.pictures);
        let turn = pictures.turn();
        // What an earlier command left half done would be taken for what is, and its announcement be lost.
        self.undo(&turn)?;
        let steps = wanted.decide(&mut self.roster, &self.directory);
        let steps = match steps {
            Ok(steps) => steps,
            Err((steps, error)) => {
                self.give_back(&steps);
                return Err(*error);
            }
        };
        let replies: Vec<Changed> = steps.iter().map(|step| self.describe(step)).collect();
        let steps: Vec<Step> = steps
            .into_iter()
            .filter(|step| step.change != Change::Unchanged)
            .collect();
        if let Err(error) = self.carry_out(&steps, &turn) {
            self.give_back(&steps);
            return Err(error);
        }
        let added = steps.iter().filter(|step| step.change == Change::Added);
        let notes = added.filter_map(|step| self.gateway.dns_note(&step.id.name()));
        let log = summary(&steps, by).map(|line| notes.fold(line, |line, note| format!("{line}; {note}")));
        for step in steps {
            self.remember(step);
        }
        Ok((Reply::Changed { peers: replies }, log))
    }

    /// Files and tunnel. What fails is undone.
    fn carry_out(&self, steps: &[Step], pictures: &Turn<'_>) -> Result<(), DeskError> {
        if steps.is_empty() {
            return Ok(());
        }
        let changes: Vec<PeerChange> = steps.iter().map(Step::peer_change).collect();
        self.gateway.check(&changes)?;
        let before = steps
            .iter()
            .map(|step| Before::of(&self.directory, &step.id, &step.record_before));
        self.directory.announce(before.collect::<Result<_, _>>()?)?;
        let done = self
            .write(steps, pictures)
            .and_then(|()| Ok(self.gateway.change(&changes)?))
            .and_then(|()| Ok(self.directory.settle()?));
        done.map_err(|cause| match self.undo(pictures) {
            Ok(()) => cause,
            Err(undoing) => DeskError::NotUndone {
                cause: Box::new(cause),
                undoing: Box::new(undoing),
            },
        })
    }

    fn write(&self, steps: &[Step], pictures: &Turn<'_>) -> Result<(), DeskError> {
        let write = || steps.iter().try_for_each(|step| self.write_one(step, pictures));
        if steps.len() <= FEW {
            return Ok(write()?);
        }
        Ok(file::together(self.directory.root(), write).map_err(|cause| self.directory.unsynced(cause))??)
    }

    /// The record last: it is what makes a peer.
    fn write_one(&self, step: &Step, pictures: &Turn<'_>) -> Result<(), DirectoryError> {
        if let Some(member) = &step.after {
            member.keep(&self.directory, &self.terms, pictures)?;
        }
        self.directory.keep_record(&step.id, &step.record)?;
        self.give(&step.id.file_name());
        Ok(())
    }

    /// Gives a file or a directory away. Who may not is the owner already, or was told so at the start.
    fn give(&self, name: &str) {
        let (user, group) = self.owner;
        let _told = crate::give_to(&self.directory.root().join(name), user, group);
    }

    /// Makes tunnel and files what is remembered, if a change of them is announced.
    fn undo(&self, pictures: &Turn<'_>) -> Result<(), DeskError> {
        if !self.directory.is_announced() {
            return Ok(());
        }
        self.gateway.set_peers(self.roster.peers())?;
        for id in self.directory.undo()? {
            if let Some(member) = self.roster.member(&id) {
                member.keep(&self.directory, &self.terms, pictures)?;
                self.give(&id.file_name());
            }
        }
        Ok(())
    }

    /// Gives the addresses back that were taken for steps that are not to be.
    fn give_back(&mut self, steps: &[Step]) {
        for step in steps {
            self.roster.network().release(&step.id.file_name());
        }
        for before in steps.iter().filter_map(|step| step.before.as_ref()) {
            let (name, network) = (before.id.file_name(), self.roster.network());
            network.claim(&name, &before.client.addresses);
            network.hold(&name, &before.peer.networks);
        }
    }

    fn remember(&mut self, step: Step) {
        match step.after {
            Some(member) => self.roster.put(member),
            None => {
                self.roster.take(&step.id);
                let listed = self.roster.is_listed(&step.id);
                if step.record.standing == Standing::Removed {
                    let standing = if listed { Standing::Removed } else { Standing::Listed };
                    // It is no peer any more; what could not be removed is removed at the next start.
                    let _later = self.directory.remove_peer(&step.id, standing);
                }
            }
        }
    }

    fn describe(&self, step: &Step) -> Changed {
        let member = step.after.as_ref().or(step.before.as_ref());
        Changed {
            name: step.id.item().to_string(),
            change: step.change,
            addresses: member.map(|member| member.client.addresses.clone()).unwrap_or_default(),
            public_key: step.public_key(),
            config: step
                .after
                .is_some()
                .then(|| self.directory.peer_path(&step.id, Kind::Conf)),
            is_complete: member.is_some_and(|member| member.client.private_key.is_some()),
        }
    }

    fn list(&self, names: &[String]) -> Result<Reply, DeskError> {
        let ids = names.iter().map(|name| super::decide::known(&self.roster, name));
        let wanted: HashSet<PeerId> = ids
            .map(|member| Ok(member?.id.clone()))
            .collect::<Result<_, DeskError>>()?;
        let members = self
            .roster
            .members()
            .filter(|member| names.is_empty() || wanted.contains(&member.id));
        let mut states: HashMap<_, _> = self
            .gateway
            .peers()?
            .into_iter()
            .map(|state| (state.name.clone(), state))
            .collect();
        let now = SystemTime::now();
        let peers = members.map(|member| listed(member, states.remove(&member.name()), now));
        Ok(Reply::Peers { peers: peers.collect() })
    }

    fn conf(&self, name: &str) -> Result<Reply, DeskError> {
        let member = super::decide::known(&self.roster, name)?;
        let text = self.conf_of(member)?;
        Ok(Reply::Conf {
            path: self.directory.peer_path(&member.id, Kind::Conf),
            text: text.to_string(),
            is_complete: member.client.private_key.is_some(),
        })
    }

    /// The text of a configuration. The file may say more than its template: a person may have edited it.
    pub(super) fn conf_of(&self, member: &Member) -> Result<Zeroizing<String>, DirectoryError> {
        match self.directory.peer_conf(&member.id)? {
            Some(text) => Ok(text),
            None => Ok(member.conf(&self.terms)?),
        }
    }

    /// Makes the peers those of another wish. Gives the peers whose configuration is another.
    ///
    /// # Errors
    ///
    /// [`DeskError`]; then everything is as it was.
    pub fn reload(
        &mut self,
        wish: &Wish,
        terms: impl FnOnce(&Roster) -> Result<Terms, String>,
    ) -> Result<Vec<PeerId>, DeskError> {
        let pictures = Arc::clone(&self.pictures);
        let turn = pictures.turn();
        self.undo(&turn)?;
        let roster = Roster::new(&self.directory, wish)?;
        if roster.addresses() != self.roster.addresses() || roster.private_key() != self.roster.private_key() {
            return Err(DeskError::Refused(
                "the gateway's own key or network is another; that takes effect at the next start".to_owned(),
            ));
        }
        let terms = terms(&roster).map_err(DeskError::Refused)?;
        self.gateway.set_peers(roster.peers())?;
        let kept = roster.keep(&self.directory, &terms, self.listen_port, &turn);
        let changed = kept.map(|members| members.iter().map(|member| member.id.clone()).collect());
        match changed {
            Ok(changed) => {
                self.give("");
                (self.roster, self.terms) = (roster, terms);
                Ok(changed)
            }
            Err(error) => {
                self.gateway.set_peers(self.roster.peers())?;
                Err(error.into())
            }
        }
    }

    /// Writes the gateway's own configuration.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`].
    pub fn keep_server_conf(&self) -> Result<(), DirectoryError> {
        self.roster
            .keep_server_conf(&self.directory, &self.terms, self.listen_port)?;
        self.give("wg_confs");
        Ok(())
    }
}

/// One line on what was done; `None` if it was nothing.
fn summary(steps: &[Step], by: &str) -> Option<String> {
    let first = steps.first()?;
    let verb = |change| match change {
        Change::Added => "added",
        Change::Changed | Change::Moved => "changed",
        Change::Unchanged => "left as it is",
        Change::Removed => "removed",
    };
    Some(match steps.len() {
        1 => format!("{}: {} {by}", first.id.file_name(), verb(first.change)),
        count => format!("{count} peers {} {by}", verb(first.change)),
    })
}

fn listed(member: &Member, state: Option<PeerState>, now: SystemTime) -> Listed {
    let since_1970 = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .map(|time| time.as_secs())
    };
    let handshake = state.as_ref().and_then(|state| state.latest_handshake);
    let age = handshake.and_then(|time| now.duration_since(time).ok());
    Listed {
        name: member.id.item().to_string(),
        public_key: Text(member.client.public_key),
        addresses: member.client.addresses.clone(),
        settings: member.record.settings.clone(),
        endpoint: state.as_ref().and_then(|state| state.endpoint),
        latest_handshake: handshake.and_then(since_1970),
        connected: handshake.is_some() && age.is_none_or(|age| age.as_secs() < SESSION_SECS),
        received_bytes: state.as_ref().map_or(0, |state| state.received_bytes),
        sent_bytes: state.map_or(0, |state| state.sent_bytes),
    }
}
