//! What other commands ask of a lease in this process: more time, an end, other peers.

use std::time::Duration;

use gateway::{
    Name,
    server::{Peer, PeerChange},
};
use launch::{
    launcher::{adding, removing, replacing_key},
    lease,
    order::PeerRequest,
};
use wg::{PublicKey, access::Access};

use super::{ATTENTION, Lease};
use crate::{
    command::launch::{
        alone::{Ask, Asked, Attended, Desk, Member, Reply},
        config::{self, Config},
        event::Event,
        screen::Screen,
    },
    duration, moment,
};

/// What follows from what was asked.
pub(super) enum Answered {
    /// The lease goes on as it is.
    Nothing,
    /// It has other peers.
    Peers,
    /// It is to end.
    End,
}

/// What a wish has changed.
enum Done {
    Nothing,
    Longer,
    Added(Member),
    Removed(String),
    End,
}

impl Lease {
    /// Does what other commands ask.
    pub(super) fn answer(&mut self, config: &Config, screen: &mut Screen) -> anyhow::Result<Answered> {
        let mut answered = Answered::Nothing;
        loop {
            let Some(Asked { ask, reply }) = self.row.as_ref().and_then(Attended::desk).and_then(Desk::next) else {
                return Ok(answered);
            };
            self.attentive_until = moment::since_boot() + ATTENTION;
            let done = self.grant(ask);
            let answer = match (&done, &self.row) {
                (Ok(_), Some(row)) => Reply::Lease {
                    lease: Box::new(row.lease().clone().into()),
                    folder: Some(std::path::absolute(&config.output).unwrap_or_else(|_| config.output.clone())),
                },
                (Err(error), _) => Reply::Refused {
                    message: format!("{error:#}"),
                },
                (Ok(_), None) => Reply::Refused {
                    message: "the lease is over".to_owned(),
                },
            };
            // Who asked may have gone.
            let _unheard = reply.send(answer);
            match done {
                Ok(Done::End) => return Ok(Answered::End),
                Ok(Done::Longer) => {
                    screen.line(&format!("ends {} (extended)", moment::wall(self.ends)));
                    self.emit(
                        config,
                        &Event::Extended {
                            ends: &moment::rfc3339(self.ends),
                        },
                    )?;
                }
                Ok(Done::Added(member)) => {
                    answered = Answered::Peers;
                    screen.line(&format!("{} may connect", member.name));
                    self.emit(
                        config,
                        &Event::PeerAdded {
                            peer: &member.name,
                            public_key: Some(member.public_key.to_string()),
                            addresses: &member.addresses,
                        },
                    )?;
                }
                Ok(Done::Removed(name)) => {
                    answered = Answered::Peers;
                    screen.line(&format!("{name} may connect no more"));
                    self.emit(config, &Event::PeerRemoved { peer: &name })?;
                }
                Ok(Done::Nothing) | Err(_) => {}
            }
        }
    }

    fn grant(&mut self, ask: Ask) -> anyhow::Result<Done> {
        match ask {
            Ask::Read {} => Ok(Done::Nothing),
            Ask::End {} => Ok(Done::End),
            Ask::Extend { by_secs } => self.extend(Duration::from_secs(by_secs)),
            Ask::AddPeer { name, public_key } => self.add(&PeerRequest { name, public_key }),
            Ask::ReplaceKey { name, public_key } => self.replace_key(&name, public_key),
            Ask::RemovePeer { name } => self.remove(&name),
            Ask::HandOver { .. } => {
                anyhow::bail!("the clients of this lease make their keys themselves: ask for the configuration instead")
            }
        }
    }

    fn extend(&mut self, by: Duration) -> anyhow::Result<Done> {
        let row = row(&mut self.row)?;
        let left = config::MAX_LIFETIME.saturating_sub(Duration::from_secs(row.lease().granted_secs));
        if by.is_zero() || by > left {
            anyhow::bail!(
                "a lease lives at most 30 days; this one can have {} more",
                duration::humane(left)
            );
        }
        row.extend(by)?;
        self.due += by;
        self.limit.follow(self.due)?;
        self.ends += by;
        Ok(Done::Longer)
    }

    fn add(&mut self, request: &PeerRequest) -> anyhow::Result<Done> {
        let lease = row(&mut self.row)?.lease();
        let (Some(event), Some(public_key)) = (adding(lease, request)?, request.public_key) else {
            return Ok(Done::Nothing);
        };
        let name: Name = request.name.parse()?;
        let addresses = self
            .network
            .lease(name.as_str())
            .inspect_err(|_| self.network.release(name.as_str()))?;
        let member = Member {
            name: request.name.clone(),
            public_key,
            addresses,
        };
        let members = members(&self.row).chain([member.clone()]).collect();
        let there = PeerChange::Set(name.clone(), self.peer(&member));
        let changed = self.change(event, members, there, PeerChange::Remove(name.clone()), None);
        if changed.is_err() {
            self.network.release(name.as_str());
        }
        changed.map(|()| Done::Added(member))
    }

    fn replace_key(&mut self, name: &str, public_key: PublicKey) -> anyhow::Result<Done> {
        let lease = row(&mut self.row)?.lease();
        let Some(event) = replacing_key(lease, name, public_key)? else {
            return Ok(Done::Nothing);
        };
        let mut all: Vec<Member> = members(&self.row).collect();
        let Some(member) = all.iter_mut().find(|member| member.name.eq_ignore_ascii_case(name)) else {
            return Ok(Done::Nothing);
        };
        let name: Name = member.name.parse()?;
        let before = self.peer(member);
        member.public_key = public_key;
        let member = member.clone();
        let passed = self.peers()?.into_iter().find(|state| state.name == name);
        let there = PeerChange::Set(name.clone(), self.peer(&member));
        let carried = passed.map(|state| (name.clone(), (state.received_bytes, state.sent_bytes)));
        self.change(event, all, there, PeerChange::Set(name, before), carried)?;
        Ok(Done::Added(member))
    }

    fn remove(&mut self, name: &str) -> anyhow::Result<Done> {
        let lease = row(&mut self.row)?.lease();
        let Some(event) = removing(lease, name)? else {
            return Ok(Done::Nothing);
        };
        let (gone, left): (Vec<Member>, Vec<Member>) =
            members(&self.row).partition(|member| member.name.eq_ignore_ascii_case(name));
        let Some(member) = gone.into_iter().next() else {
            return Ok(Done::Nothing);
        };
        let name: Name = member.name.parse()?;
        let back = PeerChange::Set(name.clone(), self.peer(&member));
        self.change(event, left, PeerChange::Remove(name.clone()), back, None)?;
        self.network.release(name.as_str());
        self.carried.remove(&name);
        Ok(Done::Removed(member.name))
    }

    /// Changes the gateway, and keeps it; what cannot be kept is undone. A peer whose counters begin anew by it, whether it
    /// is undone or not, is in `carried` with what passed before.
    fn change(
        &mut self,
        event: lease::Event,
        members: Vec<Member>,
        change: PeerChange,
        undoing: PeerChange,
        carried: Option<(Name, (u64, u64))>,
    ) -> anyhow::Result<()> {
        self.gateway.change(&[change])?;
        self.carried.extend(carried);
        let peers = self.peers()?;
        let kept = row(&mut self.row)?.change(event, members, &peers);
        if kept.is_err() {
            self.gateway.change(&[undoing])?;
        }
        kept
    }

    /// The member as the gateway is told of it. One that came later has no preshared key: only public keys come here.
    fn peer(&self, member: &Member) -> Peer {
        let first = self
            .clients
            .iter()
            .find(|(name, client)| name.as_str() == member.name && client.public_key == member.public_key);
        first.map_or_else(
            || Peer {
                public_key: member.public_key,
                preshared_key: None,
                addresses: member.addresses.clone(),
                networks: Vec::new(),
                keepalive: None,
                access: Access::OPEN,
            },
            |(_, client)| client.peer(),
        )
    }
}

fn row(row: &mut Option<Attended>) -> anyhow::Result<&mut Attended> {
    row.as_mut().ok_or_else(|| anyhow::anyhow!("the lease is over"))
}

fn members(row: &Option<Attended>) -> impl Iterator<Item = Member> + '_ {
    row.iter().flat_map(|row| row.members().iter().cloned())
}
