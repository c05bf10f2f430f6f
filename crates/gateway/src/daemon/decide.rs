//! Decides what a command means for each peer. Reads what the directory holds of them, takes addresses, and does
//! nothing else.

use std::{collections::HashSet, net::IpAddr};

use wg::PublicKey;

use super::desk::DeskError;
use crate::{
    control::{Change, NewPeer},
    directory::Directory,
    environment::PeerId,
    record::{Record, Settings, Standing},
    roster::{Member, Roster, RosterError},
    server::PeerChange,
    text::Text,
};

/// What a command wants.
#[derive(Debug)]
pub(super) enum Wanted {
    Add(Vec<NewPeer>),
    Set {
        names: Vec<String>,
        settings: Settings,
        address: Option<IpAddr>,
    },
    Remove {
        names: Vec<String>,
        keep: bool,
    },
    /// What the API asks for: a peer with this key, new or in place of the one that it had.
    Admit {
        name: String,
        key: PublicKey,
    },
}

/// What is to happen with one peer.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) id: PeerId,
    pub(super) change: Change,
    pub(super) before: Option<Member>,
    pub(super) after: Option<Member>,
    pub(super) record_before: Record,
    pub(super) record: Record,
}

impl Step {
    pub(super) fn peer_change(&self) -> PeerChange {
        match &self.after {
            Some(member) => PeerChange::Set(member.name(), member.peer.clone()),
            None => PeerChange::Remove(self.id.name()),
        }
    }

    pub(super) fn public_key(&self) -> Text<PublicKey> {
        let member = self.after.as_ref().or(self.before.as_ref());
        Text(member.expect("a step is from a peer or to one").client.public_key)
    }
}

impl Wanted {
    /// One step a peer. With an error come the steps whose addresses are to be given back.
    pub(super) fn decide(
        self,
        roster: &mut Roster,
        directory: &Directory,
    ) -> Result<Vec<Step>, (Vec<Step>, Box<DeskError>)> {
        let mut steps = Vec::new();
        match self.decide_into(&mut steps, roster, directory) {
            Ok(()) => Ok(steps),
            Err(error) => Err((steps, error.into())),
        }
    }

    fn decide_into(self, steps: &mut Vec<Step>, roster: &mut Roster, directory: &Directory) -> Result<(), DeskError> {
        match self {
            Self::Add(peers) => {
                named_once(peers.iter().map(|peer| peer.name.as_str()))?;
                for peer in peers {
                    steps.push(add(peer, false, roster, directory)?);
                }
            }
            Self::Set {
                names,
                settings,
                address,
            } => {
                named_once(names.iter().map(String::as_str))?;
                if names.len() > 1 && address.is_some() {
                    return Err(refused("one address cannot be that of several peers"));
                }
                for name in names {
                    steps.push(set(&name, &settings, address, roster)?);
                }
            }
            Self::Remove { names, keep } => {
                named_once(names.iter().map(String::as_str))?;
                for name in names {
                    steps.push(remove(&name, keep, roster)?);
                }
            }
            Self::Admit { name, key } => steps.push(admit(&name, key, roster, directory)?),
        }
        Ok(())
    }
}

fn refused(message: impl Into<String>) -> DeskError {
    DeskError::Refused(message.into())
}

fn named_once<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), DeskError> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(refused(format!("{name} is named twice")));
        }
    }
    if seen.is_empty() {
        return Err(refused("no peer is named"));
    }
    Ok(())
}

fn parse(name: &str) -> Result<PeerId, DeskError> {
    name.parse()
        .map_err(|error: crate::name::NameError| refused(error.to_string()))
}

/// The peer of this name.
pub(super) fn known<'a>(roster: &'a Roster, name: &str) -> Result<&'a Member, DeskError> {
    let id = parse(name)?;
    roster
        .member(&id)
        .ok_or_else(|| refused(format!("there is no peer {name}; `adit peer list` lists them")))
}

fn add(wanted: NewPeer, by_api: bool, roster: &mut Roster, directory: &Directory) -> Result<Step, DeskError> {
    let id = parse(&wanted.name)?;
    if let Some(member) = roster.member(&id) {
        return there_already(member, &wanted, roster);
    }
    let stored = directory.peer(&id)?;
    let record_before = directory.record(&id)?;
    if let Some(Text(key)) = wanted.public_key {
        not_the_gateways(key, roster)?;
        if stored.private_key.is_some() {
            return Err(refused(format!(
                "{} holds a private key of an earlier {}; remove that directory, or add the peer without --public-key",
                directory.root().join(id.file_name()).display(),
                wanted.name,
            )));
        }
    }
    let record = Record {
        standing: if roster.is_listed(&id) {
            Standing::Listed
        } else {
            Standing::Added
        },
        // One that was removed and kept comes back with the key that it had.
        public_key: wanted
            .public_key
            .or(record_before.public_key.filter(|_| stored.private_key.is_none())),
        by_api,
        // As do rules: nobody comes back with fewer of them.
        settings: record_before.settings.with(&wanted.settings),
    };
    let name = id.file_name();
    let network = roster.network();
    network.claim(&name, &stored.addresses);
    let leased = match wanted.address {
        Some(address) => network.reserve(&name, address),
        None => Ok(()),
    };
    let leased = leased.and_then(|()| network.lease(&name));
    let addresses = leased.map_err(|error| {
        roster.network().release(&name);
        RosterError::from(error)
    })?;
    let after = roster
        .draft(&id, stored, record.clone(), addresses)
        .map_err(RosterError::from)?;
    roster.network().hold(&name, &after.peer.networks);
    Ok(Step {
        id,
        change: Change::Added,
        before: None,
        after: Some(after),
        record_before,
        record,
    })
}

/// A peer that is to have this key, whichever it had; its address and its settings stay.
fn admit(name: &str, key: PublicKey, roster: &mut Roster, directory: &Directory) -> Result<Step, DeskError> {
    let id = parse(name)?;
    let Some(before) = roster.member(&id).cloned() else {
        let wanted = NewPeer {
            name: name.to_owned(),
            public_key: Some(Text(key)),
            ..NewPeer::default()
        };
        return add(wanted, true, roster, directory);
    };
    if before.client.public_key == key {
        return Ok(unchanged(&before));
    }
    not_the_gateways(key, roster)?;
    let record = Record {
        public_key: Some(Text(key)),
        ..before.record.clone()
    };
    let after = roster.changed(&before, record.clone(), before.client.addresses.clone());
    Ok(Step {
        id,
        change: Change::Moved,
        record_before: before.record.clone(),
        before: Some(before),
        after: Some(after),
        record,
    })
}

fn not_the_gateways(key: PublicKey, roster: &Roster) -> Result<(), DeskError> {
    if key == roster.private_key().public_key() {
        return Err(refused(format!("{key} is the gateway's own public key")));
    }
    Ok(())
}

/// A peer that is to be added and is there: as it is asked for, or it is an error.
fn there_already(member: &Member, wanted: &NewPeer, roster: &Roster) -> Result<Step, DeskError> {
    let name = &wanted.name;
    if let Some(key) = wanted.public_key.filter(|key| key.0 != member.client.public_key) {
        return Err(refused(format!(
            "{name} is there already with the public key {}, not {}; remove it first to give it another",
            member.client.public_key, key.0
        )));
    }
    let record = Record {
        settings: member.record.settings.with(&wanted.settings),
        ..member.record.clone()
    };
    let as_wanted = roster.changed(member, record, member.client.addresses.clone());
    let has_address = wanted
        .address
        .is_none_or(|address| member.client.addresses.contains(&address));
    if as_wanted.peer != member.peer || !has_address {
        return Err(refused(format!(
            "{name} is there already with other settings; `adit peer set {name}` changes them"
        )));
    }
    Ok(unchanged(member))
}

fn unchanged(member: &Member) -> Step {
    Step {
        id: member.id.clone(),
        change: Change::Unchanged,
        before: Some(member.clone()),
        after: Some(member.clone()),
        record_before: member.record.clone(),
        record: member.record.clone(),
    }
}

fn set(name: &str, settings: &Settings, address: Option<IpAddr>, roster: &mut Roster) -> Result<Step, DeskError> {
    let before = known(roster, name)?.clone();
    let record = Record {
        settings: before.record.settings.with(settings),
        ..before.record.clone()
    };
    let directory_name = before.id.file_name();
    if let Some(address) = address.filter(|address| !before.client.addresses.contains(address)) {
        let reserved = roster.network().reserve(&directory_name, address);
        reserved.map_err(RosterError::from)?;
    }
    let addresses = roster.network().lease(&directory_name).map_err(RosterError::from)?;
    let after = roster.changed(&before, record.clone(), addresses);
    let change = if after.client.addresses != before.client.addresses {
        Change::Moved
    } else if after.peer != before.peer || record != before.record {
        Change::Changed
    } else {
        return Ok(unchanged(&before));
    };
    roster.network().hold(&directory_name, &after.peer.networks);
    Ok(Step {
        id: before.id.clone(),
        change,
        record_before: before.record.clone(),
        before: Some(before),
        after: Some(after),
        record,
    })
}

fn remove(name: &str, keep: bool, roster: &Roster) -> Result<Step, DeskError> {
    let before = known(roster, name)?.clone();
    let record = Record {
        standing: if keep { Standing::Kept } else { Standing::Removed },
        // A client's own key and its settings are needed to add it again as it was.
        ..if keep { before.record.clone() } else { Record::default() }
    };
    Ok(Step {
        id: before.id.clone(),
        change: Change::Removed,
        record_before: before.record.clone(),
        before: Some(before),
        after: None,
        record,
    })
}
